"""Fault tests: a nemesis breaks what it can, a checker reads what came out (`make chaos`)."""
