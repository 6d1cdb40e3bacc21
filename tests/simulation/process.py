"""A worker without a machine: its loop, what it has asked of others and not been answered yet, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from simulation.loop import Loop
from stream.errors import ServiceError

if TYPE_CHECKING:
    from simulation.faust import App, Group
    from simulation.kafka import Broker
    from simulation.laws import Laws
    from simulation.redis import Redis
    from stream.pipeline.worker import Worker
    from stream.publish.publisher import Publisher

#: An operation that has no neighbours to keep an order with.
ALONE = None


@dataclass(eq=False)
class Op:
    """Something asked of Kafka or Redis: it lands, and it is answered, each at a moment of the scheduler's choice.

    Attributes
    ----------
    what
        For the trace.
    land
        Does it, and gives the answer.
    lane
        Operations of one lane land in their order.
    error
        What a failure is for the asker.
    """

    what: str
    land: Callable[[], Any]
    lane: Hashable
    error: Callable[[str], BaseException]
    future: asyncio.Future[Any]
    landed: bool = False
    result: Any = None
    problem: BaseException | None = None

    @property
    def to_redis(self) -> bool:
        return isinstance(self.lane, tuple) and self.lane[0] == "redis"


class Process:
    """One process of a worker.

    Attributes
    ----------
    name
        `w1`, `w2`, ... in the order of their starts.
    dead
        Crashed or ended: nothing that it asks lands any more.
    choked
        Its producer takes no more partials.
    paused
        It does nothing; what it has sent may still land.
    claimed
        What had been written down when it claimed the publisher's role.
    ops
        What it has asked and not been answered.
    failures
        Operations that it was told have failed.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        *,
        broker: Broker,
        redis: Redis,
        group: Group,
        laws: Laws,
    ) -> None:
        self.name = name
        self.loop = loop
        self.broker = broker
        self.redis = redis
        self.group = group
        self.laws = laws
        self.claimed = (0, 0)
        self.dead = False
        self.paused = False
        self.choked = False
        self.ops: list[Op] = []
        self.failures = 0
        self.app: App | None = None
        self.worker: Worker | None = None
        self.stop: asyncio.Event | None = None
        self.main: asyncio.Task[None] | None = None
        loop.process = self

    def start(self, make: Callable[[], Worker]) -> None:
        """Begin to run a worker, made by this process."""

        async def run() -> None:
            self.worker, self.stop = make(), asyncio.Event()
            await self.worker.run(self.stop)

        self.main = self.loop.create_task(run(), name="main")

    @property
    def publisher(self) -> Publisher | None:
        """Its publisher, where it has the role."""
        return None if self.worker is None else self.worker.publisher

    def ask_to_stop(self) -> None:
        if self.stop is not None:
            self.stop.set()

    def submit(
        self,
        what: str,
        land: Callable[[], Any],
        *,
        lane: Hashable = ALONE,
        error: Callable[[str], BaseException] = ServiceError,
    ) -> Op:
        """Ask for something."""
        op = Op(what, land, lane, error, self.loop.create_future())
        if self.dead:
            op.future.set_exception(error("dead"))
            op.future.exception()
        else:
            self.ops.append(op)
        return op

    async def answer(self, op: Op) -> Any:
        """Wait until it is answered."""
        return await op.future

    def able(self) -> list[Op]:
        """List the operations that can land or be answered now: the first of each lane, and all that have landed."""
        taken: set[Hashable] = set()
        able = []
        for op in self.ops:
            if op.landed or op.lane is ALONE or op.lane not in taken:
                able.append(op)
            if not op.landed:
                taken.add(op.lane)
        return able

    def land(self, op: Op) -> None:
        """Let it happen."""
        op.landed = True
        self.broker.writer = self
        try:
            op.result = op.land()
        except ConnectionError as error:
            op.problem = op.error(str(error))

    def reply(self, op: Op) -> None:
        """Tell the asker what became of it."""
        if op.landed:
            self.ops.remove(op)
        if op.future.done():
            return
        if op.problem is not None:
            op.future.set_exception(op.problem)
            op.future.exception()
        else:
            op.future.set_result(op.result)

    def fail(self, op: Op, *, forget: bool) -> None:
        """Tell the asker that it failed; whether it has landed, or will, is another matter."""
        self.failures += 1
        if forget or op.landed:
            self.ops.remove(op)
        if not op.future.done():
            op.future.set_exception(op.error("no answer in time"))
            op.future.exception()

    def kill(self) -> None:
        """End at once: nothing that it does from here on reaches anybody."""
        self.dead = True
        self.ops.clear()
        self.loop.end()


def running() -> Process:
    """Give the process whose code runs now."""
    return cast("Process", cast("Loop", asyncio.get_running_loop()).process)
