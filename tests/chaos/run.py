"""One run: a tape is fed, workers calculate, the nemesis breaks things, and then everything is compared."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio

from chaos import checker
from chaos.checker import AccountOf, Accounts, Audit, Ended, Law, Letter, Order, Prefixes
from chaos.feed import Feed, Form, open_feed
from chaos.fleet import Fleet, Life, Scrape
from chaos.history import REASONS, History, own_index, work_out
from chaos.nemesis import GUEST, Nemesis, worker_name
from chaos.recorder import (
    PartialsTail,
    Recorder,
    letter,
    mirrored_prices,
    read_topic,
    snapshots,
    stream_numbers,
)
from chaos.recovery import Recovery, bounds, recoveries_of, staleness
from chaos.schedule import SESSION_TIMEOUT_S, Fault, Kind, end_s
from chaos.stack import Files, Stack, environment, levels_of, verify, write_files
from chaos.tape import Tape, dollars, make_tape, write_csv
from stream.settings import Settings
from stream.topics import ensure_topics

#: Indexes beside the partitions' own that are known after every tick.
FOLLOWED = ("US3000", "US3000EW")

#: Ticks go on for so long after the last fault, so that its recovery can be seen; one that takes longer is not measured.
TAIL_S = 15.0

#: An index says that it is stale this soon after one of its workers has gone.
STALE_WITHIN_S = 5.0

READY_WITHIN_S = 120.0
SETTLED_WITHIN_S = 120.0
SAY_EVERY_S = 5.0
POLL_S = 0.25

#: Where these are broken, publications are lost and numbers left out; a worker may end where any of the others is.
BREAKS_REDIS: frozenset[Kind] = frozenset(("redis-flush", "redis-restart", "net-redis"))
#: Where these are at work, levels may be recorded late, and again where it was not confirmed.
BREAKS_KAFKA: frozenset[Kind] = frozenset(("broker", "net-kafka", "pause"))
ENDS_NO_WORKER: frozenset[Kind] = frozenset(("kill", "rebalance", "clock"))

#: A dead letter tells of these.
BURIED = ("malformed", "unknown_symbol", "future")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does; it follows from the command line alone.

    Attributes
    ----------
    seed
        Of the tape.
    ticks, n_partitions, workers
        How many.
    backlog
        Share of the ticks that is written before the first worker starts; the others come evenly until `tail_s` after the
        last fault.
    form
        Of the messages.
    clock
        Whether some event times come from clocks that were stepped.
    schedule
        Of the nemesis.
    live
        Whether workers publish nothing of a backlog, as in production: then no level may go back behind one before it.
    tail_s
        Seconds for which ticks go on after the last fault.
    timed
        Whether it is a law how soon others go on: a slow machine breaks it.
    """

    seed: int
    ticks: int
    n_partitions: int
    workers: int
    backlog: float
    form: Form
    clock: bool
    schedule: tuple[Fault, ...]
    live: bool = False
    tail_s: float = TAIL_S
    timed: bool = True

    @property
    def kinds(self) -> frozenset[Kind]:
        """Faults that happen."""
        clock: set[Kind] = {"clock"} if self.clock else set()
        return frozenset(clock | {fault.kind for fault in self.schedule})


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    laws
        All that were checked.
    recoveries
        Of every fault that could be measured.
    ended
        What workers said that ended by themselves, counted.
    facts
        Figures for the summary.
    """

    laws: list[Law] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def wrong(self) -> list[Law]:
        """Laws that did not hold."""
        return [law for law in self.laws if not law.holds]


@dataclass(frozen=True, slots=True)
class _Given:
    """What is known before anything runs."""

    plan: Plan
    files: Files
    tape: Tape
    history: History
    settings: Settings


async def run(plan: Plan, *, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Run a plan.

    Parameters
    ----------
    plan
        What to do.
    folder
        For files, logs and data.
    say
        Is told what happens.
    """
    files = write_files(folder, n_partitions=plan.n_partitions)
    tape, history = _made(plan, files)
    write_csv(tape, folder / "tape.csv")
    say(
        f"{plan.ticks:,} ticks: " + ", ".join(f"{n:,} {why}" for why, n in history.counts().items())
    )
    through_proxies = not plan.kinds.isdisjoint(("net-kafka", "net-redis"))
    stack = Stack(folder, n_links=plan.workers + 1 if through_proxies else 0)
    with stack.running():
        settings = _settings(plan, stack, files)
        await ensure_topics(settings)
        test = _Run(_Given(plan, files, tape, history, settings), stack, folder, say)
        return await test.run()


