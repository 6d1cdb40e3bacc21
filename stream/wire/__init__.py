"""Bytes to typed events and back: the contracts of `formats.md`, and nothing else."""
