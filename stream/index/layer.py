"""The prices of one session, as one log tells them: last, extended, official, halted, suspected (`methodology.md` 2.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.kept import Kept, find, newest
from stream.index.partial import NO_EVENT
from stream.index.price_rules import PriceRules, guards
from stream.index.prints import Prints, newest_win
from stream.index.ticks import OFFICIAL_CONDITIONS, Condition, Kind, Ticks, Verdict
from stream.index.venues import PrimaryVenues
from stream.session.calendar import Calendar, CashPhase

_Rows = NDArray[np.int64]
_Flags = NDArray[np.bool_]

#: What a plain print may carry; any other condition is looked at one by one.
_NOT_PLAIN = np.uint16(~(Condition.REGULAR | Condition.SWEEP | Condition.REOPENING) & 0xFFFF)

_DECLARATION = Condition.OFFICIAL_OPEN | Condition.OFFICIAL_CLOSE

#: How often the ticks after a doubtful one are looked at together again, before they are taken one by one.
ROUNDS = 4

#: A contract has no reference price to be bound by.
HIGHEST_FUTURES_PRICE = 2**53

#: Which official close replaces which: a closing print, then what the exchange declares.
_CLOSING_PRINT, _DECLARED = 1, 2

#: What is kept of an instrument besides its last print; a time that is not known is NO_EVENT.
DETAIL = np.dtype(
    [
        # Newest print outside regular hours.
        ("extended", "<i8"),
        ("extended_ts", "<i8"),
        ("extended_seq", "<u8"),
        # First primary opening price of the session, 0 before it; whether there was one.
        ("opening", "<i8"),
        # Official close; of a contract, the price in force at the last cash close, and that close.
        ("official", "<i8"),
        ("official_ts", "<i8"),
        ("official_rank", "u1"),
        # Whether it is that of the session before: the roll came between.
        ("official_late", "?"),
        ("corrected", "?"),
        ("halted", "?"),
        ("halt_ts", "<i8"),
        # The next print is believed: it is the first after a halt.
        ("exempt", "?"),
        # Held back until another print confirms it; price 0 where there is none.
        ("suspect", "<i8"),
        ("suspect_ts", "<i8"),
        ("suspect_seq", "<u8"),
        # Newest print that was cancelled.
        ("dead_ts", "<i8"),
        # Newest tick that was looked at one by one and not refused, or held back as a suspect.
        ("heard_ts", "<i8"),
    ]
)
_TIMES = ("extended_ts", "official_ts", "halt_ts", "suspect_ts", "dead_ts", "heard_ts")


#: What an official close consists of.
_OFFICIAL_CLOSE = ("official", "official_ts", "official_rank", "official_late")
_EXTENDED = ("extended", "extended_ts", "extended_seq")
_SUSPECT = ("suspect", "suspect_ts", "suspect_seq")

#: What stays in force unless a later session has something of its own: a time, and what goes with it.
_KEPT_ON = (("halt_ts", ("halted", "halt_ts", "exempt")), ("extended_ts", _EXTENDED))

#: Prices, when they were made (an opening is always of the session), and what goes with them.
_PRICES = (
    ("extended", "extended_ts", _EXTENDED),
    ("opening", "", ("opening",)),
    ("official", "official_ts", (*_OFFICIAL_CLOSE, "corrected")),
    ("suspect", "suspect_ts", _SUSPECT),
)


def no_details(n_rows: int) -> NDArray[np.void]:
    """Give the details of instruments that have none, dtype DETAIL, shape (n_rows,)."""
    details = np.zeros(n_rows, DETAIL)
    for name in _TIMES:
        details[name] = NO_EVENT
    return details


_NOTHING = no_details(1)[0]


@dataclass(frozen=True, slots=True)
class _Hours:
    """What the calendar says of an instant, and from when to when it says so."""

    starts_ns: int
    ends_ns: int
    regular: bool
    close_ns: int


@dataclass(frozen=True, slots=True)
class _Tick:
    """One tick, in Python's own integers."""

    row: int
    price: int
    ts: int
    seq: int
    cond: int
    kind: int
    size: int
    venue: int


