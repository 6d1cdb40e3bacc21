"""What comes from outside: feeds, operators, releases of files, and everything that goes wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

from simulation import market
from simulation.cluster import Action, Cluster
from simulation.process import Process
from simulation.scheduler import Scheduler
from simulation.steps import Kind, Step
from simulation.truth import NS
from stream.feed.producer import partition_of
from stream.index.control import OriginRecord, Roll
from stream.wire import control

#: A second line brings one of the last so many messages again.
LINE_LAG = 6


class Happenings:
    """Lets steps happen to a cluster.

    Parameters
    ----------
    cluster, scheduler
        The cluster, and who lets it go on between the steps.
    """

    def __init__(self, cluster: Cluster, scheduler: Scheduler) -> None:
        self._cluster = cluster
        self._scheduler = scheduler
        self._simulated = False
        self._seq = 0
        self._sent: list[tuple[int, bytes]] = []
        self._do: dict[Kind, Callable[[Step, random.Random], None]] = {
            "go": self._go,
            "wait": self._wait,
            "morning": self._morning,
            "tick": self._tick,
            "again": self._again,
            "rubbish": self._rubbish,
            "feed": self._feed,
            "operator": self._operator,
            "start": self._start,
            "crash": self._crash,
            "stop": self._stop,
            "pause": self._pause,
            "resume": self._resume,
            "rebalance": lambda _, __: scheduler.gather(),
            "flush": self._flush,
            "failover": self._fail_over,
            "redis": self._redis,
            "choke": self._choke,
            "compact": self._compact,
            "forget": self._forget,
        }

    def do(self, step: Step) -> None:
        """Let a step happen."""
        self._do[step.kind](step, random.Random(step.chance))

    # ---- time --------------------------------------------------------------------------------------

    def _go(self, step: Step, chance: random.Random) -> None:
        for _ in range(step.number):
            if not self._scheduler.event(chance):
                return

    def _wait(self, step: Step, chance: random.Random) -> None:
        clock = self._cluster.clock
        until = clock.monotonic() + step.amount
        for _ in range(200):
            if clock.monotonic() >= until or not self._scheduler.event(chance):
                return

    def _morning(self, _: Step, chance: random.Random) -> None:
        clock = self._cluster.clock
        clock.now_ns = market.next_morning(clock.now_ns) + chance.randrange(60) * NS
        self._cluster.counted("mornings", "a new day")
        if self._simulated and chance.random() < 0.8:
            self._roll_in_place(chance)

    # ---- feeds and operators -----------------------------------------------------------------------

    def _send(self, partition: int, value: bytes) -> None:
        self._cluster.tick(partition, value)
        self._sent.append((partition, value))

    def _tick(self, step: Step, chance: random.Random) -> None:
        plan = self._cluster.plan
        partition = partition_of(step.text, plan.partitions)
        if chance.random() < plan.astray:
            partition = chance.randrange(plan.partitions)
        ticks = [self._trade(step.text, chance) for _ in range(step.number)]
        if len(ticks) > 1 and chance.random() < 0.2:
            ticks = [b"[" + b",".join(ticks) + b"]"]
        for tick in ticks:
            self._send(partition, tick)

    def _trade(self, symbol: str, chance: random.Random) -> bytes:
        reference = self._cluster.releases[0].world.price.get(symbol, 100_000)
        price = int(reference * chance.uniform(0.6, 1.6))
        if chance.random() < 0.03:
            price *= chance.choice((6, 9, 14))
        lag = chance.choice((0.0, 0.0, 0.0, 0.0, 0.5, 1.5, -1.0, 4.0, -3.0))
        ts = self._cluster.clock.now_ns - int(lag * NS)
        if chance.random() < 0.03:
            ts = market.a_trading_day_before(ts)
        if chance.random() < 0.3:
            ts -= ts % NS
        self._seq += 1
        seq = self._seq if chance.random() < 0.8 else 0
        cond = "I" if chance.random() < 0.03 else "@"
        return market.trade(symbol, price, ts, seq=seq, cond=cond)

    def _again(self, _: Step, chance: random.Random) -> None:
        """Let a second line bring what the first has brought."""
        if self._sent:
            self._send(*chance.choice(self._sent[-LINE_LAG:]))

    def _rubbish(self, step: Step, chance: random.Random) -> None:
        messages = (b"{", b"", market.trade("ZZ", 1, self._cluster.clock.now_ns, seq=0))
        self._send(step.number % self._cluster.plan.partitions, chance.choice(messages))

    def _feed(self, _: Step, chance: random.Random) -> None:
        """Begin a simulation: its feed says so before its first tick, and rolls in place."""
        self._simulated = True
        for partition in self._cluster.partitions:
            self._send(partition, control.encode(OriginRecord("simulated")))
        self._roll_in_place(chance)

    def _roll_in_place(self, chance: random.Random) -> None:
        name, starts, ends = market.session(self._cluster.clock.now_ns)
        partitions = self._cluster.partitions
        for partition in chance.sample(partitions, len(partitions)):
            self._send(partition, control.encode(Roll(name, starts, ends)))

    def _operator(self, step: Step, chance: random.Random) -> None:
        symbol, action = market.SYMBOLS[step.number], cast("Action", step.text)
        reference = self._cluster.releases[0].world.price[symbol]
        price = {
            "price": int(reference * chance.uniform(0.5, 1.5)),
            "bound": reference * chance.choice((10, 20, 200)),
        }
        self._cluster.order(symbol, action, price.get(action, 0))

    # ---- processes ---------------------------------------------------------------------------------

    def _start(self, step: Step, _: random.Random) -> None:
        """Let a worker come; a higher number of files than any before it is that of a new release.

        New files come only once all partitions have checkpoints: before, books begin with the files of whoever opens them.
        """
        cluster, plan = self._cluster, self._cluster.plan
        working = [each for each in cluster.processes if not each.paused]
        if len(working) >= plan.workers or len(cluster.processes) > plan.workers + 1:
            return
        if plan.partials == "memory" and working:
            return
        if all(cluster.checkpointed(partition) is not None for partition in cluster.partitions):
            cluster.files = max(cluster.files, step.number)
        cluster.start()

    def _one(self, step: Step, *, paused: bool) -> Process | None:
        able = [each for each in self._cluster.processes if each.paused == paused]
        return able[step.number % len(able)] if able else None

    def _crash(self, step: Step, chance: random.Random) -> None:
        process = self._one(step, paused=chance.random() < 0.2)
        if process is not None:
            self._cluster.crash(process, chance)

    def _stop(self, step: Step, _: random.Random) -> None:
        process = self._one(step, paused=False)
        if process is not None:
            self._cluster.counted("stops", "{} is asked to stop", process.name)
            process.ask_to_stop()

    def _pause(self, step: Step, _: random.Random) -> None:
        process = self._one(step, paused=False)
        if process is not None:
            self._cluster.counted("pauses", "{} is paused", process.name)
            process.paused = True
            self._cluster.group.restless = True

    def _resume(self, step: Step, _: random.Random) -> None:
        process = self._one(step, paused=True)
        if process is not None:
            self._cluster.say("{} goes on", process.name)
            process.paused = False

    def _choke(self, step: Step, _: random.Random) -> None:
        process = self._one(step, paused=False)
        if process is not None:
            process.choked = not process.choked
            self._cluster.say("{} is {}", process.name, "choked" if process.choked else "free")

    # ---- services ----------------------------------------------------------------------------------

    def _flush(self, _: Step, __: random.Random) -> None:
        cluster = self._cluster
        cluster.counted("flushes", "Redis comes back empty")
        cluster.redis.flush()
        self._forget_fence()

    def _fail_over(self, step: Step, __: random.Random) -> None:
        """Let a replica take over; what is still on its way to the old primary is lost with it."""
        cluster = self._cluster
        cluster.counted("failovers", "a replica takes over, up to {} writes behind", step.number)
        for process in cluster.processes:
            for op in [op for op in process.ops if op.to_redis and not op.landed]:
                process.fail(op, forget=True)
        cluster.redis.fail_over(step.number)
        if cluster.remembered_epoch < cluster.laws.newest_epoch:
            self._forget_fence()

    def _forget_fence(self) -> None:
        """Let an older publisher write, where there is one, until a newer one does: Redis has forgotten the newest."""
        cluster = self._cluster
        if cluster.plan.old_epoch or not all(map(self._is_newest, cluster.processes)):
            cluster.laws.forget()

    def _is_newest(self, process: Process) -> bool:
        publisher = process.publisher
        return publisher is not None and publisher.epoch == self._cluster.laws.newest_epoch

    def _redis(self, _: Step, __: random.Random) -> None:
        redis = self._cluster.redis
        redis.up = not redis.up
        self._cluster.counted("outages", "Redis is {}", "back" if redis.up else "away")
        if self._cluster.plan.old_epoch:
            # An epoch that Redis alone remembered cannot be asked for now.
            self._cluster.laws.forget()

    def _compact(self, step: Step, chance: random.Random) -> None:
        self._cluster.counted("compactions", "{} is compacted", step.text)
        self._cluster.broker.compact(step.text, chance)

    def _forget(self, _: Step, chance: random.Random) -> None:
        """Let go of ticks that are older than the newest checkpoint, while nobody reads them."""
        cluster = self._cluster
        if cluster.processes:
            return
        for partition in cluster.partitions:
            offset = cluster.checkpointed(partition)
            log = cluster.broker.logs[cluster.settings.ticks_topic, partition]
            if offset is not None and offset > log.start:
                log.truncate(chance.randint(log.start, offset))
                cluster.counted("losses", "ticks/{} begins at {}", partition, log.start)
