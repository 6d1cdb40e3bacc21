"""Figures of this machine: what `capstream bench` measures."""
