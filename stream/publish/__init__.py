"""Sinks: snapshots out to Redis, on a cadence, newest values first."""
