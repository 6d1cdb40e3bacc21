"""A small Faust and its consumer group: assignments that come late, fetches of any size, agents that are not waited for.

As in Faust: what was buffered is dropped when partitions are revoked, what an agent has begun goes on; where partitions
are assigned, `positions` is asked, and asked again where another rebalance comes meanwhile; of an assignment of nothing
only those hear who listen to assignments.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from simulation.process import Process, running
from stream.pipeline.schemas import Partials, PartialsSchema
from stream.pipeline.transport import Fetch, FetchedBatch, LogRange
from stream.pipeline.worker import HAND_OVER_WITHIN_S
from stream.settings import Settings

#: Fetches that wait for the agent, as in `stream.pipeline.app`.
BUFFERED_FETCHES = 2

_Positions = Callable[[Mapping[TP, LogRange]], Awaitable[Mapping[TP, int]]]


class Group:
    """The consumer group: who is in it, and who owns what.

    Attributes
    ----------
    members
        In the order in which they joined.
    restless
        Whether somebody has joined or left since the last rebalance began.
    gathering
        Whether members are asked to give up their partitions, and to join again.
    """

    def __init__(self, partitions: list[TP]) -> None:
        self.members: list[App] = []
        self.restless = False
        self.gathering = False
        self._partitions = partitions

    def join(self, app: App) -> None:
        if app not in self.members:
            self.members.append(app)
            self.restless = True

    def leave(self, app: App) -> None:
        if app in self.members:
            self.members.remove(app)
            self.restless = True

    @property
    def gathered(self) -> bool:
        """Whether all members have given up their partitions, but those that are paused."""
        return self.gathering and all(app.free or app.process.paused for app in self.members)

    def gather(self) -> None:
        """Begin a rebalance: all members that hear of it give up what they own."""
        self.restless, self.gathering = False, True
        for app in self.members:
            if not app.process.paused:
                app.revoke()

    def share(self, chance: random.Random) -> None:
        """Share out the partitions somehow; a member that did not come learns of it when it wakes up."""
        self.gathering = False
        for app in [app for app in self.members if not app.free]:
            self.members.remove(app)
            app.expelled = True
        shares: dict[App, set[TP]] = {app: set() for app in self.members}
        for tp in self._partitions:
            if shares:
                shares[chance.choice(list(shares))].add(tp)
        for app, share in shares.items():
            app.free, app.coming = False, frozenset(share)


class _Signal:
    """Calls back whoever was connected."""

    def __init__(self, sender: object) -> None:
        self._sender = sender
        self._called: list[Callable[..., Awaitable[None]]] = []

    def connect(self, callback: Callable[..., Awaitable[None]]) -> None:
        self._called.append(callback)

    async def send(self, *args: object) -> None:
        for callback in self._called:
            await callback(self._sender, *args)


class App:
    """Stands in for `stream.pipeline.app.App`.

    Attributes
    ----------
    coming
        Partitions that were assigned to it, of which it was not told yet.
    free
        It has given up its partitions, and waits for others.
    expelled
        The group has gone on without it, and it does not know.
    fetches, inbox
        Buffers of its agents.
    """

    def __init__(self, settings: Settings, *, positions: _Positions, worker_id: str | None) -> None:
        del worker_id
        self.process = running()
        self.process.app = self
        self.crash_reason: BaseException | None = None
        self.coming: frozenset[TP] | None = None
        self.free = True
        self.expelled = False
        self.on_partitions_revoked = _Signal(self)
        self.on_partitions_assigned = _Signal(self)
        self.fetches: deque[Fetch] = deque()
        self.inbox: deque[tuple[Partials, int]] = deque()
        self.producer = _Producer(self.process)
        self.on_fetch: Callable[[Fetch], Awaitable[None]] | None = None
        self.on_partials: Callable[[Partials, int], None] | None = None
        self.group: Group | None = None
        self._settings = settings
        self._schema = PartialsSchema()
        self._ask = positions
        self._at: dict[TP, int] = {}
        self._flowing = False
        self._asking: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._revoking: asyncio.Task[None] | None = None
        self._fetched = asyncio.Event()
        self._received = asyncio.Event()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._book()), asyncio.create_task(self._aggregator())]
        if not self.process.dead:
            self.group = self.process.group
            self.group.join(self)

    async def wait_until_stopped(self) -> None:
        await self._over.wait()

    async def stop(self) -> None:
        if self.group is not None and not self.process.dead:
            self.group.leave(self)
        for task in (*self._tasks, *([self._asking] if self._asking else ())):
            task.cancel()

    async def commit_offset(self, tp: TP, offset: int) -> None:
        await self.process.answer(self.process.submit(f"commit {tp.partition}@{offset}", int))

    # ---- the group ---------------------------------------------------------------------------------

    def revoke(self) -> None:
        """Hear that the partitions may be another's soon, and tell when all is done that was to be done before that."""
        self.drop()
        if self._revoking is None or self._revoking.done():
            self.free = False
            self._revoking = self.process.loop.create_task(self._revoke())

    async def _revoke(self) -> None:
        process, clock = self.process, self.process.broker.clock
        began, failures = clock.monotonic(), process.failures
        publisher = process.publisher
        await self.on_partitions_revoked.send(set(self._at))
        in_time = clock.monotonic() - began < HAND_OVER_WITHIN_S / 2
        answered = process.failures == failures and not process.dead
        if publisher is not None and in_time and answered:
            process.laws.handed_over(publisher.epoch)
        self.free = True

    def drop(self) -> None:
        """Stop fetching, and forget what was buffered."""
        self._flowing = False
        self.fetches.clear()
        self.inbox.clear()

    def assign(self) -> None:
        """Hear what was assigned."""
        assert self.coming is not None
        assigned, self.coming = self.coming, None
        if self._asking is not None:
            self._asking.cancel()
        create_task = self.process.loop.create_task
        self._telling = create_task(self.on_partitions_assigned.send(set(assigned)))
        self._asking = create_task(self._seek(assigned)) if assigned else None
        self._at, self._flowing = {}, not assigned

    async def _seek(self, assigned: frozenset[TP]) -> None:
        ranges = {}
        for tp in sorted(assigned):
            log = self.process.broker.logs[tp.topic, tp.partition]
            ranges[tp] = LogRange(log.start, log.end)
        try:
            self._at = dict(await self._ask(ranges))
        except Exception as error:  # noqa: BLE001 - as Faust does with what its callbacks raise
            self.crash_reason = error
            self._over.set()
            return
        ticks = {
            tp.partition: at for tp, at in self._at.items() if tp in ranges and self._is_ticks(tp)
        }
        self.process.laws.resumed(self.process, ticks)
        self.fetches.clear()
        self.inbox.clear()
        self._flowing = True

    def _is_ticks(self, tp: TP) -> bool:
        return bool(tp.topic == self._settings.ticks_topic)

    # ---- the consumer ------------------------------------------------------------------------------

    def hungry(self) -> list[TP]:
        """List the partitions that can be fetched from now."""
        if not self._flowing:
            return []
        logs = self.process.broker.logs
        full = len(self.fetches) >= BUFFERED_FETCHES
        return [
            tp
            for tp, at in self._at.items()
            if logs[tp.topic, tp.partition].end > at and not (full and self._is_ticks(tp))
        ]

    def fetch(self, tps: list[TP], chance: random.Random) -> None:
        """Bring some records of some partitions."""
        batches = []
        for tp in tps:
            log = self.process.broker.logs[tp.topic, tp.partition]
            records = log.since(self._at[tp])
            if chance.random() < 0.5:
                records = records[: chance.randrange(1, 4)]
            # Where the rest was compacted away, the log goes on at its end.
            last = not records or records[-1] is log.records[-1]
            self._at[tp] = log.end if last else records[-1].offset + 1
            if self._is_ticks(tp):
                batches.append(FetchedBatch(tp, cast("Any", records), self._at[tp], log.end))
            else:
                for record in records:
                    value = self._schema.loads_value(cast("Any", None), cast("Any", record))
                    self.receive(value, record.offset)
        if batches:
            self.fetches.append(Fetch(tuple(batches)))
            self._fetched.set()

    # ---- the agents --------------------------------------------------------------------------------

    async def _book(self) -> None:
        assert self.on_fetch is not None
        while True:
            await self._fetched.wait()
            self._fetched.clear()
            while self.fetches:
                await self.on_fetch(self.fetches.popleft())

    async def _aggregator(self) -> None:
        assert self.on_partials is not None
        while True:
            await self._received.wait()
            self._received.clear()
            while self.inbox:
                self.on_partials(*self.inbox.popleft())

    def receive(self, partials: Partials, offset: int) -> None:
        """Put something before the aggregator's agent."""
        self.inbox.append((partials, offset))
        self._received.set()


