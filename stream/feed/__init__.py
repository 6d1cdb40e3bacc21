"""Simulator and replay: ticks into Kafka."""
