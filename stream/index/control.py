"""Control records: all that changes a book besides ticks, and comes through the same log (`design.md`, law 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Of a record that a feed writes in place, which no control log numbers.
UNNUMBERED = 0


@dataclass(frozen=True, slots=True)
class OriginRecord:
    """The ticks that follow come from this kind of feed, so levels made of them must say so.

    Attributes
    ----------
    origin
        `replay` or `simulated`; a live feed says nothing.
    """

    origin: Literal["live", "replay", "simulated"]


@dataclass(frozen=True, slots=True)
class Roll:
    """A session begins: last prices become previous closes.

    Attributes
    ----------
    session
        Its trade date, `YYYY-MM-DD`; a book rolls to it once, and never back.
    starts_ns, ends_ns
        Its event times, half-open, ns since 1970 UTC; later ticks wait for the next roll.
    number
        Position in the control log, from 1; UNNUMBERED where a feed wrote it in place.
    """

    session: str
    starts_ns: int
    ends_ns: int
    number: int = UNNUMBERED


@dataclass(frozen=True, slots=True)
class Announcement:
    """A composition is in force from here on.

    Attributes
    ----------
    composition
        Its id.
    number
        As in `Roll`.
    """

    composition: str
    number: int = UNNUMBERED


@dataclass(frozen=True, slots=True)
class Contested:
    """Symbols that stand on two partitions: their further ticks are refused (law 7).

    Attributes
    ----------
    symbols
        Which.
    number
        As in `Roll`.
    """

    symbols: tuple[str, ...]
    number: int = UNNUMBERED


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's decision about one instrument.

    Attributes
    ----------
    symbol
        Of the instrument.
    action
        `price` sets its last price, until its next good print; `bound` lifts its bound to `price`; `exclude` keeps its last
        price, whatever its feed says; `include` ends that, and the refusal of a contested symbol.
    author, reason
        Who decided, and why.
    ts
        When, ns since 1970 UTC: older prints do not replace a price that was set.
    price
        1/10000 dollar; of `price` and `bound`.
    home
        The partition on which the symbol stands: there a price is set, and of a contested symbol kept. Below 0 in an
        operator's wish, which the control writer repeats with a home: only then it does these two.
    number
        As in `Roll`.
    """

    symbol: str
    action: Literal["price", "bound", "exclude", "include"]
    author: str
    reason: str
    ts: int
    price: int = 0
    home: int = -1
    number: int = UNNUMBERED


Numbered = Roll | Announcement | Contested | Override
Control = OriginRecord | Numbered
