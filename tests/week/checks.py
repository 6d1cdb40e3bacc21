"""What is compared at each publication, and at the end of each session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from stream.index.composition import Composition
from week.contradiction import ContradictionError, clock_text, compare
from week.days import Week, begins, begins_for_shares, cash_phase, hours, session_at
from week.expected import AGES, CLOSING_NS, Patience, Teller, digits, facts_of, told
from week.ledger import MARKETS, NONE, Ledger
from week.market import Tick
from week.opening import Opening

_NUMBERS = ("change_pct",)
#: The last digit of a level.
ULP = Decimal("1e-8")


@dataclass
class Day:
    """One session's prices, as they are found on the tape, whatever order they came in.

    Attributes
    ----------
    closing, declared
        Of each row, the primary exchange's closing print, and what it declared after: newest first in force.
    """

    closing: dict[int, int] = field(default_factory=dict)
    declared: dict[int, int] = field(default_factory=dict)

    def note(self, tick: Tick, *, market: str) -> None:
        if MARKETS.get(tick.venue) != market:
            return
        if tick.cond in {"M", "9"}:
            self.declared[tick.row] = tick.price
        elif tick.cond == "6":
            self.closing[tick.row] = tick.price

    def official(self) -> dict[int, int]:
        return {**self.closing, **self.declared}


class Checker:
    """Follows a week beside the product, and compares.

    Parameters
    ----------
    composition
        Of both.
    week
        Which.
    partitions
        Partition of each row: a stock is stale by the clock of its own.

    Attributes
    ----------
    counts
        How many comparisons of each sort were made.
    """

    def __init__(self, composition: Composition, week: Week, partitions: Sequence[int]) -> None:
        self.ledger = Ledger(composition)
        self.counts: Counter[str] = Counter()
        self._teller = Teller(composition)
        self._patience = Patience(composition)
        self._composition = composition
        self._week = week
        self._partitions = partitions
        self._extremes: dict[str, tuple[str, Decimal, Decimal, Decimal]] = {}
        self._set_extremes: set[str] = set()
        self._fixed: dict[str, Decimal] = {}
        self._closed_prices: dict[int, int] = {}
        self._day = Day()
        self._shown: dict[str, dict[str, Any]] = {}
        self._opening = Opening(self._teller, self.counts)
        self._may_move = True
        self._newest_future = 0

    # ---- what goes in ----------------------------------------------------------------------------

    def take(self, ticks: Sequence[Tick]) -> None:
        for tick in ticks:
            regular = cash_phase(tick.ts) == "regular"
            if tick.row >= len(self.ledger.stocks):
                self._newest_future = max(self._newest_future, tick.ts)
            elif regular or tick.cond in {"6", "M", "9"}:
                self._may_move = True
                if not regular:
                    self._day.note(tick, market=self.ledger.stocks[tick.row].market)
            self.ledger.take(tick)

    def roll(self, session: str, starts_ns: int, first: Tick) -> None:
        """See a session begin with a tick: it must be the right one, at the right instant by that tick's market."""
        compare("session that begins", session, session_at(self._week, first.at))
        if session in self._week.sessions:
            # Shares only begin one where a feed does so in the middle of it.
            is_share = first.row < len(self.ledger.stocks)
            begin = begins_for_shares(session) if is_share else begins(self._week, session)
            compare("when it begins", starts_ns, begin)
            self._end_session()
        self.ledger.roll(session, starts_ns)
        self._closed_prices = {row: stock.price for row, stock in enumerate(self.ledger.stocks)}
        self._day, self._may_move = Day(), False
        self._newest_future = max(self._newest_future, starts_ns)

    # ---- a publication ---------------------------------------------------------------------------

    def compare(self, shown: Mapping[str, Mapping[str, Any]], published: Sequence[str]) -> None:
        """Compare all snapshots in force, those that have just been published in their ages, too."""
        now = self.ledger.clock()
        facts = facts_of(self.ledger, self._patience.stale(self.ledger, self._clocks()))
        expected = told(
            self._teller, self.ledger, facts, now=now, session_day=self._hours_of_session()
        )
        compare("indexes", sorted(shown), sorted(expected))
        compare("session", self.ledger.session, session_at(self._week, self._newest_future))
        self._compare_rest(shown)
        for code, one in expected.items():
            self._compare_one(now, shown[code], one, is_new=code in published)
            self._follow(now, code, shown[code])
        self._opening.compare(self.ledger, now, shown)
        self._shown = {code: dict(one) for code, one in shown.items()}
        self.counts["moments"] += 1
        self.counts["snapshots"] += len(published)

    def _clocks(self) -> list[int]:
        """Give the newest event time of each stock's partition."""
        clock: dict[int, int] = {}
        stocks = self.ledger.stocks
        newest = [one.newest for one in stocks] + [one.newest for one in self.ledger.contracts]
        for partition, ts in zip(self._partitions, newest, strict=True):
            clock[partition] = max(clock.get(partition, NONE), ts)
        return [clock[partition] for partition in self._partitions[: len(stocks)]]

    def _hours_of_session(self) -> tuple[int, int]:
        return hours(date.fromisoformat(self.ledger.session))

    def _compare_one(
        self, now: int, found: Mapping[str, Any], expected: Mapping[str, Any], *, is_new: bool
    ) -> None:
        where = f"{expected['code']} at {clock_text(now)}"
        for name, value in expected.items():
            if name in AGES and not is_new:
                continue
            seen = Decimal(found[name]) if name in _NUMBERS else found[name]
            if seen != value:
                raise ContradictionError(
                    f"{where}: {name}: found {seen!r}, expected {value!r}\n{dict(found)}"
                )
            self.counts[f"{name}"] += 1
        self._compare_laws(where, found)

    def _compare_laws(self, where: str, found: Mapping[str, Any]) -> None:
        """Compare what holds whatever the prices are."""
        regular, status = found["cash_phase"] == "regular", found["status"]
        if (status == "firm") > regular:
            raise ContradictionError(f"{where}: firm outside regular hours")
        if (found["indicative"] is not None) and regular and status != "opening":
            raise ContradictionError(f"{where}: indicative in regular hours, and {status}")
        shown = found["indicative"] if found["indicative"] is not None else found["level"]
        compare(f"{where}: last", found["last"], shown)
        compare(f"{where}: origin", found["origin"], "simulated")
        self.counts[f"status {status}"] += 1
        self.counts[f"method {found['indicative_method']}"] += 1
        self.counts[f"phase {found['phase']}/{found['cash_phase']}"] += 1

    def _follow(self, now: int, code: str, found: Mapping[str, Any]) -> None:
        """Compare with the publications before: open, high and low, and a level that stands outside regular hours."""
        level, session = Decimal(found["level"]), str(found["session"])
        known = self._extremes.get(code)
        if known is None or known[0] != session:
            known = (session, level, level, level)
        known = (session, known[1], max(known[2], level), min(known[3], level))
        if known != self._extremes.get(code):
            self._set_extremes.add(code)
        self._extremes[code] = known
        seen = tuple(Decimal(found[name]) for name in ("open", "high", "low"))
        compare(f"{code} at {clock_text(now)}: open, high, low", seen, known[1:])
        self.counts["open, high, low"] += 1

    def recorded(self, entries: Sequence[Mapping[str, Any]], ends: Mapping[str, int]) -> None:
        """Compare what is kept for ever: each snapshot that sets open, high or low, with the ends of the logs it is of."""
        newest = {entry["code"]: entry for entry in entries}
        for code in self._set_extremes:
            kept = newest.get(code, {})
            compare(f"{code}: kept", kept.get("seq"), self._shown[code]["seq"])
            compare(f"{code}: offsets", kept["offsets"], ends)
            self.counts["records of extremes"] += 1
        self._set_extremes.clear()

    def _compare_rest(self, shown: Mapping[str, Mapping[str, Any]]) -> None:
        """Compare levels across ticks of which none may move them: no regular print, no official close."""
        if not self._may_move:
            for code, one in self._shown.items():
                compare(f"{code}: level at rest", shown[code]["level"], one["level"])
                self.counts["levels at rest"] += 1
        self._may_move = False

    # ---- a session -------------------------------------------------------------------------------

    def end(self, closes: Mapping[tuple[str, str], Decimal]) -> None:
        """Compare the last session, where the week has seen its close."""
        if self.ledger.clock() >= self._hours_of_session()[1] + CLOSING_NS:
            self._end_session()
            self.closes(closes, self.ledger.session)

    def _end_session(self) -> None:
        """Compare a session's closes with the tape's, and the sum of its stocks' changes with each index's change."""
        official = self._day.official()
        compare("stocks that closed", len(official), len(self.ledger.stocks))
        for row, price in official.items():
            compare(f"official close of row {row}", self.ledger.stocks[row].price, price)
        self.counts["official closes"] += len(official)
        for code in self._composition.codes:
            self._compare_change(code, official)

    def _compare_change(self, code: str, official: Mapping[int, int]) -> None:
        sheet, found = self._teller.sheet(code), self._shown[code]
        held = list(zip(sheet.row.tolist(), sheet.shares.tolist(), strict=True))
        before = sum(shares * self._closed_prices[row] for row, shares in held)
        changes = [shares * (official[row] - self._closed_prices[row]) for row, shares in held]
        change = sum((self._teller.points(code, each) for each in changes), Fraction(0))
        was = self._teller.points(code, before)
        where = f"{code} in {self.ledger.session}"
        compare(f"{where}: previous close", found["previous_close"], digits(was))
        compare(f"{where}: previous close and changes", found["level"], digits(was + change))
        self._fixed[code] = Decimal(found["level"])
        # Two figures that are each rounded once: their difference is off by the last digit at most.
        moved = Decimal(found["level"]) - Decimal(found["previous_close"])
        if abs(Fraction(moved) - change) > Fraction(ULP):
            raise ContradictionError(f"{where}: moved by {moved}, its stocks by {float(change)}")
        self.counts["changes that add up"] += 1

    def previous_closes(self) -> None:
        """Compare, after a roll, the previous close of each index with the last level of the session before."""
        for code, close in self._fixed.items():
            compare(f"{code}: previous close", Decimal(self._shown[code]["previous_close"]), close)
            self.counts["previous closes"] += 1

    def closes(self, found: Mapping[tuple[str, str], Decimal], session: str) -> None:
        """Compare the official closes that are written down with the levels that they close."""
        for code, one in self._shown.items():
            compare(f"{code}: official close", found.get((code, session)), Decimal(one["level"]))
            self.counts["official closes of indexes"] += 1

    def held(self, shown: Mapping[str, Mapping[str, Any]]) -> None:
        """Compare what is shown while only some partitions have begun the session: the last levels, held."""
        for code, one in shown.items():
            compare(f"{code}: while sessions cross", one["status"], "held")
            for name in ("level", "last", "previous_close", "session", "open", "high", "low"):
                compare(f"{code}: {name} while held", one[name], self._shown[code][name])
            self.counts["held"] += 1
