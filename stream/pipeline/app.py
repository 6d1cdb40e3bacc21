"""The Faust application: its topics and its two agents.

    ticks ─▶ [book agent] ─▶ partials ─▶ [aggregator agent] ─▶ publisher ─▶ Redis

`partials` is an in-memory channel where one worker runs, a topic where many do; a Faust channel and a Faust topic have the
same interface, so nothing else differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from faust.types import TP

from stream.pipeline.log import REQUEST_S
from stream.pipeline.schemas import AsFetched, Partials, PartialsSchema
from stream.pipeline.transport import (
    MAX_PARTITION_BYTES,
    CoalescingApp,
    Fetch,
    LogRange,
)
from stream.settings import Settings

#: Fetches that wait between the fetcher and the book agent: each may hold a megabyte.
BUFFERED_FETCHES = 2

#: How long Faust waits for partitions to be opened: that waits for Kafka itself, and cut off it would leave Faust deaf.
PATIENCE_S = 24 * 3600.0

#: Nothing depends on it.
COMMIT_WITHIN_S = 2.0


class App(CoalescingApp):
    """Faust, told where partitions start and who hears of assignments."""

    def __init__(
        self,
        settings: Settings,
        *,
        positions: Callable[[Mapping[TP, LogRange]], Awaitable[Mapping[TP, int]]],
        worker_id: str | None,
    ) -> None:
        self.coalesced = frozenset((settings.ticks_topic,))
        self._positions = positions
        self.request_timeout_s = max(REQUEST_S, 2 * settings.session_timeout_s)
        super().__init__(
            settings.group,
            broker=";".join(f"capstream://{host}" for host in settings.kafka_url.split(",")),
            store="memory://",
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_buffer_maxsize=BUFFERED_FETCHES,
            stream_wait_empty=False,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=MAX_PARTITION_BYTES,
            consumer_group_instance_id=worker_id,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=settings.session_timeout_s / 4,
            broker_request_timeout=PATIENCE_S,
            producer_request_timeout=REQUEST_S,
            producer_acks=-1,
        )

    async def positions(self, logs: Mapping[TP, LogRange]) -> Mapping[TP, int]:
        """Say where to read the partitions that are assigned now."""
        return await self._positions(logs)

    async def commit_offset(self, tp: TP, offset: int) -> None:
        """Commit how far a partition is."""
        async with asyncio.timeout(COMMIT_WITHIN_S):
            await self.consumer.commit_all({tp: offset})  # type: ignore[attr-defined]

    def _create_directories(self) -> None:
        """Keep nothing in files: Faust would leave a folder behind wherever it is started."""


def add_agents(
    app: App,
    settings: Settings,
    *,
    on_fetch: Callable[[Fetch], Awaitable[None]],
    on_partials: Callable[[Partials, int], None],
) -> Any:
    """Declare the topics and the agents.

    Parameters
    ----------
    app
        To declare them in.
    settings
        Names of the topics, and whether partials go through memory or a topic.
    on_fetch
        Applies what a fetch has brought.
    on_partials
        Takes partials, each of one partition, and the offset of their record where they come from a topic.

    Returns
    -------
    faust channel or topic
        To send partials to.
    """
    ticks = app.topic(settings.ticks_topic, schema=AsFetched())
    partials = (
        app.channel()
        if settings.partials == "memory"
        else app.topic(settings.partials_topic, schema=PartialsSchema())
    )

    @app.agent(ticks, name="book")
    async def book(fetches: Any) -> None:
        async for event in fetches.noack().events():
            await on_fetch(event.value)

    @app.agent(partials, name="aggregator")
    async def aggregator(sums: Any) -> None:
        async for event in sums.noack().events():
            on_partials(event.value, event.message.offset)

    return partials
