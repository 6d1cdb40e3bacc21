"""The reference client: follow index levels in Redis, with asyncio (`AsyncLevels`) or without (`Levels`)."""

from stream.client.aio import AsyncLevels
from stream.client.blocking import Levels
from stream.client.events import Counts, Event, How, Lost, Reconnected, Update

__all__ = [
    "AsyncLevels",
    "Counts",
    "Event",
    "How",
    "Levels",
    "Lost",
    "Reconnected",
    "Update",
]
