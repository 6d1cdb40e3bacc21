"""Workloads with permanent names, fixed seeds and asserted answers: `python -m benchmarks`."""