class _Topic:
    """The topic of partials: sent without waiting for an acknowledgement, as Faust sends."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._process = app.process
        self._name = settings.partials_topic
        self._schema = PartialsSchema()

    async def send(self, *, key: bytes, value: Partials) -> None:
        if self._process.choked:
            raise KafkaTimeoutError
        data, _ = self._schema.dumps_value(cast("Any", None), value, headers=None)
        append = self._process.broker.append
        self._process.submit(
            f"append to {self._name} {key.decode()}",
            lambda: append(self._name, key, data),
            lane=(self._name, "faust"),
        )


class _Channel:
    """Partials in memory."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def send(self, *, value: Partials) -> None:
        for partial in value:
            self._app.process.laws.partial(partial)
        self._app.receive(value, 0)


class _Producer:
    """Takes dead letters."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def send(self, topic: str, key: bytes | None, value: bytes, *_: Any) -> None:
        append = self._process.broker.append
        self._process.submit(
            f"append to {topic}", lambda: append(topic, key, value), lane=(topic, "faust")
        )


def add_agents(
    app: App,
    settings: Settings,
    *,
    on_fetch: Callable[[Fetch], Awaitable[None]],
    on_partials: Callable[[Partials, int], None],
) -> _Topic | _Channel:
    """Stand in for `stream.pipeline.app.add_agents`."""
    app.on_fetch, app.on_partials = on_fetch, on_partials
    return _Channel(app) if settings.partials == "memory" else _Topic(app, settings)