class Terms:
    """What a layer judges by: the same for all layers of a book.

    Parameters
    ----------
    composition
        Constituents in force.
    calendar
        When prints are those of regular hours.
    rules
        For bad prices.
    """

    def __init__(self, composition: Composition, calendar: Calendar, rules: PriceRules) -> None:
        self.composition = composition
        self.calendar = calendar
        self.rules = rules
        self.n_stocks = len(composition.universe)
        self.guard = guards(composition, rules).tolist()
        mics = [each.attributes.get("mic", "") for each in composition.universe.instruments]
        self.primary = PrimaryVenues(mics + [""] * len(composition.futures.contracts))
        contracts = np.full(len(composition.futures.contracts), HIGHEST_FUTURES_PRICE, np.int64)
        self.highest_price = np.concatenate([composition.highest_price, contracts])


class Layer:
    """Prices of one session.

    Parameters
    ----------
    terms
        To judge by.
    starts_ns
        Of the session, ns since 1970 UTC: older prints are not of it.

    Attributes
    ----------
    prints
        Newest good prints of regular hours, or official closes; of contracts, of any hour.
    details
        dtype DETAIL, shape (n_rows,).
    close
        int64, shape (n_rows,): previous close, 1/10000 dollar.
    highest
        int64, shape (n_rows,): a price above it is out of bounds.
    kept
        Last good prints, for cancels.
    moved, changed
        Rows whose last price has moved since they were looked at, and whose details may have changed, too.
    awaiting
        Rows that other venues have priced before their primary exchange has opened.
    regressed
        Whether a price was taken back, so that newest times must be found anew.
    confirmed
        How many suspects were confirmed.

    Notes
    -----
    Plain prints of regular hours are taken many at once, a row's other ticks one by one between them.
    Whether a print is plain does not change what becomes of it.
    """

    __slots__ = (
        "_hours",
        "_lowest_calm",
        "_terms",
        "_width",
        "awaiting",
        "changed",
        "close",
        "confirmed",
        "details",
        "highest",
        "kept",
        "moved",
        "prints",
        "regressed",
        "starts_ns",
    )

    def __init__(self, terms: Terms, *, starts_ns: int) -> None:
        composition = terms.composition
        n_rows = len(composition.symbols)
        self._terms = terms
        self.starts_ns = starts_ns
        self.prints = Prints.none(composition)
        self.details = no_details(n_rows)
        self.kept = Kept(n_rows)
        self.close = self.prints.price.copy()
        self.highest = terms.highest_price
        self.moved = np.zeros(n_rows, bool)
        self.changed = np.zeros(n_rows, bool)
        self.regressed = False
        self.confirmed = 0
        # Prices between `lowest_calm` and `width` above it are good whatever came before; no price is, where both are 0.
        self._lowest_calm = np.zeros(n_rows, np.int64)
        self._width = np.zeros(n_rows, np.uint64)
        self.awaiting = np.zeros(n_rows, bool)
        self._hours = _Hours(0, 0, regular=False, close_ns=0)

    # ---- batches ---------------------------------------------------------------------------------

    def all_plain(self, ticks: Ticks) -> bool:
        """Tell whether each tick is a plain print that cannot be a suspect, by its price and conditions alone."""
        return not np.count_nonzero(self._doubtful(ticks))

    def take_plain(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Take plain prints of regular hours.

        Returns
        -------
        uint8 array, shape (n,)
            The `Verdict` of each.
        """
        verdict = newest_win(self.prints, ticks)
        row, price, ts, seq, size = ticks.row, ticks.price, ticks.ts, ticks.seq, ticks.size
        if np.count_nonzero(verdict):
            good = verdict == Verdict.APPLIED
            row, price, ts, seq, size = row[good], price[good], ts[good], seq[good], size[good]
        self.moved[row] = True
        self.kept.add(row, price, ts, seq, size)
        return verdict

    def take(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Take ticks of known symbols that are eligible and within bounds.

        Returns
        -------
        uint8 array, shape (n,)
            The `Verdict` of each.
        """
        verdict = np.zeros(len(ticks), np.uint8)
        outside = ~self._terms.calendar.contains(ticks.ts)
        left = np.arange(len(ticks))
        for _ in range(ROUNDS):
            part = ticks if len(left) == len(ticks) else ticks.take(left)
            doubtful = self._doubtful(part) | outside[left]
            if not np.count_nonzero(doubtful):
                verdict[left] = self.take_plain(part)
                return verdict
            # Of each row: what comes before its first doubtful tick, that tick, and what is left.
            at = np.arange(len(part))
            first = np.full(len(self.moved), len(part))
            first[part.row[doubtful][::-1]] = at[doubtful][::-1]
            turn = first[part.row]
            before = at < turn
            if before.any():
                verdict[left[before]] = self.take_plain(part.take(before))
            verdict[left[at == turn]] = self._take_each(part.take(at == turn))
            left = left[at > turn]
        if len(left):
            verdict[left] = self._take_each(ticks.take(left))
        return verdict

    def _doubtful(self, ticks: Ticks) -> _Flags:
        row = ticks.row
        # As unsigned numbers, prices below the lowest are the largest.
        above = (ticks.price - self._lowest_calm[row]).view(np.uint64)
        doubtful: _Flags = above >= self._width[row]
        doubtful |= ticks.kind != Kind.TRADE
        doubtful |= (ticks.cond & _NOT_PLAIN) != 0
        awaiting = self.awaiting[row]
        if np.count_nonzero(awaiting):
            doubtful |= awaiting & self._terms.primary.contain(row, ticks.venue)
        return doubtful

    def _take_each(self, ticks: Ticks) -> list[Verdict]:
        columns = (
            ticks.row,
            ticks.price,
            ticks.ts,
            ticks.seq,
            ticks.cond,
            ticks.kind,
            ticks.size,
            ticks.venue,
        )
        each = zip(*(column.tolist() for column in columns), strict=True)
        return [self._take_one(_Tick(*fields)) for fields in each]

    # ---- one tick --------------------------------------------------------------------------------

    def _take_one(self, tick: _Tick) -> Verdict:
        detail = self.details[tick.row]
        verdict = self._of_kind(tick, detail)
        if verdict in {Verdict.APPLIED, Verdict.SUSPECT}:
            detail["heard_ts"] = max(tick.ts, int(detail["heard_ts"]))
            self.changed[tick.row] = True
        self.settle(tick.row)
        return verdict

    def _of_kind(self, tick: _Tick, detail: Any) -> Verdict:
        match tick.kind:
            case Kind.TRADE:
                return self._trade(tick, detail)
            case Kind.CANCEL | Kind.CORRECTION:
                return self._undo(tick, detail)
            case Kind.HALT | Kind.RESUME:
                return self._halt(tick, detail)
            case Kind.OFFICIAL_OPEN | Kind.OFFICIAL_CLOSE:
                return self._declare(tick, detail)
        return Verdict.INELIGIBLE

    def _trade(self, tick: _Tick, detail: Any) -> Verdict:
        hours = self._hours_at(tick.ts)
        if tick.row >= self._terms.n_stocks:
            return self._contract(tick, detail, hours)
        if tick.cond & OFFICIAL_CONDITIONS and self._terms.primary.has(tick.row, tick.venue):
            if tick.cond & _DECLARATION:
                return self._declare(tick, detail)
            if tick.cond & Condition.CLOSING and not hours.regular:
                return self._close_officially(tick, detail, hours, rank=_CLOSING_PRINT)
        if tick.cond & _DECLARATION:
            return Verdict.INELIGIBLE
        if not hours.regular:
            return self._extend(tick, detail)
        wide = tick.ts < hours.starts_ns + self._terms.rules.wide_for_ns
        verdict = self._regular(tick, detail, wide=wide)
        if verdict is Verdict.APPLIED and self._terms.primary.has(tick.row, tick.venue):
            self._open(tick, detail)
        return verdict

    def _contract(self, tick: _Tick, detail: Any, hours: _Hours) -> Verdict:
        if tick.cond & _DECLARATION:
            return Verdict.INELIGIBLE
        price, ts = int(self.prints.price[tick.row]), int(self.prints.ts[tick.row])
        verdict = self._regular(tick, detail, wide=False)
        if verdict is Verdict.APPLIED and hours.close_ns > int(detail["official_ts"]):
            # The first print after a cash close: the price before it was in force there.
            detail["official"] = price if NO_EVENT < ts < hours.close_ns else 0
            detail["official_ts"] = hours.close_ns
        return verdict

    def _regular(self, tick: _Tick, detail: Any, *, wide: bool) -> Verdict:
        row, prints = tick.row, self.prints
        last_ts, last_seq = int(prints.ts[row]), int(prints.seq[row])
        verdict = self._order(tick, detail, last_ts, last_seq)
        if verdict is not Verdict.APPLIED:
            return verdict
        exempt = self._resume(tick, detail) or last_ts < self.starts_ns <= tick.ts
        if self._is_suspect(tick, detail, int(prints.price[row]), exempt=exempt, wide=wide):
            return Verdict.SUSPECT
        prints.price[row], prints.ts[row] = tick.price, tick.ts
        # A tick without a number leaves the highest number of its instant in force.
        prints.seq[row] = last_seq if tick.ts == last_ts and not tick.seq else tick.seq
        self.kept.add_one(row, tick.price, tick.ts, tick.seq, tick.size)
        return Verdict.APPLIED

    def _extend(self, tick: _Tick, detail: Any) -> Verdict:
        row, last_ts, last_seq = tick.row, int(detail["extended_ts"]), int(detail["extended_seq"])
        verdict = self._order(tick, detail, last_ts, last_seq)
        if verdict is not Verdict.APPLIED:
            return verdict
        regular_ts = int(self.prints.ts[row])
        first = max(last_ts, regular_ts) < self.starts_ns <= tick.ts
        exempt = self._resume(tick, detail) or first
        live = last_ts >= self.starts_ns and last_ts > regular_ts
        good = int(detail["extended"]) if live else int(self.prints.price[row])
        if self._is_suspect(tick, detail, good, exempt=exempt, wide=True):
            return Verdict.SUSPECT
        detail["extended"], detail["extended_ts"] = tick.price, tick.ts
        detail["extended_seq"] = last_seq if tick.ts == last_ts and not tick.seq else tick.seq
        self.kept.add_one(row, tick.price, tick.ts, tick.seq, tick.size, extended=True)
        return Verdict.APPLIED

    def _order(self, tick: _Tick, detail: Any, last_ts: int, last_seq: int) -> Verdict:
        """Refuse what comes in a halt, is older than the newest of its kind, or is known already."""
        if detail["halted"] and not tick.cond & (Condition.OPENING | Condition.REOPENING):
            return Verdict.INELIGIBLE
        if tick.ts < last_ts:
            return Verdict.OLDER
        if tick.ts == last_ts and tick.seq and tick.seq <= last_seq:
            return Verdict.DUPLICATE if tick.seq == last_seq else Verdict.OLDER
        return Verdict.DUPLICATE if self._is_repeated(tick, detail) else Verdict.APPLIED

    def _is_repeated(self, tick: _Tick, detail: Any) -> bool:
        """Tell whether a print comes again that was cancelled, or is held back."""
        held_back = detail["suspect"] and tick.seq
        if held_back and _is(tick, detail["suspect_ts"], detail["suspect_seq"]):
            return True
        if tick.ts > int(detail["dead_ts"]):
            return False
        one = self._find(tick)
        return one is not None and bool(one["dead"])

    def _resume(self, tick: _Tick, detail: Any) -> bool:
        """End a halt with a print that reopens trading; tell whether the print is the first after a halt."""
        exempt = bool(detail["exempt"] or detail["halted"])
        if detail["halted"]:
            detail["halted"], detail["halt_ts"] = False, max(tick.ts, int(detail["halt_ts"]))
        detail["exempt"] = False
        return exempt

    def _is_suspect(
        self, tick: _Tick, detail: Any, good: int, *, exempt: bool, wide: bool = False
    ) -> bool:
        """Hold back what is too far from the last good price, unless it confirms what was held back before."""
        limit = min(self._terms.rules.limit(good, wide=wide), self._terms.guard[tick.row])
        distance = abs(tick.price - good)
        return self._is_held_back(tick, detail, distance, distance if exempt else limit)

    def _is_held_back(self, tick: _Tick, detail: Any, distance: int, limit: int) -> bool:
        if distance > limit and not self._confirms(tick, detail):
            detail["suspect"] = tick.price
            detail["suspect_ts"], detail["suspect_seq"] = tick.ts, tick.seq
            return True
        detail["suspect"] = 0
        return False

    def _confirms(self, tick: _Tick, detail: Any) -> bool:
        suspect, ts = int(detail["suspect"]), int(detail["suspect_ts"])
        confirms = (
            suspect > 0
            and not _is(tick, ts, detail["suspect_seq"])
            and tick.ts - ts <= self._terms.rules.confirm_ns
            and self._terms.rules.confirms(tick.price, suspect)
        )
        self.confirmed += confirms
        return confirms

    # ---- official prices -------------------------------------------------------------------------

    def _declare(self, tick: _Tick, detail: Any) -> Verdict:
        """Take an official price that an exchange declares apart from its trades."""
        if not self._terms.primary.has(tick.row, tick.venue) or tick.row >= self._terms.n_stocks:
            return Verdict.INELIGIBLE
        hours = self._hours_at(tick.ts)
        is_open = tick.kind == Kind.OFFICIAL_OPEN or (
            tick.kind == Kind.TRADE and tick.cond & Condition.OFFICIAL_OPEN
        )
        if is_open:
            return self._open(tick, detail) if hours.regular else Verdict.INELIGIBLE
        return self._close_officially(tick, detail, hours, rank=_DECLARED)

    def _open(self, tick: _Tick, detail: Any) -> Verdict:
        """Take the first price of the primary exchange in a session."""
        if detail["opening"]:
            return Verdict.DUPLICATE if detail["opening"] == tick.price else Verdict.OLDER
        if tick.ts < self.starts_ns:
            return Verdict.OLDER
        detail["opening"] = tick.price
        return Verdict.APPLIED

    def _close_officially(self, tick: _Tick, detail: Any, hours: _Hours, *, rank: int) -> Verdict:
        if hours.regular:
            return Verdict.INELIGIBLE
        known_ns = self._close_of(detail)
        if hours.close_ns < max(known_ns, self._close_before()):
            return Verdict.OLDER
        known = known_ns == hours.close_ns
        before = (int(detail["official_rank"]), int(detail["official_ts"]))
        if known and (rank, tick.ts) <= before:
            same = tick.ts == before[1] and tick.price == detail["official"]
            return Verdict.DUPLICATE if same else Verdict.OLDER
        if self._is_repeated(tick, detail):
            return Verdict.DUPLICATE
        good = int(detail["official"]) if known else int(self.prints.price[tick.row])
        distance = abs(tick.price - good)
        if self._is_held_back(tick, detail, distance, self._terms.guard[tick.row]):
            return Verdict.SUSPECT
        self._set_official(tick, detail, hours, rank=rank)
        return Verdict.APPLIED

    def _close_of(self, detail: Any) -> int:
        """Give the cash close that the known official close of a stock belongs to, or NO_EVENT."""
        if not detail["official_rank"]:
            return NO_EVENT
        return self._terms.calendar.last_close(int(detail["official_ts"]))[1]

    def _close_before(self) -> int:
        """Give the last cash close before the session, whose official prices may still come; 0 where none is in force."""
        return self._terms.calendar.last_close(self.starts_ns)[1] if self.starts_ns else 0

    def _set_official(self, tick: _Tick, detail: Any, hours: _Hours, *, rank: int) -> None:
        row, prints, known_ns = tick.row, self.prints, self._close_of(detail)
        late = hours.close_ns < self.starts_ns
        # One that was cancelled may be the first of its close: what is known of the close stays.
        corrected = known_ns in {NO_EVENT, hours.close_ns} and bool(detail["corrected"])
        if late:
            corrected |= tick.price != self.close[row]
            self._renew_close(row, tick.price)
        else:
            corrected |= known_ns == hours.close_ns and tick.price != detail["official"]
            prints.price[row] = tick.price
            newest_print = max((tick.ts, tick.seq), (int(prints.ts[row]), int(prints.seq[row])))
            prints.ts[row], prints.seq[row] = newest_print
        detail["official"], detail["official_ts"] = tick.price, tick.ts
        detail["official_rank"], detail["official_late"] = rank, late
        detail["corrected"] = corrected
        self.kept.add_one(row, tick.price, tick.ts, tick.seq, tick.size)

    def _renew_close(self, row: int, price: int) -> None:
        """Set the close of a session that is over: it is the previous one now."""
        self.close[row] = price
        if self.prints.ts[row] < self.starts_ns:
            self.prints.price[row] = price

    # ---- cancels, corrections, halts -------------------------------------------------------------

    def _find(self, tick: _Tick) -> Any:
        prints = self.kept.of_rows()[tick.row]
        return find(prints, price=tick.price, ts=tick.ts, seq=tick.seq, size=tick.size)

    def _undo(self, tick: _Tick, detail: Any) -> Verdict:
        """Cancel a print, or give it the right price."""
        cancels = tick.kind == Kind.CANCEL
        if detail["suspect"] and tick.ts == detail["suspect_ts"]:
            named = "suspect_seq" if tick.seq else "suspect"
            if detail[named] == (tick.seq or tick.price):
                detail["suspect"] = 0
                if cancels:
                    return Verdict.APPLIED
                return self._trade(replace(tick, kind=Kind.TRADE, cond=Condition.REGULAR), detail)
        one = self._find(tick)
        if one is None:
            return Verdict.UNMATCHED
        if one["dead"] or (not cancels and one["price"] == tick.price):
            return Verdict.DUPLICATE
        if cancels:
            self._kill(tick.row, detail, one)
        else:
            self._correct(tick, detail, one)
        return Verdict.APPLIED

    def _stands(self, row: int, detail: Any, one: Any) -> bool:
        """Tell whether a kept print has made the last price of its hours."""
        if newest(self.kept.of_rows()[row], extended=bool(one["extended"])) != one:
            return False
        if one["extended"]:
            return bool(detail["extended_ts"] == one["ts"])
        # An operator's price is none of a print; an official close may be older than the price it has replaced.
        ours = self.prints.ts[row] == one["ts"] or _is_official(detail, one)
        return bool(ours and self.prints.price[row] == one["price"] and not _is_late(detail, one))

    def _kill(self, row: int, detail: Any, one: Any) -> None:
        stands = self._stands(row, detail, one)
        if _is_official(detail, one):
            for name in _OFFICIAL_CLOSE:
                detail[name] = _NOTHING[name]
        one["dead"] = True
        detail["dead_ts"] = max(int(one["ts"]), int(detail["dead_ts"]))
        if stands:
            self._fall_back(row, detail, extended=bool(one["extended"]))

    def _correct(self, tick: _Tick, detail: Any, one: Any) -> None:
        stands, late = self._stands(tick.row, detail, one), _is_late(detail, one)
        if _is_official(detail, one):
            detail["official"], detail["corrected"] = tick.price, True
        one["price"] = tick.price
        if late:
            self._renew_close(tick.row, tick.price)
        elif stands and one["extended"]:
            detail["extended"] = tick.price
        elif stands:
            self.prints.price[tick.row] = tick.price

    def _fall_back(self, row: int, detail: Any, *, extended: bool) -> None:
        """Go back to the newest print that stands."""
        self.regressed = True
        kept = self.kept.of_rows()[row]
        last = newest(kept, extended=extended)
        price, ts, seq = 0, NO_EVENT, 0
        if last is not None:
            price, ts = int(last["price"]), int(last["ts"])
            # The highest number of that instant stays in force.
            seq = int(kept["seq"][(kept["ts"] == ts) & (kept["extended"] == extended)].max())
        if extended:
            detail["extended"], detail["extended_ts"], detail["extended_seq"] = price, ts, seq
        else:
            in_session = NO_EVENT < ts >= self.starts_ns
            self.prints.price[row] = price if in_session else self.close[row]
            self.prints.ts[row], self.prints.seq[row] = ts, seq

    def _halt(self, tick: _Tick, detail: Any) -> Verdict:
        halted = tick.kind == Kind.HALT
        if tick.ts < detail["halt_ts"]:
            return Verdict.OLDER
        if tick.ts == detail["halt_ts"] and halted == detail["halted"]:
            return Verdict.DUPLICATE
        detail["halted"], detail["halt_ts"], detail["exempt"] = halted, tick.ts, not halted
        return Verdict.APPLIED

    # ---- sessions and operators ------------------------------------------------------------------

    def set_price(self, row: int, price: int, ts: int) -> bool:
        """Set a last price as an operator wants it, unless it is out of bounds or a newer print is known."""
        if price > self.highest[row] or ts < self.prints.ts[row]:
            return False
        if ts > self.prints.ts[row]:
            self.prints.ts[row], self.prints.seq[row] = ts, 0
        self.prints.price[row] = price
        self.changed[row] = True
        self.settle(row)
        return True

    def settle(self, row: int) -> None:
        """Work out between which prices the next plain prints of a row are good, whatever their order."""
        detail, ts = self.details[row], int(self.prints.ts[row])
        self._lowest_calm[row] = self._width[row] = 0
        in_session = ts >= self.starts_ns and ts != NO_EVENT
        self.awaiting[row] = in_session and not detail["opening"] and row < self._terms.n_stocks
        watched = detail["halted"] or detail["exempt"] or detail["suspect"]
        # A late print of regular hours would change what an extended one is worth.
        watched = watched or detail["extended_ts"] > ts
        if row >= self._terms.n_stocks or not in_session or watched or detail["dead_ts"] >= ts:
            return
        price = int(self.prints.price[row])
        distance = min(self._terms.rules.calm(price), self._terms.guard[row] // 2)
        lowest = max(price - distance, 1)
        highest = min(price + distance, int(self.highest[row]))
        if lowest <= price <= highest:
            self._lowest_calm[row], self._width[row] = lowest, highest - lowest + 1

    def roll(self, starts_ns: int, over: _Flags) -> None:
        """Begin a session: the last prices of the rows that are `over` become previous closes."""
        self.starts_ns = starts_ns
        self.close = np.where(over, self.prints.price, self.close)
        details = self.details
        stocks = slice(0, self._terms.n_stocks)
        stale = details[stocks]
        for name in ("opening", *_OFFICIAL_CLOSE, "corrected"):
            stale[name] = _NOTHING[name]
        details["suspect"] = 0
        details["exempt"] = False
        self.forget_calm()

    def forget_calm(self) -> None:
        """Look at the next prints of all rows one by one."""
        self._lowest_calm[:] = 0
        self._width[:] = 0
        n_stocks = self._terms.n_stocks
        in_session = (self.prints.ts >= self.starts_ns) & (self.prints.ts != NO_EVENT)
        self.awaiting = in_session & (self.details["opening"] == 0)
        self.awaiting[n_stocks:] = False

    @property
    def official_prices(self) -> NDArray[np.void]:
        """Opening and official closing prices of the stocks, a copy: fields as in `_OFFICIAL`."""
        return self.details[: self._terms.n_stocks][_OFFICIAL].copy()

    @property
    def has_official_prices(self) -> bool:
        """Whether any stock has an official price of the session."""
        stocks = self.details[: self._terms.n_stocks]
        return bool((stocks["opening"] > 0).any() or (stocks["official"] > 0).any())

    @property
    def newest_ts(self) -> NDArray[np.int64]:
        """Event time of the newest price of each row, int64, shape (n_rows,), or NO_EVENT."""
        newest_ts: NDArray[np.int64] = np.maximum(self.prints.ts, self.details["extended_ts"])
        return newest_ts

    @property
    def heard_ts(self) -> NDArray[np.int64]:
        """Event time of the newest tick of each row that is not refused, int64, shape (n_rows,), or NO_EVENT."""
        heard_ts: NDArray[np.int64] = np.maximum(self.newest_ts, self.details["heard_ts"])
        return heard_ts

    def details_of(self, rows: _Rows) -> NDArray[np.void]:
        """Give a copy of the details of some rows: the same whichever road their ticks have taken."""
        details = self.details[rows]
        details["heard_ts"] = self.heard_ts[rows]
        return details

    def merge(self, later: Layer, rows: _Rows) -> None:
        """Take over what a layer of later prints tells of some rows."""
        at, mine = later.details[rows].copy(), self.details[rows]
        newer = later.prints.ts[rows] > self.prints.ts[rows]
        self._merge_contracts(at, mine, rows)
        for time, names in _KEPT_ON:
            unknown = at[time] == NO_EVENT
            for name in names:
                at[name][unknown] = mine[name][unknown]
        for name in ("dead_ts", "heard_ts"):
            at[name] = np.maximum(at[name], mine[name])
        self.details[rows] = at
        self.prints.put(rows[newer], later.prints.at(rows[newer]))
        self.kept.follow(later.kept, rows)
        for row in rows[at["official_late"]].tolist():
            self._merge_close(row)

    def _merge_contracts(self, at: NDArray[np.void], mine: NDArray[np.void], rows: _Rows) -> None:
        """Find the price at a cash close of contracts whose first print after it was one of the later ones."""
        contracts = rows >= self._terms.n_stocks
        price, ts = self.prints.price[rows], self.prints.ts[rows]
        unknown = contracts & (at["official"] == 0)
        before = unknown & (ts != NO_EVENT) & (ts < at["official_ts"])
        at["official"][before] = price[before]
        same = unknown & (mine["official_ts"] >= at["official_ts"])
        for name in ("official", "official_ts"):
            at[name][same] = mine[name][same]

    def _merge_close(self, row: int) -> None:
        """Set an official close that was late for the later session."""
        detail, price = self.details[row], int(self.details["official"][row])
        if self._close_of(detail) < self.starts_ns:
            detail["corrected"] = price != self.close[row]
            self._renew_close(row, price)
            return
        # It is that of the session in force here.
        detail["official_late"] = detail["corrected"] = False
        if detail["official_ts"] > self.prints.ts[row]:
            self.prints.price[row] = price
            self.prints.ts[row], self.prints.seq[row] = detail["official_ts"], 0

    def forget(self, rows: _Rows) -> None:
        """Know nothing of some rows any more, but their previous close."""
        self.prints.put(rows, Prints.none(self._terms.composition).at(rows))
        self.details[rows] = no_details(len(rows))
        self.kept.of_rows()[rows] = 0
        self.moved[rows] = self.changed[rows] = False
        for row in rows.tolist():
            self.settle(row)

    def carry(
        self, other: Layer, source: _Rows, target: _Rows, same: _Flags, bound: NDArray[np.int64]
    ) -> None:
        """Take over rows of a layer of another composition.

        Parameters
        ----------
        other
            The layer.
        source, target
            Rows there and here.
        same
            Whether prices stand on the same basis; where not, those of this session alone are of use. Of the rest
            only times and halts go along.
        bound
            Highest prices of the target rows.
        """
        ts, price = other.prints.ts[source], other.prints.price[source]
        self.prints.ts[target], self.prints.seq[target] = ts, other.prints.seq[source]
        good = (same | (ts >= self.starts_ns)) & (price <= bound)
        self.prints.price[target[good]] = price[good]
        at = other.details[source].copy()
        for first, time, names in _PRICES:
            lost = at[first] > bound
            if time:
                lost |= ~same & (at[time] < self.starts_ns)
            for name in names:
                at[name][lost] = _NOTHING[name]
        self.details[target] = at
        kept = other.kept.of_rows()[source].copy()
        of_use = same[:, None] | (kept["ts"] >= self.starts_ns)
        kept[~of_use | (kept["price"] > bound[:, None])] = 0
        self.kept.of_rows()[target] = kept
        self.forget_calm()

    def put(
        self,
        rows: _Rows,
        prints: Prints,
        details: NDArray[np.void],
        kept: NDArray[np.void],
    ) -> None:
        """Set what is known of some rows."""
        self.prints.put(rows, prints)
        self.details[rows] = details
        self.kept.of_rows()[rows] = kept
        late = details["official_late"]
        self.close[rows[late]] = details["official"][late]
        self.changed[rows] = True
        self.forget_calm()

    def _hours_at(self, ts: int) -> _Hours:
        if not self._hours.starts_ns <= ts < self._hours.ends_ns:
            calendar = self._terms.calendar
            stretch = calendar.stretch(ts)
            self._hours = _Hours(
                stretch.starts_ns,
                stretch.ends_ns,
                regular=stretch.cash_phase is CashPhase.REGULAR,
                close_ns=calendar.last_close(ts)[1],
            )
        return self._hours


def _is(tick: _Tick, ts: int, seq: int) -> bool:
    return tick.ts == int(ts) and tick.seq == int(seq)


_OFFICIAL = ["opening", "official", "official_ts", "corrected"]


def _is_official(detail: Any, one: Any) -> bool:
    """Tell whether a kept print is the official close."""
    return bool(
        detail["official_rank"]
        and detail["official_ts"] == one["ts"]
        and detail["official"] == one["price"]
        and not one["extended"]
    )


def _is_late(detail: Any, one: Any) -> bool:
    return bool(detail["official_late"]) and _is_official(detail, one)
