"""The laws written out literally: one tick at a time, exact fractions, no arrays. The engine is measured against it."""

from __future__ import annotations

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
    """A book by law 3: the newest good (ts, seq, price) of each row, one tick at a time in the order of the log."""

    def __init__(
        self,
        world: World,
        *,
        regular: Callable[[int], bool] = in_regular_hours,
        refused: frozenset[int] = frozenset(),
    ) -> None:
        self.world = world
        self.sheets = sheets(world)
        self.newest: dict[int, tuple[int, int, int]] = {}
        self._regular = regular
        self._refused = refused

    def apply(self, one: Print) -> str:
        """Judge one tick and apply it if it is good."""
        reason = self._refusal(one)
        if reason is not None:
            return reason
        ts, last, _ = self.newest.get(one.row, (-1, 0, 0))
        if one.ts == ts and one.seq != 0 and one.seq == last:
            return "duplicate"
        if one.ts < ts or (one.ts == ts and one.seq != 0 and one.seq < last):
            return "older"
        # A tick without a number leaves the number of its instant in force.
        seq = last if one.ts == ts and one.seq == 0 else one.seq
        self.newest[one.row] = (one.ts, seq, one.price)
        return "applied"

    def _refusal(self, one: Print) -> str | None:
        """Give the first reason for which a tick is refused whatever came before it."""
        regular = one.cond | REGULAR_BITS == REGULAR_BITS and self._regular(one.ts)
        reasons = (
            (one.row in self._refused, "wrong_partition"),
            (one.row < 0, "unknown_symbol"),
            (one.ts > one.recorded + 2 * NS, "future"),
            (one.kind not in (0, 1, 2), "ineligible"),
            (one.kind == 0 and not regular, "ineligible"),
            (one.kind in (1, 2), "unmatched"),
            (one.price > 8 * self.world.lines[one.row].price, "out_of_bounds"),
        )
        return next((reason for applies, reason in reasons if applies), None)

    def figures(self) -> list[dict[str, int]]:
        """Sum the whole ledger: per index, what a partial holds."""
        result = []
        for sheet in self.sheets:
            seen = {row: self.newest[row] for row in sheet.shares if row in self.newest}
            reference = {row: self.world.lines[row].price for row in seen}
            result.append(
                {
                    "value": sum(
                        sheet.shares[row] * (price - reference[row])
                        for row, (_, _, price) in seen.items()
                    ),
                    "priced": len(seen),
                    "up": sum(price > reference[row] for row, (_, _, price) in seen.items()),
                    "down": sum(price < reference[row] for row, (_, _, price) in seen.items()),
                    "priced_reference": sum(sheet.shares[row] * reference[row] for row in seen),
                    "event_ns": max((ts for ts, _, _ in seen.values()), default=-1),
                }
            )
        return result

    def levels(self) -> list[Fraction]:
        """Give the exact level of each index."""
        return [
            Fraction(sheet.reference + figures["value"])
            / Fraction(10) ** (4 + sheet.k)
            / sheet.divisor
            for sheet, figures in zip(self.sheets, self.figures(), strict=True)
        ]
