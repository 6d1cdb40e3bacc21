"""The laws written out literally: one tick at a time, exact fractions, no arrays. The engine is measured against it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
NS = 1_000_000_000

#: Sale conditions of `formats.md`: bit, and whether a print with it sets the last price in regular hours.
CONDITIONS = {
    "@": (1, True),
    "F": (1024, True),
    "E": (1024, True),
    "O": (64, True),
    "5": (256, True),
    "6": (128, True),
    "X": (1, True),
    "K": (1, True),
    "T": (32, False),
    "U": (32 + 16, False),
    "I": (2, False),
    "W": (4, False),
    "B": (4, False),
    "4": (8, False),
    "V": (16384, False),
    "7": (16384, False),
    "P": (8192, False),
    "Z": (16, False),
    "L": (16, False),
    "C": (512, False),
    "N": (512, False),
    "R": (512, False),
    "Q": (2048, False),
    "M": (4096, False),
    "9": (4096, False),
}
UNKNOWN_CONDITION = 32768
#: All bits of the letters that are marked yes.
REGULAR_BITS = sum({bit for bit, good in CONDITIONS.values() if good})
KINDS = (
    "trade",
    "cancel",
    "correction",
    "quote_mid",
    "halt",
    "resume",
    "official_open",
    "official_close",
)


ORIGINS = ("live", "replay", "simulated")

#: Newest good print of an instrument: ts, seq, price; and what stands for none.
Newest = tuple[int, int, int]
NOTHING: Newest = (-1, 0, 0)

#: Before the first roll, a session ends here.
END_OF_TIME = 2**63 - 1


def nanoseconds(day: str, at: str, zone: ZoneInfo = NEW_YORK) -> int:
    """Give the instant of a local day and time."""
    moment = datetime.fromisoformat(f"{day}T{at}").replace(tzinfo=zone).astimezone(UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * NS + since.microseconds * 1000


def half_even(value: Fraction) -> int:
    """Round to the nearest integer, a tie to the even one."""
    below = value.numerator // value.denominator
    rest = value - below
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1):
        return below + 1
    return below


def half_away(value: Fraction) -> int:
    """Round to the nearest integer, a tie away from zero."""
    size = abs(value) + Fraction(1, 2)
    rounded = size.numerator // size.denominator
    return rounded if value >= 0 else -rounded


def significant(value: Fraction, digits: int) -> Fraction:
    """Round to a number of significant digits, half to even."""
    exponent = 0
    while value / Fraction(10) ** exponent >= 10**digits:
        exponent += 1
    while value / Fraction(10) ** exponent < 10 ** (digits - 1):
        exponent -= 1
    return half_even(value / Fraction(10) ** exponent) * Fraction(10) ** exponent


def condition_bits(letters: str) -> int:
    """Translate the letters of a print by the table, letter by letter."""
    bits = 0
    for letter in letters:
        if letter != " ":
            bits |= CONDITIONS[letter][0] if letter in CONDITIONS else UNKNOWN_CONDITION
    return bits


def in_regular_hours(ts: int) -> bool:
    """Tell whether New York's clock shows 09:30 or later, and earlier than 16:00, on a weekday."""
    local = datetime.fromtimestamp(ts // NS, NEW_YORK)
    return local.weekday() < 5 and time(9, 30) <= local.time() < time(16, 0)


@dataclass(frozen=True)
class Print:
    """One tick of the log: what `stream.index.ticks.Ticks` holds in columns."""

    row: int
    price: int
    ts: int
    seq: int
    cond: int
    kind: int
    recorded: int


@dataclass(frozen=True)
class Line:
    """One instrument; `member` names the indexes that select it."""

    symbol: str
    price: int
    float_shares: Fraction
    growth: Decimal | None
    member: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """One index as defined; its level at the reference prices or its divisor is given."""

    code: str
    weighting: str
    limit: Decimal | None
    style: str | None
    base_level: Decimal
    divisor: Decimal | None


@dataclass(frozen=True)
class World:
    """A universe and the indexes on it."""

    lines: tuple[Line, ...]
    plans: tuple[Plan, ...]


@dataclass(frozen=True)
class Sheet:
    """One index worked out by hand: integers of law 1, and the divisor as a fraction."""

    code: str
    k: int
    shares: Mapping[int, int]
    reference: int
    divisor: Fraction


def members(world: World, plan: Plan) -> list[int]:
    """Give the rows that an index selects."""
    return [
        row
        for row, line in enumerate(world.lines)
        if plan.code in line.member and (plan.style is None or line.growth is not None)
    ]


def capped_weights(values: Sequence[Fraction], limit: Fraction) -> list[Fraction]:
    """Hold the fewest of the largest at the limit, so that the others in proportion stay within it."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    for n_capped in range(len(values) + 1):
        rest = sum((values[i] for i in order[n_capped:]), Fraction(0))
        factor = (1 - limit * n_capped) / rest if rest else Fraction(0)
        if all(values[i] * factor <= limit for i in order[n_capped:]):
            held = set(order[:n_capped])
            return [limit if i in held else values[i] * factor for i in range(len(values))]
    raise AssertionError("no weights fit under the limit")


def exact_shares(world: World, plan: Plan, rows: Sequence[int]) -> list[Fraction]:
    """Give index shares before rounding, by the weighting's definition."""
    lines = [world.lines[row] for row in rows]
    if plan.weighting == "float_cap":
        return [line.float_shares for line in lines]
    if plan.weighting == "price":
        return [Fraction(1) for _ in lines]
    values = [line.float_shares * line.price for line in lines]
    total = sum(values, Fraction(0))
    if plan.weighting == "equal":
        weights = [Fraction(1, len(lines))] * len(lines)
    else:
        assert plan.limit is not None
        weights = capped_weights(values, Fraction(plan.limit))
    return [total * weight / line.price for weight, line in zip(weights, lines, strict=True)]


def finest_k(shares: Sequence[Fraction], prices: Sequence[int]) -> int:
    """Give the largest k up to 9 for which 8 times the sum of bound values stays below 2^63."""
    fitting = [
        k
        for k in range(-9, 10)
        if 8
        * sum(half_even(s * Fraction(10) ** k) * p for s, p in zip(shares, prices, strict=True))
        < 2**63
    ]
    return max(fitting)


def sheets(world: World) -> list[Sheet]:
    """Work out every index that selects something."""
    family = sorted(
        {
            row
            for plan in world.plans
            if plan.weighting == "float_cap"
            for row in members(world, plan)
        }
    )
    family_k = finest_k(
        [world.lines[row].float_shares for row in family],
        [world.lines[row].price for row in family],
    )
    result = []
    for plan in world.plans:
        rows = members(world, plan)
        if not rows:
            continue
        exact, prices = exact_shares(world, plan, rows), [world.lines[row].price for row in rows]
        k = family_k if plan.weighting == "float_cap" else finest_k(exact, prices)
        shares = {}
        for row, share in zip(rows, exact, strict=True):
            units, growth = half_even(share * Fraction(10) ** k), world.lines[row].growth
            if plan.style is not None and growth is not None:
                value = half_even(units * (1 - Fraction(growth)))
                units = value if plan.style == "value" else units - value
            shares[row] = units
        reference = sum(units * world.lines[row].price for row, units in shares.items())
        if plan.divisor is not None:
            divisor = Fraction(plan.divisor)
        elif reference:
            dollars = Fraction(reference) / Fraction(10) ** (4 + k)
            divisor = significant(dollars / Fraction(plan.base_level), 34)
        else:
            divisor = Fraction(1)
        result.append(Sheet(plan.code, k, shares, reference, divisor))
    return result


class Ledger:
    """A book by laws 1 to 5: one tick and one control record at a time in the order of the log, in plain numbers.

    Instruments are rows of the world in force; what is kept of each is the newest good (ts, seq, price).
    """

    def __init__(
        self,
        world: World,
        *,
        composition: str = "",
        regular: Callable[[int], bool] = in_regular_hours,
        refused: frozenset[int] = frozenset(),
        partition: int = 0,
    ) -> None:
        self.partition = partition
        self.session, self.starts, self.ends = "", 0, END_OF_TIME
        self.origin = "live"
        self.number = 0
        self._regular = regular
        self._open(world, composition)
        self.refused |= refused

    def _open(self, world: World, composition: str) -> None:
        self.world, self.composition = world, composition
        self.sheets = sheets(world)
        self.newest: dict[int, Newest] = {}
        # Prints of a later session than the one in force.
        self.waiting: dict[int, Newest] = {}
        self.close = {row: line.price for row, line in enumerate(world.lines)}
        self.bound = {row: 8 * line.price for row, line in enumerate(world.lines)}
        self.excluded: set[int] = set()
        self.refused: set[int] = set()

    # ---- ticks -----------------------------------------------------------------------------------

    def apply(self, one: Print) -> str:
        """Judge one tick and apply it if it is good."""
        reason = self._refusal(one)
        if reason is not None:
            return reason
        prints = self.waiting if one.ts >= self.ends else self.newest
        ts, last, _ = prints.get(one.row, NOTHING)
        if one.ts == ts and one.seq != 0 and one.seq == last:
            return "duplicate"
        if one.ts < ts or (one.ts == ts and one.seq != 0 and one.seq < last):
            return "older"
        # A tick without a number leaves the number of its instant in force.
        seq = last if one.ts == ts and one.seq == 0 else one.seq
        prints[one.row] = (one.ts, seq, one.price)
        return "applied"

    def _refusal(self, one: Print) -> str | None:
        """Give the first reason for which a tick is refused whatever came before it."""
        regular = one.cond | REGULAR_BITS == REGULAR_BITS and self._regular(one.ts)
        reasons = (
            (one.row in self.refused, "wrong_partition"),
            (one.row < 0, "unknown_symbol"),
            (one.ts > one.recorded + 2 * NS, "future"),
            (one.row in self.excluded, "ineligible"),
            (one.kind not in (0, 1, 2), "ineligible"),
            (one.kind == 0 and not regular, "ineligible"),
            (one.kind in (1, 2), "unmatched"),
            (one.row >= 0 and one.price > self.bound[one.row], "out_of_bounds"),
        )
        return next((reason for applies, reason in reasons if applies), None)

    # ---- control records; each tells whether it took effect ---------------------------------------

    def declare(self, origin: str) -> bool:
        """Hear where the ticks come from: only a less real origin is news, and then no session is in force."""
        if ORIGINS.index(origin) <= ORIGINS.index(self.origin):
            return False
        self.origin = origin
        self.session, self.starts, self.ends = "", 0, END_OF_TIME
        self._let_in(END_OF_TIME)
        return True

    def roll(self, session: str, starts: int, ends: int, *, number: int = 0) -> bool:
        """Begin a session: last prices become closes, but for prints of its own where none was in force before it."""
        if self._stale(number) or session <= self.session:
            return False
        self._let_in(starts)
        for row in self.close:
            if self.session or self.newest.get(row, NOTHING)[0] < starts:
                self.close[row] = self.price(row)
        self.session, self.starts, self.ends = session, starts, ends
        self._let_in(ends)
        return True

    def _let_in(self, before: int) -> None:
        for row, (ts, seq, price) in list(self.waiting.items()):
            if ts < before:
                del self.waiting[row]
                if ts > self.newest.get(row, NOTHING)[0] and row not in self.excluded:
                    self.newest[row] = (ts, seq, price)

    def compose(self, world: World, composition: str, *, number: int = 0) -> bool:
        """Go over to another composition, symbol by symbol."""
        if self._stale(number) or composition == self.composition:
            return False
        old = copy.copy(self)
        self._open(world, composition)
        rows = {line.symbol: row for row, line in enumerate(world.lines)}
        pairs = [
            (was, rows[line.symbol])
            for was, line in enumerate(old.world.lines)
            if line.symbol in rows
        ]
        same = {now for was, now in pairs if old.world.lines[was].price == world.lines[now].price}
        for was, now in pairs:
            if now in same and old.bound[was] > self.bound[now]:
                self._lift(now, old.bound[was])
        for was, now in pairs:
            self._bring(old, was, now, same=now in same)
        return True

    def _bring(self, old: Ledger, was: int, now: int, *, same: bool) -> None:
        """Take over what stands of a symbol: its prices only on the same basis, or of this session, and in bounds."""
        if was in old.newest:
            ts, seq, price = old.newest[was]
            kept = (same or ts >= self.starts) and price <= self.bound[now]
            self.newest[now] = (ts, seq, price if kept else self.world.lines[now].price)
        if same and old.close[was] <= self.bound[now]:
            self.close[now] = old.close[was]
        if was in old.waiting and old.waiting[was][2] <= self.bound[now]:
            self.waiting[now] = old.waiting[was]
        if was in old.excluded:
            self.excluded.add(now)
        if was in old.refused:
            self.refused.add(now)

    def contest(self, symbols: Sequence[str], *, number: int = 0) -> bool:
        """Refuse further ticks of some symbols."""
        if self._stale(number):
            return False
        self.refused |= {row for row, line in enumerate(self.world.lines) if line.symbol in symbols}
        return True

    def set_price(self, symbol: str, price: int, ts: int, *, home: int, number: int = 0) -> bool:
        """Set the last price on the symbol's own partition, if it is in bounds and not older than the newest print."""
        row = self._row(symbol, number)
        if row is None or home != self.partition or price > self.bound[row]:
            return False
        newest, seq, _ = self.newest.get(row, NOTHING)
        if ts < newest:
            return False
        self.newest[row] = (ts, seq if ts == newest else 0, price)
        return True

    def lift(self, symbol: str, price: int, *, number: int = 0) -> bool:
        """Lift a bound, unless some sum could then reach 2^63 with all prices at their bounds."""
        row = self._row(symbol, number)
        return row is not None and self._lift(row, price)

    def _lift(self, row: int, price: int) -> bool:
        if price <= self.bound[row]:
            return False
        lifted = {**self.bound, row: price}
        held = [sheet.shares for sheet in self.sheets if row in sheet.shares]
        if any(sum(n * lifted[r] for r, n in shares.items()) >= 2**63 for shares in held):
            return False
        self.bound = lifted
        return True

    def exclude(self, symbol: str, *, number: int = 0) -> bool:
        """Keep the last price of a symbol, whatever its feed says."""
        row = self._row(symbol, number)
        if row is None:
            return False
        self.excluded.add(row)
        return True

    def include(self, symbol: str, *, home: int, number: int = 0) -> bool:
        """Take its ticks again; where it was contested, once it has a home, and partitions that are not it forget it."""
        row = self._row(symbol, number)
        if row is None:
            return False
        self.excluded.discard(row)
        if row in self.refused and home >= 0:
            self.refused.discard(row)
            if home != self.partition:
                self.newest.pop(row, None)
                self.waiting.pop(row, None)
                self.close[row] = self.world.lines[row].price
        return True

    def _row(self, symbol: str, number: int) -> int | None:
        if self._stale(number):
            return None
        return next((r for r, line in enumerate(self.world.lines) if line.symbol == symbol), None)

    def _stale(self, number: int) -> bool:
        """Tell whether a record of this number, or a later one, has been heard already, and remember the number."""
        if number == 0:
            return False
        if number <= self.number:
            return True
        self.number = number
        return False

    # ---- what it all comes to --------------------------------------------------------------------

    def price(self, row: int) -> int:
        """Give the last price of an instrument."""
        return self.newest[row][2] if row in self.newest else self.world.lines[row].price

    def state(self) -> dict[str, object]:
        """Give all that the ledger knows, but for what the composition says already."""
        reference = {row: line.price for row, line in enumerate(self.world.lines)}
        return {
            "composition": self.composition,
            "session": (self.session, self.starts, self.ends),
            "partition": self.partition,
            "number": self.number,
            "origin": self.origin,
            "newest": self.newest,
            "waiting": self.waiting,
            "close": {row: close for row, close in self.close.items() if close != reference[row]},
            "bound": {row: b for row, b in self.bound.items() if b != 8 * reference[row]},
            "excluded": self.excluded,
            "refused": self.refused,
        }

    def figures(self) -> list[dict[str, int]]:
        """Sum the whole ledger: per index, what a partial holds."""
        return [self._figures(sheet) for sheet in self.sheets]

    def _figures(self, sheet: Sheet) -> dict[str, int]:
        reference = {row: self.world.lines[row].price for row in sheet.shares}
        seen = [row for row in sheet.shares if row in self.newest]
        priced = [row for row in seen if self.newest[row][0] >= self.starts]
        return {
            "value": sum(n * (self.price(row) - reference[row]) for row, n in sheet.shares.items()),
            "priced": len(priced),
            "up": sum(self.price(row) > self.close[row] for row in priced),
            "down": sum(self.price(row) < self.close[row] for row in priced),
            "priced_reference": sum(sheet.shares[row] * reference[row] for row in priced),
            "close": sum(n * (self.close[row] - reference[row]) for row, n in sheet.shares.items()),
            "event_ns": max((self.newest[row][0] for row in seen), default=-1),
        }

    def levels(self) -> list[Fraction]:
        """Give the exact level of each index."""
        return [self._level(sheet, figures["value"]) for sheet, figures in self._both()]

    def closes(self) -> list[Fraction]:
        """Give the exact level of each index at the last roll."""
        return [self._level(sheet, figures["close"]) for sheet, figures in self._both()]

    def _both(self) -> list[tuple[Sheet, dict[str, int]]]:
        return list(zip(self.sheets, self.figures(), strict=True))

    @staticmethod
    def _level(sheet: Sheet, gain: int) -> Fraction:
        return Fraction(sheet.reference + gain) / Fraction(10) ** (4 + sheet.k) / sheet.divisor
