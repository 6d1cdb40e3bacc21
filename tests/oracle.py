"""The laws written out literally: one tick at a time, exact fractions, no arrays. The engine is measured against it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
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

#: Exchanges by the letter of the tape; `D` is none.
EXCHANGES = {"N": "XNYS", "A": "XASE", "P": "ARCX", "Q": "XNAS", "T": "XNAS", "Z": "BATS"}
MICS = set(EXCHANGES.values())

#: What adds up in a partial, index by index.
COLUMN_NAMES = (
    "value",
    "priced",
    "up",
    "down",
    "priced_close",
    "close",
    "opened_close",
    "open_value",
    "official",
    "corrected",
    "halted_close",
    "extended_value",
    "extended_base",
    "extended_close",
    "covered_close",
)

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


def letters_of(cond: int) -> set[str]:
    """Translate the bits of a print that matter one by one back to a letter."""
    letters = {64: "O", 256: "5", 128: "6", 2048: "Q", 4096: "M"}
    return {letter for bit, letter in letters.items() if cond & bit}


def in_regular_hours(ts: int) -> bool:
    """Tell whether New York's clock shows 09:30 or later, and earlier than 16:00, on a weekday."""
    local = datetime.fromtimestamp(ts // NS, NEW_YORK)
    return local.weekday() < 5 and time(9, 30) <= local.time() < time(16, 0)


@cache
def at_clock(day: date, at: time) -> int:
    """Give the instant of a day at which New York's clock shows a time."""
    return nanoseconds(day.isoformat(), at.isoformat())


def opening_before(ts: int) -> int:
    """Give the opening of the day in whose regular hours an instant lies."""
    return at_clock(datetime.fromtimestamp(ts // NS, NEW_YORK).date(), time(9, 30))


def opened_long_ago(ts: int) -> bool:
    """Tell whether it is regular hours, and a quarter of an hour since the opening has passed."""
    return in_regular_hours(ts) and ts >= opening_before(ts) + 900 * NS


def last_close(ts: int) -> int:
    """Give the newest 16:00 of a weekday at or before an instant."""
    day = datetime.fromtimestamp(ts // NS, NEW_YORK).date()
    while day.weekday() > 4 or at_clock(day, time(16, 0)) > ts:
        day -= timedelta(days=1)
    return at_clock(day, time(16, 0))


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
    size: int = 0
    venue: str = ""


@dataclass(frozen=True)
class Line:
    """One instrument; `member` names the indexes that select it, `mic` its primary exchange where that is known."""

    symbol: str
    price: int
    float_shares: Fraction
    growth: Decimal | None
    member: frozenset[str]
    mic: str = ""


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
    """A universe, the indexes on it, and futures: symbols of contracts, and the code that each stands for."""

    lines: tuple[Line, ...]
    plans: tuple[Plan, ...]
    contracts: tuple[tuple[str, str], ...] = ()


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


def contracts(world: World) -> list[str]:
    """Give the symbols of the contracts that stand for an index that selects something."""
    codes = {plan.code for plan in world.plans if members(world, plan)}
    return [symbol for symbol, code in world.contracts if code in codes]


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


@dataclass(frozen=True)
class Rules:
    """Whether prints are held back as suspects at all, and whether odd lots set the extended price."""

    off: bool = True
    odd_lots: bool = False


BELIEVED = Rules()


@dataclass
class Kept:
    """One good print, kept for cancels."""

    ts: int
    seq: int
    price: int
    size: int
    extended: bool
    dead: bool = False


@dataclass
class Official:
    """An official close."""

    price: int
    ts: int
    rank: int
    #: Of the session before.
    late: bool


@dataclass
class Held:
    """What is known of one instrument."""

    price: int
    close: int
    ts: int = -1
    seq: int = 0
    #: (ts, seq, price), as a suspect.
    extended: Newest | None = None
    opening: int = 0
    official: Official | None = None
    corrected: bool = False
    halted: bool = False
    halt_ts: int = -1
    exempt: bool = False
    suspect: Newest | None = None
    kept: list[Kept] = field(default_factory=list)
    #: Of a contract: price at the last cash close, and that close.
    cash: tuple[int, int] = (0, -1)
    #: Newest time of what was applied or is held back.
    heard: int = -1

    @property
    def newest(self) -> int:
        """Time of the newest price."""
        return max(self.ts, self.extended[0] if self.extended else -1)


class Side:
    """The prices of one session: the rules of prints, tick by tick."""

    def __init__(self, ledger: Ledger, starts: int) -> None:
        self.ledger, self.starts = ledger, starts
        self.held: dict[int, Held] = {}

    def of(self, row: int) -> Held:
        """Give what is known of an instrument, be it nothing."""
        if row not in self.held:
            reference = self.ledger.reference(row)
            self.held[row] = Held(reference, reference)
        return self.held[row]

    def take(self, one: Print) -> str:
        """Judge a tick that is eligible and in bounds."""
        before = copy.deepcopy(self.of(one.row))
        kind = KINDS[one.kind]
        if kind == "trade":
            reason = self._trade(one)
        elif kind in ("cancel", "correction"):
            reason = self._undo(one)
        elif kind in ("halt", "resume"):
            reason = self._halt(one)
        else:
            reason = self._declared(one, opens=kind == "official_open")
        held = self.of(one.row)
        if reason in ("applied", "suspect"):
            held.heard = max(held.heard, one.ts)
        else:
            # A refusal leaves no trace, unless it is that of a suspect's right price.
            assert held == before or kind == "correction"
        return reason

    # ---- trades

    def _trade(self, one: Print) -> str:
        held, ledger = self.of(one.row), self.ledger
        letters = letters_of(one.cond)
        if ledger.is_contract(one.row):
            return self._contract(one, held)
        primary, regular = ledger.is_primary(one), in_regular_hours(one.ts)
        if letters & {"Q", "M"}:
            return self._declared(one, opens="Q" in letters)
        if "6" in letters and primary and not regular:
            return self._official(one, held, rank=1)
        if not regular:
            return self._extended(one, held)
        reason = self._regular(one, held)
        if reason == "applied" and primary and not held.opening and one.ts >= self.starts:
            held.opening = one.price
        return reason

    def _contract(self, one: Print, held: Held) -> str:
        if letters_of(one.cond) & {"Q", "M"}:
            return "ineligible"
        price, ts = held.price, held.ts
        reason = self._regular(one, held)
        closed = last_close(one.ts)
        if reason == "applied" and closed > held.cash[1]:
            held.cash = (price if ts != -1 and ts < closed else 0, closed)
        return reason

    def _regular(self, one: Print, held: Held) -> str:
        reason = self._known(one, held, held.ts, held.seq)
        if reason is not None:
            return reason
        exempt = self._first_after_halt(one, held) or held.ts < self.starts <= one.ts
        if not exempt and self._suspects(one, held, held.price):
            return "suspect"
        held.suspect = None
        held.seq = held.seq if one.ts == held.ts and one.seq == 0 else one.seq
        held.ts, held.price = one.ts, one.price
        self._keep(one, held, extended=False)
        return "applied"

    def _extended(self, one: Print, held: Held) -> str:
        ts, seq, price = held.extended or NOTHING
        reason = self._known(one, held, ts, seq)
        if reason is not None:
            return reason
        first = ts < self.starts and held.ts < self.starts and one.ts >= self.starts
        exempt = self._first_after_halt(one, held) or first
        good = price if ts >= self.starts and ts > held.ts else held.price
        if not exempt and self._suspects(one, held, good):
            return "suspect"
        held.suspect = None
        held.extended = (one.ts, seq if one.ts == ts and one.seq == 0 else one.seq, one.price)
        self._keep(one, held, extended=True)
        return "applied"

    def _known(self, one: Print, held: Held, ts: int, seq: int) -> str | None:
        """Refuse in a halt; what is older, and what comes again: the newest, the cancelled, the suspect."""
        if held.halted and not letters_of(one.cond) & {"O", "5"}:
            return "ineligible"
        if one.ts < ts or (one.ts == ts and one.seq != 0 and one.seq < seq):
            return "older"
        if one.ts == ts and one.seq != 0 and one.seq == seq:
            return "duplicate"
        return "duplicate" if self._again(one, held) else None

    def _again(self, one: Print, held: Held) -> bool:
        found = self._named(one, held)
        if found is not None and found.dead:
            return True
        return one.seq != 0 and held.suspect is not None and held.suspect[:2] == (one.ts, one.seq)

    @staticmethod
    def _first_after_halt(one: Print, held: Held) -> bool:
        first = held.halted or held.exempt
        if held.halted:
            held.halted, held.halt_ts = False, max(held.halt_ts, one.ts)
        held.exempt = False
        return first

    @staticmethod
    def _keep(one: Print, held: Held, *, extended: bool) -> None:
        held.kept = [*held.kept, Kept(one.ts, one.seq, one.price, one.size, extended)][-8:]

    # ---- suspects

    def _suspects(self, one: Print, held: Held, good: int) -> bool:
        """Tell whether a print is too far from the last good price and confirms no suspect; then it is the suspect."""
        if self.ledger.rules.off:
            return False
        limit = Fraction(good, 10)
        if good < 30_000:
            limit *= 3
        contract = self.ledger.is_contract(one.row)
        if not contract and not opened_long_ago(one.ts):
            limit *= 2
        distance = abs(one.price - good)
        far = distance > limit or self.ledger.moves_an_index(one.row, distance)
        if not far or self._confirms(one, held):
            return False
        held.suspect = (one.ts, one.seq, one.price)
        return True

    def _confirms(self, one: Print, held: Held) -> bool:
        if held.suspect is None:
            return False
        ts, seq, price = held.suspect
        other = (one.ts, one.seq) != (ts, seq)
        near = abs(one.price - price) <= Fraction(price, 20)
        if other and near and one.ts - ts <= 600 * NS:
            self.ledger.confirmed += 1
            return True
        return False

    # ---- official prices

    def _declared(self, one: Print, *, opens: bool) -> str:
        held = self.of(one.row)
        if self.ledger.is_contract(one.row) or not self.ledger.is_primary(one):
            return "ineligible"
        if not opens:
            return self._official(one, held, rank=2)
        if not in_regular_hours(one.ts):
            return "ineligible"
        if held.opening:
            return "duplicate" if held.opening == one.price else "older"
        if one.ts < self.starts:
            return "older"
        held.opening = one.price
        return "applied"

    def _official(self, one: Print, held: Held, *, rank: int) -> str:
        if in_regular_hours(one.ts):
            return "ineligible"
        closed, was = last_close(one.ts), held.official
        # Of an earlier close than the newest that is known, or than the last one before the session.
        newest = [last_close(was.ts)] if was is not None else []
        if any(
            closed < ns for ns in [*newest, *([last_close(self.starts)] if self.starts else [])]
        ):
            return "older"
        known = was if was is not None and closed == last_close(was.ts) else None
        if known is not None and (rank, one.ts) <= (known.rank, known.ts):
            same = (one.ts, one.price) == (known.ts, known.price)
            return "duplicate" if same else "older"
        if self._again(one, held):
            return "duplicate"
        good = held.price if known is None else known.price
        far = self.ledger.moves_an_index(one.row, abs(one.price - good))
        if far and not self.ledger.rules.off and not self._confirms(one, held):
            held.suspect = (one.ts, one.seq, one.price)
            return "suspect"
        held.suspect = None
        if was is not None and known is None:
            held.corrected = False
        self._close_at(one, held, known)
        held.official = Official(one.price, one.ts, rank, late=closed < self.starts)
        self._keep(one, held, extended=False)
        return "applied"

    def _close_at(self, one: Print, held: Held, known: Official | None) -> None:
        """Let an official close be the last price, or the previous close where the roll has come between."""
        if last_close(one.ts) < self.starts:
            held.corrected |= one.price != held.close
            self.renew_close(held, one.price)
            return
        held.corrected |= known is not None and known.price != one.price
        held.price = one.price
        held.ts, held.seq = max((held.ts, held.seq), (one.ts, one.seq))

    def renew_close(self, held: Held, price: int) -> None:
        """Set the previous close, and the last price where there is no print of the session."""
        held.close = price
        if held.ts < self.starts:
            held.price = price

    # ---- halts, cancels, corrections

    def _halt(self, one: Print) -> str:
        held, halts = self.of(one.row), KINDS[one.kind] == "halt"
        if one.ts < held.halt_ts:
            return "older"
        if one.ts == held.halt_ts and halts == held.halted:
            return "duplicate"
        held.halted, held.halt_ts, held.exempt = halts, one.ts, not halts
        return "applied"

    @staticmethod
    def _named(one: Print, held: Held) -> Kept | None:
        for kept in reversed(held.kept):
            if kept.ts == one.ts and (
                kept.seq == one.seq if one.seq else (kept.price, kept.size) == (one.price, one.size)
            ):
                return kept
        return None

    def _undo(self, one: Print) -> str:
        held, cancels = self.of(one.row), KINDS[one.kind] == "cancel"
        if self._names_suspect(one, held):
            held.suspect = None
            return "applied" if cancels else self._trade(replace(one, kind=0, cond=1))
        kept = self._named(one, held)
        if kept is None:
            return "unmatched"
        if kept.dead or (not cancels and kept.price == one.price):
            return "duplicate"
        official = held.official
        made = (kept.ts, kept.price, kept.extended)
        if official is not None and made != (official.ts, official.price, False):
            official = None
        stands = self._stands(held, kept, official)
        if cancels:
            kept.dead = True
            held.official = None if official is not None else held.official
            if stands:
                self._fall_back(held, extended=kept.extended)
        else:
            self._correct(one.price, held, kept, official, stands=stands)
        return "applied"

    @staticmethod
    def _names_suspect(one: Print, held: Held) -> bool:
        ts, seq, price = held.suspect or NOTHING
        return ts == one.ts and (seq == one.seq if one.seq else price == one.price)

    def _correct(
        self, price: int, held: Held, kept: Kept, official: Official | None, *, stands: bool
    ) -> None:
        kept.price = price
        if official is not None:
            official.price, held.corrected = price, True
        if official is not None and official.late:
            self.renew_close(held, price)
        elif stands and kept.extended:
            ts, seq, _ = held.extended or NOTHING
            held.extended = (ts, seq, price)
        elif stands:
            held.price = price

    @staticmethod
    def _stands(held: Held, kept: Kept, official: Official | None) -> bool:
        """Tell whether a print is the newest of its kind, and has made the last price."""
        alive = [each for each in held.kept if not each.dead and each.extended == kept.extended]
        if alive[-1] is not kept:
            return False
        if kept.extended:
            return held.extended is not None and held.extended[0] == kept.ts
        if official is not None:
            return held.price == kept.price and not official.late
        return (held.ts, held.price) == (kept.ts, kept.price)

    def _fall_back(self, held: Held, *, extended: bool) -> None:
        of_kind = [each for each in held.kept if each.extended == extended]
        alive = [each for each in of_kind if not each.dead]
        ts, price = (alive[-1].ts, alive[-1].price) if alive else (-1, 0)
        seq = max((each.seq for each in of_kind if each.ts == ts), default=0)
        if extended:
            held.extended = (ts, seq, price) if alive else None
        else:
            held.price = price if alive and ts >= self.starts else held.close
            held.ts, held.seq = ts, seq


class Ledger:
    """A book by laws 1 to 5: one tick and one control record at a time in the order of the log, in plain numbers.

    Instruments are rows of the world in force, contracts after the others.
    """

    def __init__(
        self,
        world: World,
        *,
        composition: str = "",
        rules: Rules = BELIEVED,
        refused: frozenset[int] = frozenset(),
        partition: int = 0,
    ) -> None:
        self.partition = partition
        self.session, self.starts, self.ends = "", 0, END_OF_TIME
        self.origin = "live"
        self.number = 0
        self.confirmed = 0
        self.rules = rules
        self._open(world, composition)
        self.refused |= refused

    def _open(self, world: World, composition: str) -> None:
        self.world, self.composition = world, composition
        self.sheets = sheets(world)
        self.symbols = [*(line.symbol for line in world.lines), *contracts(world)]
        self.now = Side(self, self.starts)
        # Ticks of a later session than the one in force.
        self.later = Side(self, self.ends)
        self.bound = dict(enumerate(self._bounds()))
        self.excluded: set[int] = set()
        self.refused: set[int] = set()

    # ---- what is known of an instrument beforehand

    def reference(self, row: int) -> int:
        """Give its reference price."""
        return 0 if self.is_contract(row) else self.world.lines[row].price

    def is_contract(self, row: int) -> bool:
        """Tell whether it is a futures contract."""
        return row >= len(self.world.lines)

    def is_primary(self, one: Print) -> bool:
        """Tell whether a print was made on the primary exchange, as far as is known."""
        mic = self.world.lines[one.row].mic
        if one.venue == "D":
            return False
        return not one.venue or mic not in MICS or EXCHANGES.get(one.venue) == mic

    def moves_an_index(self, row: int, distance: int) -> bool:
        """Tell whether a move of a price moves any index by more than 200 bp of its reference value."""
        return any(
            sheet.shares[row] * distance * 50 > sheet.reference
            for sheet in self.sheets
            if sheet.shares.get(row)
        )

    def _bounds(self) -> list[int]:
        lines = [8 * line.price for line in self.world.lines]
        return lines + [2**53] * (len(self.symbols) - len(lines))

    # ---- ticks -----------------------------------------------------------------------------------

    def apply(self, one: Print) -> str:
        """Judge one tick and apply it if it is good."""
        reason = self._refusal(one)
        if reason is not None:
            return reason
        return (self.later if one.ts >= self.ends else self.now).take(one)

    def _refusal(self, one: Print) -> str | None:
        """Give the first reason for which a tick is refused whatever came before it."""
        priced = KINDS[one.kind] not in ("cancel", "halt", "resume")
        reasons = (
            (one.row in self.refused, "wrong_partition"),
            (one.row < 0, "unknown_symbol"),
            (one.ts > one.recorded + 2 * NS, "future"),
            (one.row in self.excluded, "ineligible"),
            (KINDS[one.kind] == "quote_mid", "ineligible"),
            (KINDS[one.kind] == "trade" and not self._is_eligible(one), "ineligible"),
            (priced and one.row >= 0 and one.price > self.bound[one.row], "out_of_bounds"),
        )
        return next((reason for applies, reason in reasons if applies), None)

    def _is_eligible(self, one: Print) -> bool:
        good = REGULAR_BITS | 2048 | 4096
        if not in_regular_hours(one.ts) and not self.is_contract(one.row):
            good |= 32 | (2 if self.rules.odd_lots else 0)
        return one.cond | good == good

    # ---- control records; each tells whether it took effect ---------------------------------------

    def declare(self, origin: str) -> bool:
        """Hear where the ticks come from: only a less real origin is news, and then no session is in force."""
        if ORIGINS.index(origin) <= ORIGINS.index(self.origin):
            return False
        self.origin = origin
        self.session, self.starts, self.ends = "", 0, END_OF_TIME
        self.now.starts = 0
        self._let_in(END_OF_TIME)
        self.later.starts = self.ends
        return True

    def roll(self, session: str, starts: int, ends: int, *, number: int = 0) -> bool:
        """Begin a session: last prices become closes, but for prints of its own where none was in force before it."""
        if self._stale(number) or session <= self.session:
            return False
        self._let_in(starts)
        for held in self.now.held.values():
            if self.session or held.ts < starts:
                held.close = held.price
            held.opening, held.official, held.corrected = 0, None, False
            held.suspect, held.exempt = None, False
        self.session, self.starts, self.ends = session, starts, ends
        self.now.starts = starts
        self._let_in(ends)
        self.later.starts = ends
        return True

    def _let_in(self, before: int) -> None:
        """Take over what was judged apart, of instruments that have waited for nothing later."""
        for row, new in list(self.later.held.items()):
            if new.heard >= before:
                continue
            del self.later.held[row]
            if row not in self.excluded and new.heard != -1:
                self._take_over(self.now.of(row), new)

    def _take_over(self, held: Held, new: Held) -> None:
        if new.cash[1] > held.cash[1]:
            unknown = new.cash[0] == 0 and -1 < held.ts < new.cash[1]
            held.cash = (held.price if unknown else new.cash[0], new.cash[1])
        if new.halt_ts != -1:
            held.halted, held.halt_ts, held.exempt = new.halted, new.halt_ts, new.exempt
        if new.ts > held.ts:
            held.ts, held.seq, held.price = new.ts, new.seq, new.price
        held.extended = new.extended or held.extended
        held.opening, held.suspect = new.opening, new.suspect
        held.official, held.corrected = new.official, new.corrected
        held.kept = [*held.kept, *new.kept][-8:]
        held.heard = max(held.heard, new.heard)
        if held.official is not None and held.official.late:
            self._take_over_close(held, held.official)

    def _take_over_close(self, held: Held, official: Official) -> None:
        """Set a close that was late for the later session; where the log left one out, it is not late here."""
        if last_close(official.ts) < self.starts:
            held.corrected = held.close != official.price
            self.now.renew_close(held, official.price)
            return
        official.late, held.corrected = False, False
        if official.ts > held.ts:
            held.ts, held.seq, held.price = official.ts, 0, official.price

    def compose(self, world: World, composition: str, *, number: int = 0) -> bool:
        """Go over to another composition, symbol by symbol."""
        if self._stale(number) or composition == self.composition:
            return False
        old = copy.copy(self)
        self._open(world, composition)
        rows = {symbol: row for row, symbol in enumerate(self.symbols)}
        pairs = [(was, rows[s]) for was, s in enumerate(old.symbols) if s in rows]
        same = {now for was, now in pairs if old.reference(was) == self.reference(now)}
        for was, now in pairs:
            if now in same and old.bound[was] > self.bound[now]:
                self._lift(now, old.bound[was])
        for was, now in pairs:
            self._bring(old, was, now, same=now in same)
        return True

    def _bring(self, old: Ledger, was: int, now: int, *, same: bool) -> None:
        """Take over what stands of a symbol: its prices only on the same basis, or of this session, and in bounds."""
        if was in old.now.held:
            self._bring_held(old.now.held[was], self.now, now, same=same)
            if same and old.now.held[was].close <= self.bound[now]:
                self.now.held[now].close = old.now.held[was].close
        if was in old.later.held and old.later.held[was].price <= self.bound[now]:
            self._bring_held(old.later.held[was], self.later, now, same=same)
        if was in old.excluded:
            self.excluded.add(now)
        if was in old.refused:
            self.refused.add(now)

    def _bring_held(self, held: Held, side: Side, now: int, *, same: bool) -> None:
        new, bound = copy.deepcopy(held), self.bound[now]
        new.close = self.reference(now)

        def good(price: int, ts: int) -> bool:
            return (same or ts >= side.starts) and price <= bound

        if not good(held.price, held.ts):
            new.price = self.reference(now)
        if held.extended and not good(held.extended[2], held.extended[0]):
            new.extended = None
        if held.suspect and not good(held.suspect[2], held.suspect[0]):
            new.suspect = None
        if held.official and not good(held.official.price, held.official.ts):
            new.official, new.corrected = None, False
        if held.opening > bound:
            new.opening = 0
        new.kept = [each for each in new.kept if good(each.price, each.ts)]
        side.held[now] = new

    def contest(self, symbols: Sequence[str], *, number: int = 0) -> bool:
        """Refuse further ticks of some symbols."""
        if self._stale(number):
            return False
        self.refused |= {row for row, symbol in enumerate(self.symbols) if symbol in symbols}
        return True

    def set_price(self, symbol: str, price: int, ts: int, *, home: int, number: int = 0) -> bool:
        """Set the last price on the symbol's own partition, if it is in bounds and not older than the newest print."""
        row = self._row(symbol, number)
        if row is None or home != self.partition or price > self.bound[row]:
            return False
        held = self.now.of(row)
        if ts < held.ts:
            return False
        held.seq = held.seq if ts == held.ts else 0
        held.ts, held.price = ts, price
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
                self.now.held.pop(row, None)
                self.later.held.pop(row, None)
        return True

    def _row(self, symbol: str, number: int) -> int | None:
        if self._stale(number):
            return None
        return self.symbols.index(symbol) if symbol in self.symbols else None

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
        return self.seen(row).price

    def close(self, row: int) -> int:
        """Give its previous close."""
        return self.seen(row).close

    def seen(self, row: int) -> Held:
        """Give what is known of an instrument in the session in force."""
        reference = self.reference(row)
        return self.now.held.get(row) or Held(reference, reference)

    @property
    def touched(self) -> list[int]:
        """Rows that have a price."""
        return sorted(row for row, held in self.now.held.items() if held.newest != -1)

    def state(self) -> dict[str, object]:
        """Give all that the ledger knows, but for what the composition says already."""
        bounds = self._bounds()
        return {
            "composition": self.composition,
            "session": (self.session, self.starts, self.ends),
            "partition": self.partition,
            "number": self.number,
            "origin": self.origin,
            "now": {
                row: replace(held, heard=max(held.heard, held.newest))
                for row, held in self._known(self.now)
            },
            # The previous close of a session that has not begun is not known.
            "later": {
                row: replace(held, heard=max(held.heard, held.newest), close=self.reference(row))
                for row, held in self._known(self.later)
            },
            "bound": {row: b for row, b in self.bound.items() if b != bounds[row]},
            "excluded": self.excluded,
            "refused": self.refused,
        }

    def _known(self, side: Side) -> list[tuple[int, Held]]:
        nothing = [
            Held(self.reference(row), self.reference(row)) for row in range(len(self.symbols))
        ]
        return [(row, held) for row, held in side.held.items() if held != nothing[row]]

    def figures(self) -> list[dict[str, int]]:
        """Sum the whole ledger: per index, what a partial holds."""
        return [self._figures(sheet) for sheet in self.sheets]

    def _figures(self, sheet: Sheet) -> dict[str, int]:
        total = dict.fromkeys(COLUMN_NAMES, 0)
        for row, n in sheet.shares.items():
            for name, count in self._contribution(row, n).items():
                total[name] += count
        newest = [self.seen(row).newest for row in sheet.shares]
        of_session = [ts for ts in newest if ts != -1 and ts >= self.starts]
        return {
            **total,
            "stale": sum(self._is_stale(row) for row in sheet.shares),
            "event_ns": max(newest),
            "oldest_ns": min(of_session, default=-1),
        }

    def _contribution(self, row: int, n: int) -> dict[str, int]:
        held, reference = self.seen(row), self.reference(row)
        priced = held.ts != -1 and held.ts >= self.starts
        ts, _, extended = held.extended or NOTHING
        any_extended = ts != -1 and ts >= self.starts
        live = any_extended and ts > held.ts
        official = held.official is not None and not held.official.late
        return {
            "value": n * (held.price - reference),
            "priced": int(priced),
            "up": int(priced and held.price > held.close),
            "down": int(priced and held.price < held.close),
            "priced_close": n * held.close if priced else 0,
            "close": n * (held.close - reference),
            "opened_close": n * held.close if held.opening else 0,
            "open_value": n * ((held.opening or held.price) - reference),
            "official": int(official),
            "corrected": int(held.corrected),
            "halted_close": n * held.close if held.halted else 0,
            "extended_value": n * (extended - held.price) if live else 0,
            "extended_base": n * held.price if live else 0,
            "extended_close": n * held.close if any_extended else 0,
            "covered_close": n * held.close if priced or any_extended else 0,
        }

    @property
    def clock(self) -> int:
        """Newest event time of any price, those of contracts included."""
        return max((held.newest for held in self.now.held.values()), default=-1)

    def _is_stale(self, row: int) -> bool:
        """Tell whether a stock has been silent in regular hours for a minute, the longer the lighter; an hour at most."""
        ts, clock = self.seen(row).ts, self.clock
        if ts == -1 or not in_regular_hours(clock):
            return False
        value = [line.price * line.float_shares for line in self.world.lines]
        silent = clock - max(ts, opening_before(clock))
        longer = silent**2 * value[row] > (60 * NS) ** 2 * max(value)
        return longer or silent > 3600 * NS

    def futures(self) -> list[tuple[int, ...]]:
        """Give, for each contract, what a partial tells of it."""
        rows = range(len(self.world.lines), len(self.symbols))
        return [
            (held.price if held.ts != -1 else 0, held.ts, *held.cash, int(held.halted))
            for held in map(self.seen, rows)
        ]

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
