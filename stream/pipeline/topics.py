"""The topics that a worker reads and writes: created where they are missing (`formats.md`, Kafka topics)."""

from __future__ import annotations

from stream.feed.topics import TICKS_CONFIG, ensure_topic
from stream.settings import Settings

_DAY_MS = 24 * 60 * 60 * 1000

PARTIALS_CONFIG = {"cleanup.policy": "compact"}
DEAD_LETTERS_CONFIG = {"retention.ms": str(30 * _DAY_MS)}


async def ensure_topics(settings: Settings) -> int:
    """Create the topics that are missing, and give the number of tick partitions.

    Raises
    ------
    ServiceError
        Where Kafka cannot be reached, or does not create a topic.
    """
    url = settings.kafka_url
    await ensure_topic(url, settings.partials_topic, partitions=1, config=PARTIALS_CONFIG)
    await ensure_topic(url, settings.dead_letters_topic, partitions=1, config=DEAD_LETTERS_CONFIG)
    return await ensure_topic(
        url, settings.ticks_topic, partitions=settings.partitions, config=TICKS_CONFIG
    )
