"""Real-time float-adjusted equity index levels: trades in from Kafka, exact levels out to Redis."""

__version__ = "0.1.0"
