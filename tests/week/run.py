"""A whole week: what the market does goes to the product and to the ledger, and what is published is compared."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from stream.feed.producer import Format
from stream.session.calendar import Session
from week.checks import Checker
from week.contradiction import ContradictionError
from week.days import WEEKS, Week
from week.market import TRADE, Part, Tick, composition_of, parts
from week.played import Played

#: Partitions of the ticks topic.
N_PARTITIONS = 3
#: Of so many publications, one finds all books going on from their checkpoints, and one their sums made anew.
RESTART_EVERY = 97
RECOMPUTE_EVERY = 997


@dataclass(frozen=True)
class Plan:
    """What is played.

    Attributes
    ----------
    name
        Of the week.
    seed, rate, stocks
        Of the market: trades of shares in a second of regular hours.
    form
        How ticks are written.
    every_s
        Simulated seconds between publications; None for a minute, and less where much happens.
    sparse
        So many times as long between publications, where `every_s` is None.
    hours
        Ends so many hours after its start; None for the whole week.
    """

    name: str
    seed: int = 1
    rate: float = 2.0
    stocks: int = 90
    form: Format = "frame"
    every_s: float | None = None
    sparse: int = 1
    hours: float | None = None

    @property
    def week(self) -> Week:
        whole = WEEKS[self.name]
        if self.hours is None:
            return whole
        return replace(whole, ends=whole.starts + timedelta(hours=self.hours))


@dataclass
class Outcome:
    """What came of it: how many comparisons of each sort, what happened, and what contradicts."""

    plan: Plan
    compared: Counter[str]
    happened: Counter[str]
    contradiction: str | None = None


def play(plan: Plan, say: Callable[[str], object] = lambda _: None) -> Outcome:
    """Play a week to its end, or to the first contradiction."""
    return asyncio.run(_Playing(plan, say).play())


class _Playing:
    def __init__(self, plan: Plan, say: Callable[[str], object]) -> None:
        composition = composition_of(plan.stocks)
        self._plan = plan
        self._say = say
        self._parts = parts(
            composition,
            plan.week,
            seed=plan.seed,
            rate=plan.rate,
            every_s=plan.every_s,
            sparse=plan.sparse,
        )
        self._played = Played(composition, n_partitions=N_PARTITIONS, form=plan.form)
        self._checker = Checker(composition, plan.week, self._played.partitions)
        self._n_ticks = 0

    async def play(self) -> Outcome:
        contradiction = None
        async with self._played.publishing():
            try:
                for part in self._parts:
                    if part.publishes and self._n_ticks:
                        # Halts, busts and corrections find books that know of the trades before by a checkpoint.
                        await self._deliver(restarts=part.ticks[0].kind != TRADE)
                    await self._take(part)
                await self._deliver()
                self._checker.end(self._played.closes())
            except ContradictionError as error:
                contradiction = str(error)
        happened = Counter(self._checker.ledger.seen)
        happened["ticks"] = self._n_ticks
        happened["restarts of a book"] = self._played.restarts
        return Outcome(self._plan, self._checker.counts, happened, contradiction)

    async def _take(self, part: Part) -> None:
        done = 0
        for trades, session, begins in self._played.sessions(part.trades):
            ticks = part.ticks[done : done + len(trades)]
            done += len(trades)
            if begins:
                self._say(f"{self._plan.name}: {session.name}, {self._n_ticks} ticks so far")
                await self._roll(session, ticks[0])
            self._played.write(trades)
            self._checker.take(ticks)
            self._n_ticks += len(ticks)

    async def _deliver(self, *, restarts: bool = False) -> None:
        """Let the product read all that was written, publish, and compare."""
        n = self._checker.counts["moments"]
        self._played.deliver(restarts=restarts or n % RESTART_EVERY == RESTART_EVERY - 1)
        await self._publish()
        if n % RECOMPUTE_EVERY == 0 and not self._played.recomputed():
            raise ContradictionError("running sums are not those of the books")

    async def _roll(self, session: Session, first: Tick) -> None:
        """Begin a session: first on one partition, so that the last level is held, then on the others."""
        before = self._checker.ledger.session
        played = self._played
        if before:
            played.deliver()
            await self._publish()
            self._checker.closes(played.closes(), before)
        played.roll(session)
        if before:
            played.deliver([0])
            await played.publish()
            self._checker.held(played.sink.newest)
        played.deliver()
        self._checker.roll(session.name, session.starts_ns, first)
        if before:
            await self._publish()
            self._checker.previous_closes()

    async def _publish(self) -> None:
        await self._played.publish()
        self._checker.compare(self._played.sink.newest, self._played.sink.published)
        self._checker.recorded(self._played.recorded(), self._played.ends)
