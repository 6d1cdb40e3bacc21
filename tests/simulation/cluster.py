"""All that there is in a history: logs, Redis, the group, processes, and the laws that look on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Literal

from faust.types import TP

from simulation import market
from simulation.fakes import NOW, make_worker
from simulation.faust import Group
from simulation.kafka import Broker, Record
from simulation.laws import BrokenLawError, Laws, demand
from simulation.loop import Clock, Loop
from simulation.process import Op, Process
from simulation.redis import Redis
from simulation.steps import Plan
from simulation.truth import Ledger
from stream.errors import ServiceError, StuckError
from stream.index.control import Override
from stream.settings import Settings
from stream.wire import control
from stream.wire.names import RedisNames

Action = Literal["price", "bound", "exclude", "include"]


class Cluster:
    """A world before anything has happened.

    Parameters
    ----------
    plan
        How it is laid out.
    trace
        Takes a line for everything that happens, or None.

    Attributes
    ----------
    processes
        Those that have not ended, in the order of their starts.
    trouble
        Share of operations that fail now.
    files
        The newest release that was given out.
    happened
        How often what has happened.
    """

    def __init__(self, plan: Plan, trace: Callable[[str], None] | None = None) -> None:
        self.plan = plan
        self.trace = trace
        self.clock = NOW.clock = Clock(market.START_NS)
        # Prices jump as they like here, and a history falls silent for minutes: other tests ask what becomes of that.
        self.settings = Settings(
            price_limit_bp=0,
            guard_bp=0,
            feed_silent_s=86_400,
            kafka_url="kafka",
            redis_url="redis",
            partitions=plan.partitions,
            partials=plan.partials,
            checkpoint_s=plan.checkpoint_s,
            cadence_ms=plan.cadence_ms,
            packed_above=plan.packed_above,
        )
        self.releases = market.releases(plan.n_symbols, plan.variant)
        worlds = {each.world.id: each.world for each in self.releases}
        self.partitions = range(plan.partitions)
        self.ledgers = [Ledger(p, self.releases[0].world, worlds) for p in self.partitions]
        self.laws = Laws(self.ledgers)
        self.broker = Broker(self.clock)
        self.redis = Redis()
        tps = [TP(self.settings.ticks_topic, p) for p in self.partitions]
        if plan.partials == "topic":
            tps.append(TP(self.settings.partials_topic, 0))
        self.group = Group(tps)
        self.processes: list[Process] = []
        self.trouble = plan.trouble
        self.files = 0
        self.happened: Counter[str] = Counter()
        self._started = 0
        self._prepare()

    def _prepare(self) -> None:
        broker, settings = self.broker, self.settings
        broker.listeners = {
            settings.ticks_topic: self.laws.tick,
            settings.checkpoints_topic: self._checkpoint,
            settings.partials_topic: self._partial,
            settings.levels_topic: lambda _, record: self.laws.level(record),
        }
        self.redis.listener = self._published
        if self.plan.old_epoch:
            self.redis.keys[RedisNames().epoch] = str(self.plan.old_epoch).encode()
        for partition in self.partitions:
            for _ in range(self.plan.begun):
                broker.append(settings.ticks_topic, None, b"{", partition=partition)
            broker.logs[settings.ticks_topic, partition].truncate(self.plan.begun)

    def _checkpoint(self, partition: int, record: Record) -> None:
        records = self.broker.logs[self.settings.checkpoints_topic, partition].records
        if record.key == b"claim":
            self.laws.claimed(self.broker.writer, partition, records)
        self.laws.checkpoint(partition, record)
        if record.value is None and record.key is not None and record.key.startswith(b"book/"):
            self.laws.buried(partition, records)

    def _published(self, channel: str, message: bytes) -> None:
        """Whatever a publication leaves out must stand in Redis already, if this publisher ever made it (law 10)."""
        self.laws.published(channel, message)
        names = RedisNames()
        if channel == names.levels:
            packed = self.redis.hashes.get(names.snaps, {})
            for code in self.laws.made_by_newest:
                there = names.snap(code) in self.redis.keys or code in packed
                demand(there, "10", "{} is not in Redis after a publication", code)

    def _partial(self, _: int, record: Record) -> None:
        if record.key == b"claim" and self.broker.writer is not None:
            self.broker.writer.claimed = self.laws.moment
        self.laws.partials(record)

    def say(self, text: str, *args: object) -> None:
        """Tell what happens."""
        if self.trace is not None:
            self.trace(f"{self.clock.monotonic():9.3f}  {text.format(*args)}")

    def counted(self, what: str, text: str, *args: object) -> None:
        """Tell what happens, and count it."""
        self.happened[what] += 1
        self.say(text, *args)

    # ---- what goes in ------------------------------------------------------------------------------

    def tick(self, partition: int, value: bytes) -> None:
        """Append a message of a feed."""
        self.broker.append(self.settings.ticks_topic, None, value, partition=partition)
        self.say("ticks/{}: {}", partition, value.decode())

    def order(self, symbol: str, action: Action, price: int = 0) -> None:
        """Let an operator decide."""
        override = Override(
            symbol=symbol,
            action=action,
            author="operator",
            reason="a step",
            ts=self.clock.now_ns,
            price=price,
        )
        self.broker.append(self.settings.control_topic, None, control.encode(override))
        self.counted("overrides", "control: {}", override)

    def checkpointed(self, partition: int) -> int | None:
        """Give the highest offset that a checkpoint of a partition stands for."""
        log = self.broker.logs[self.settings.checkpoints_topic, partition]
        return self.laws.newest_checkpoint(log.records)

    @property
    def remembered_epoch(self) -> int:
        """Of the newest publisher that Redis knows."""
        return int(self.redis.keys.get(RedisNames().epoch, 0))

    # ---- processes ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a worker with the newest release of files."""
        self._started += 1
        process = Process(
            f"w{self._started}",
            Loop(self.clock),  # type: ignore[abstract]  # what asyncio asks of it is there
            broker=self.broker,
            redis=self.redis,
            group=self.group,
            laws=self.laws,
        )
        self.processes.append(process)
        composition = self.releases[self.files].composition
        process.start(lambda: make_worker(process, self.settings, composition))
        self.counted("starts", "{} starts with files {}", process.name, self.files)

    def crash(self, process: Process, chance: random.Random) -> None:
        """End a process; what it had sent a moment before may still land."""
        while chance.random() < 0.3 and (able := [op for op in process.able() if not op.landed]):
            self.land(process, chance.choice(able))
        self.counted("crashes", "{} crashes", process.name)
        self._bury(process)
        self.look()

    def _bury(self, process: Process) -> None:
        self.processes.remove(process)
        if process.app is not None:
            self.group.leave(process.app)
        process.kill()

    def end(self) -> None:
        """End all processes, without a word."""
        self.trace = None
        for process in self.processes:
            process.kill()

    def look(self) -> None:
        """See whether a law was broken, or a process has ended.

        Raises
        ------
        BrokenLawError
            Where one was, or a process ended as none may.
        """
        if self.laws.broken is not None:
            raise self.laws.broken
        for process in list(self.processes):
            if process.main is not None and process.main.done():
                self._ended(process, process.main.exception())

    def _ended(self, process: Process, error: BaseException | None) -> None:
        self.counted("ends", "{} ends: {!r}", process.name, error)
        self._bury(process)
        if isinstance(error, BrokenLawError):
            raise error
        if error is not None and not isinstance(error, ServiceError | StuckError):
            raise BrokenLawError("crash", f"{process.name} ends with {error!r}") from error

    # ---- operations --------------------------------------------------------------------------------

    def operate(self, process: Process, op: Op, chance: random.Random) -> None:
        """Let an operation land and be answered, or only land, or fail in one of several ways."""
        if chance.random() < self.trouble:
            self._go_wrong(process, op, chance)
            return
        if not op.landed:
            self.land(process, op)
            if chance.random() < 0.2:
                return
        process.reply(op)

    def land(self, process: Process, op: Op) -> None:
        """Let an operation happen."""
        self.say("{}: {}", process.name, op.what)
        process.land(op)
        if process.paused:
            self.happened["writes of paused processes"] += 1

    def _go_wrong(self, process: Process, op: Op, chance: random.Random) -> None:
        if not op.landed and chance.random() < 0.4:
            self.land(process, op)
        forget = op.landed or chance.random() < 0.6
        how = "has landed" if op.landed else "is lost" if forget else "lands later"
        self.counted("failures", "{}: {} is said to fail, and {}", process.name, op.what, how)
        process.fail(op, forget=forget)
