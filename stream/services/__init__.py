"""A real Kafka and a real Redis from pip-installed parts, on the loopback, tied to their parent."""

from stream.services.embedded import embedded
from stream.services.kafka import KAFKA_VERSION, EmbeddedKafka
from stream.services.process import Pids
from stream.services.redis import EmbeddedRedis
from stream.services.state import Addresses, running

__all__ = [
    "KAFKA_VERSION",
    "Addresses",
    "EmbeddedKafka",
    "EmbeddedRedis",
    "Pids",
    "embedded",
    "running",
]
