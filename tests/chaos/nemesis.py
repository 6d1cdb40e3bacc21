"""The nemesis: does what the schedule says, each fault in a task of its own, and mends it when its time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import redis.asyncio

from chaos.fleet import Fleet, Life, Member
from chaos.proxy import Mode, Trouble
from chaos.recorder import PartialsTail
from chaos.recovery import Mark, Way
from chaos.schedule import EVERYONE, PUBLISHER, SESSION_TIMEOUT_S, SETTLE_S, Fault
from chaos.stack import Stack

#: A delay varies by half of itself.
JITTER = 0.5

#: What a killed worker has handed to the network still arrives for so long.
ARRIVES_S = 0.3


def worker_name(number: int) -> str:
    """Name the worker of a number."""
    return f"worker-{number}"


GUEST = "guest"


class Nemesis:
    """Acts on a fleet and its stack.

    Parameters
    ----------
    schedule
        What to do.
    stack, fleet
        To whom. The fleet holds a member of each worker's name, and one of the name GUEST.
    tail
        Tells what the workers had told of; None where they share nothing.
    say
        Is told of each fault as it comes.

    Attributes
    ----------
    marks
        What each fault has hit that took a worker away.
    """

    def __init__(
        self,
        schedule: Sequence[Fault],
        *,
        stack: Stack,
        fleet: Fleet,
        tail: PartialsTail | None,
        say: Callable[[str], None],
    ) -> None:
        self.marks: list[Mark] = []
        self._schedule = schedule
        self._stack = stack
        self._fleet = fleet
        self._tail = tail
        self._say = say
        self._began = 0.0
        self._guests = 0
        self._service = {"kafka": asyncio.Lock(), "redis": asyncio.Lock()}

    async def act(self) -> None:
        """Do all of it; every fault is over at the end."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number, fault in enumerate(self._schedule):
                tasks.create_task(self._act(number, fault), name=f"fault {number}")

    async def _act(self, number: int, fault: Fault) -> None:
        await asyncio.sleep(max(self._began + fault.at_s - time.monotonic(), 0))
        self._say(f"fault {number:3}  {fault}")
        match fault.kind:
            case "kill":
                await self._kill(number, fault)
            case "pause":
                await self._pause(number, fault)
            case "broker":
                await self._restart("kafka", fault)
            case "redis-restart":
                await self._restart("redis", fault)
            case "redis-flush":
                await self._flush()
            case "net-kafka" | "net-redis":
                await self._trouble(number, fault)
            case "rebalance":
                await self._rebalance(fault)
            case "clock":
                raise AssertionError("clocks are wrong on the tape")

    async def _kill(self, number: int, fault: Fault) -> None:
        life = self._member(fault).kill(away_s=fault.for_s)
        if life is not None:
            way: Way = "restarted" if fault.how == "restart" else "taken over"
            await self._mark(number, life, way)
        await self._over(fault)

    async def _pause(self, number: int, fault: Fault) -> None:
        member = self._member(fault)
        life = member.pause()
        if life is not None:
            await self._mark(number, life, "woken")
        await self._over(fault)
        if life is not None:
            member.resume(life)

    async def _restart(self, name: str, fault: Fault) -> None:
        service = self._stack.kafka if name == "kafka" else self._stack.redis
        # Two of them at once are one that takes longer.
        async with self._service[name]:
            await self._stack.kill(service)
            await self._over(fault)
            await self._stack.start(service)

    async def _flush(self) -> None:
        async with (
            self._service["redis"],
            redis.asyncio.from_url(self._stack.redis.url) as client,
        ):
            await client.flushall()

    async def _trouble(self, number: int, fault: Fault) -> None:
        service = fault.kind.removeprefix("net-")
        everyone = fault.worker == EVERYONE
        member = None if everyone else self._member(fault)
        links = [i for i, one in enumerate(self._fleet.members.values()) if member in (None, one)]
        mode: Mode = fault.how  # type: ignore[assignment]  # as drawn by the schedule
        trouble = Trouble(
            mode,
            delay_ms=fault.amount,
            jitter_ms=fault.amount * JITTER,
            bytes_per_s=fault.amount,
            seed=number,
        )
        self._stack.trouble(service, links, trouble)
        cut_off = service == "kafka" and mode in ("refuse", "half-open")
        life = member.life if cut_off and member is not None else None
        if life is not None and fault.for_s > SESSION_TIMEOUT_S:
            await self._mark(number, life, "cut off")
        await self._over(fault)
        self._stack.trouble(service, links, Trouble())

    async def _rebalance(self, fault: Fault) -> None:
        if fault.how == "leave":
            member = self._member(fault)
            await member.stop()
            await self._over(fault)
            member.start()
            return
        guest = self._fleet.members[GUEST]
        guest.start()
        self._guests += 1
        await self._over(fault)
        self._guests -= 1
        if not self._guests:
            await guest.stop()

    async def _over(self, fault: Fault) -> None:
        await asyncio.sleep(max(self._began + fault.over_s - time.monotonic(), 0))

    def _member(self, fault: Fault) -> Member:
        members = self._fleet.members
        if fault.worker == PUBLISHER:
            lives = [life for life in self._fleet.running if self._fleet.publishes(life)]
            return members[lives[0].worker if lives else worker_name(0)]
        return members[worker_name(fault.worker)]

    async def _mark(self, number: int, life: Life, way: Way) -> None:
        at, held = time.monotonic(), life.last
        partitions = frozenset(held.lag) if held is not None else frozenset[int]()
        publisher = self._fleet.publishes(life)
        if publisher:
            partitions = frozenset(p for one in self._fleet.lives if one.last for p in one.last.lag)
        # A worker that is cut off may still write what the network has of it.
        await asyncio.sleep(ARRIVES_S)
        known: Mapping[int, int] | None = None
        if self._tail is not None and partitions:
            known = await self._tail.settle()
        self.marks.append(
            Mark(
                number,
                at,
                life.worker,
                way,
                partitions,
                publisher,
                known,
                disturbed(self._schedule, number),
                alone_s(self._schedule, number),
            )
        )


def disturbed(schedule: Sequence[Fault], number: int) -> bool:
    """Tell whether an earlier fault was still at work, or not settled, when this one came."""
    return any(
        fault.over_s + SETTLE_S[fault.kind] > schedule[number].at_s for fault in schedule[:number]
    )


def alone_s(schedule: Sequence[Fault], number: int) -> float:
    """Tell how long after this fault the next one came."""
    after = schedule[number + 1 :]
    return after[0].at_s - schedule[number].at_s if after else float("inf")