def _made(plan: Plan, files: Files) -> tuple[Tape, History]:
    composition = files.composition
    tape = make_tape(
        composition.universe.symbols,
        composition.reference_price,
        ticks=plan.ticks,
        n_partitions=plan.n_partitions,
        seed=plan.seed,
        clock=plan.clock,
    )
    own = [own_index(p) for p in range(plan.n_partitions)]
    return tape, work_out(tape, composition, follow=[*own, *FOLLOWED])


def _settings(plan: Plan, stack: Stack, files: Files) -> Settings:
    return Settings(
        kafka_url=stack.kafka.url,
        redis_url=stack.redis.url,
        constituents=str(files.constituents),
        indexes=str(files.indexes),
        partitions=plan.n_partitions,
        partials="topic",
        publish_backlog=not plan.live,
        group="chaos",
        redis_prefix="chaos:",
        dead_letters_per_s=100_000,
    )


class _Run:
    """Everything that is at work during a run."""

    def __init__(
        self, given: _Given, stack: Stack, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._given = given
        self._stack = stack
        self._folder = folder
        self._say = say
        self._names = given.settings.redis_names
        self._redis: Any = redis.asyncio.from_url(stack.redis.url, protocol=2)
        self._order = Order()
        self._prefixes = Prefixes(given.history)
        self._accounts = Accounts()
        self._dropped = 0
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        given, plan = self._given, self._given.plan
        logs = self._folder / "logs"
        logs.mkdir()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._redis.aclose)
            feed = await stack.enter_async_context(
                open_feed(
                    self._stack.kafka.url, given.settings.ticks_topic, given.tape, form=plan.form
                )
            )
            expected = asyncio.create_task(
                asyncio.to_thread(
                    levels_of, self._folder / "tape.csv", given.files, folder=self._folder
                )
            )
            await feed.announce()
            began = time.monotonic()
            await feed.pour(int(plan.ticks * plan.backlog))
            self._say(f"{feed.written:,} ticks written in {time.monotonic() - began:.1f} s")
            levels = (await expected)["levels"]
            recorder = await stack.enter_async_context(Recorder(self._stack.redis.url, self._names))
            recorder.watchers += [self._order.observe, self._prefixes.observe]
            tail = await stack.enter_async_context(
                PartialsTail(self._stack.kafka.url, given.settings.partials_topic)
            )
            fleet = await stack.enter_async_context(self._fleet(logs))
            nemesis = Nemesis(
                plan.schedule, stack=self._stack, fleet=fleet, tail=tail, say=self._say
            )
            await self._hurt(feed, recorder, fleet, nemesis)
            ended = time.monotonic()
            await self._compare(levels, feed, recorder, fleet, tail)
            self._measure(nemesis, feed, until=ended - plan.tail_s)
            await fleet.scrape()
            self._judge(fleet)
            self._outcome.facts |= {
                "median s from a worker's start to its metrics": round(_median_start(fleet), 2),
                "load": round(os.getloadavg()[1], 1),
                "epochs": len(self._order.epochs_seen),
                "interruptions of the recorder": recorder.interruptions,
                "lives of workers": len(fleet.lives),
                "seconds": round(time.monotonic() - began, 1),
            }
        return self._outcome

    @asynccontextmanager
    async def _fleet(self, logs: Path) -> AsyncIterator[Fleet]:
        """Add the members, and start all of them but the guest."""
        async with Fleet(logs) as fleet:
            fleet.watchers.append(self._on_scrape)
            names = [worker_name(number) for number in range(self._given.plan.workers)]
            for link, name in enumerate([*names, GUEST]):
                kafka_url, redis_url = self._stack.addresses(link)
                theirs = environment(self._given.settings) | {
                    "CAPSTREAM_KAFKA_URL": kafka_url,
                    "CAPSTREAM_REDIS_URL": redis_url,
                }
                fleet.add(name, theirs)
            for name in names:
                fleet.members[name].start()
            yield fleet

    def _on_scrape(self, life: Life, scrape: Scrape) -> None:
        whose = f"{life.worker}, process {life.pid}"
        self._accounts.observe(
            AccountOf(whose, scrape.ticks, scrape.applied, scrape.refused, scrape.drift)
        )
        self._dropped = max(self._dropped, scrape.dropped)

    async def _hurt(self, feed: Feed, recorder: Recorder, fleet: Fleet, nemesis: Nemesis) -> None:
        """Let the nemesis act while the rest of the tape is fed."""
        plan = self._given.plan

        def at_work() -> bool:
            owned = {p for life in fleet.running if life.last for p in life.last.lag}
            return len(owned) == plan.n_partitions and all(self._prefixes.sights)

        if not await _eventually(at_work, within_s=READY_WITHIN_S):
            said = [f"{life.worker}: {' | '.join(life.said)}" for life in fleet.lives]
            raise RuntimeError("the workers do not publish:\n" + "\n".join(said))
        seconds = end_s(plan.schedule) + plan.tail_s
        self._say(f"all {plan.n_partitions} partitions are published; {seconds:.0f} s follow")
        progress = asyncio.create_task(self._tell(feed, recorder, fleet), name="progress")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(nemesis.act(), name="nemesis")
                tasks.create_task(feed.pace(plan.ticks, seconds=seconds), name="feed")
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
        recorder.check()

    async def _tell(self, feed: Feed, recorder: Recorder, fleet: Fleet) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(SAY_EVERY_S)
            recorder.check()
            lag = sum(sum(life.last.lag.values()) for life in fleet.running if life.last)
            epoch = self._order.epochs_seen[-1] if self._order.epochs_seen else 0
            broken = sum(law.n_broken for law in self._watched())
            self._say(
                f"{time.monotonic() - began:6.0f} s  {feed.written:,} ticks written, {lag:,} records behind, "
                f"epoch {epoch}, {len(fleet.running)} workers"
                + (f", {broken} BROKEN" if broken else "")
            )

    def _watched(self) -> list[Law]:
        """Laws that are asked while the run goes on."""
        order, prefixes, accounts = self._order, self._prefixes, self._accounts
        laws = [order.order, order.epochs, prefixes.prefix, accounts.sums, accounts.drift]
        if self._given.plan.kinds.isdisjoint(BREAKS_REDIS):
            laws.append(order.gaps)
        if self._given.plan.live:
            laws.append(prefixes.forward)
        return laws

    async def _compare(
        self,
        levels: dict[str, dict[str, Any]],
        feed: Feed,
        recorder: Recorder,
        fleet: Fleet,
        tail: PartialsTail,
    ) -> None:
        """Wait until nothing moves any more, and compare what there is with what there must be."""
        began = time.monotonic()

        async def settled() -> bool:
            found = await snapshots(self._redis, self._names)
            return checker.final_levels(levels, found).holds

        await _eventually(settled, within_s=SETTLED_WITHIN_S)
        self._outcome.facts["seconds until the last level"] = round(time.monotonic() - began, 1)
        beats = len(recorder.heartbeats)
        await _eventually(lambda: len(recorder.heartbeats) > beats + 1, within_s=10)
        # Read again: what was right must have stayed so.
        found = await snapshots(self._redis, self._names)
        last = Law("a snapshot key holds the last message of its channel")
        for code in found:
            kept = await self._redis.get(self._names.snap(code))
            last.expect(kept == recorder.last.get(code), f"{code}: {kept!r}")
        numbers = {code: await stream_numbers(self._redis, self._names, code) for code in found}
        self._outcome.laws += [
            *self._watched(),
            checker.final_levels(levels, found),
            last,
            checker.streams(numbers),
            await self._prices(),
            await self._ready(fleet),
            checker.told(
                await tail.settle() or {}, {p: one.end for p, one in enumerate(feed.offsets)}
            ),
        ]
        self._outcome.laws += await self._topics(feed)

    async def _prices(self) -> Law:
        tape, positions = self._given.tape, self._given.history.last_position.tolist()
        expected = {
            tape.symbols[row]: (dollars(int(tape.price[at])), int(tape.ts[at]))
            for row, at in enumerate(positions)
            if at >= 0
        }

        async def law() -> Law:
            return checker.prices(expected, await mirrored_prices(self._redis, self._names))

        async def mirrored() -> bool:
            return (await law()).holds

        await _eventually(mirrored, within_s=10)
        return await law()

    async def _ready(self, fleet: Fleet) -> Law:
        law = Law("in the end every worker is ready, and has read all there is")

        def ready() -> bool:
            now = [life.last for life in fleet.running]
            return all(one is not None and one.ready and not any(one.lag.values()) for one in now)

        await _eventually(ready, within_s=30)
        for life in fleet.running:
            one = life.last
            text = f"{life.worker}: {one if one is None else (one.ready, one.lag)}"
            law.expect(one is not None and one.ready and not any(one.lag.values()), text)
        return law

    async def _topics(self, feed: Feed) -> list[Law]:
        settings, url = self._given.settings, self._stack.kafka.url
        laws = []
        if not self._dropped:
            found = [letter(one) async for one in read_topic(url, settings.dead_letters_topic)]
            laws.append(checker.dead_letters(self._letters(feed), found))
        audit = Audit(self._given.history, feed.offsets)
        async for record in read_topic(url, settings.levels_topic):
            audit.observe(json.loads(record.value or b"{}", parse_float=str))
        laws += [audit.levels, audit.order, audit.end(), await self._verified()]
        if self._given.plan.kinds.isdisjoint(BREAKS_KAFKA):
            laws.append(audit.straight)
        return laws

    async def _verified(self) -> Law:
        law = Law("capstream verify passes")
        folder = self._folder
        status, said = await asyncio.to_thread(verify, self._given.settings, folder=folder)
        law.expect(status == 0, said)
        return law

    def _letters(self, feed: Feed) -> list[Letter]:
        history, letters = self._given.history, []
        for partition, one in enumerate(history.partitions):
            verdicts = history.verdict[one.position]
            for reason in BURIED:
                ticks = (verdicts == REASONS.index(reason)).nonzero()[0].tolist()
                letters += [
                    Letter(reason, partition, feed.offsets[partition].offset_of(tick))
                    for tick in ticks
                ]
        return letters

    def _measure(self, nemesis: Nemesis, feed: Feed, *, until: float) -> None:
        self._outcome.recoveries = recoveries_of(
            nemesis.marks,
            self._prefixes.sights,
            lambda partition, offset: feed.offsets[partition].ticks_before(offset),
            until=until,
        )

    def _judge(self, fleet: Fleet) -> None:
        lives = [
            Ended(
                f"{life.worker}, process {life.pid}",
                life.ending == "stopped",
                life.status or 0,
                life.said[-1] if life.said else "",
            )
            for life in fleet.lives
            if life.ending in ("stopped", "by itself")
        ]
        may_end = not self._given.plan.kinds <= ENDS_NO_WORKER
        recoveries = self._outcome.recoveries
        self._outcome.ended = checker.by_reason(lives)
        self._outcome.laws.append(checker.endings(lives, may_end=may_end))
        if self._given.plan.timed:
            self._outcome.laws += [
                bounds(recoveries, session_timeout_s=SESSION_TIMEOUT_S),
                staleness(recoveries, within_s=STALE_WITHIN_S),
            ]
        self._outcome.facts["levels that went back"] = self._prefixes.forward.n_broken


def _median_start(fleet: Fleet) -> float:
    """Tell how much of each recovery is the start of a process."""
    took = [life.served - life.began for life in fleet.lives if life.served is not None]
    return statistics.median(took) if took else 0.0


async def _eventually(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within_s: float
) -> bool:
    """Wait until something holds, and tell whether it came to that."""
    deadline = time.monotonic() + within_s
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
