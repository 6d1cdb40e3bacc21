"""The tape: ticks made from a seed, good ones and every kind of bad one, each known for what it is.

Nothing here looks at a clock. Position on the tape is the order of the log, since each partition is written in that order.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.feed.producer import partition_of

#: A Wednesday, 10:00 in New York; five hours of its regular hours follow.
START_NS = 1_709_737_200_000_000_000
SPAN_NS = 5 * 3600 * 10**9
LONGEST_STEP_NS = 1_000_000

DOLLAR = 10_000
CENT = 100
#: Prices stay within a fiftieth of the reference price, and half a cent of rounding.
SPREAD = 50
#: A book refuses what is more than 8 times the reference price.
WILD = 9

#: A second line repeats a print within so many ticks; a late print is at most so many ticks old.
LATEST_COPY = 200
LATEST_PRINT = 5_000

#: A clock that is wrong is at most so many steps of the tape ahead or behind.
CLOCK_STEPS = 20_000

#: ns by which event times off the grid differ from each other.
MOST_BITS = 100_000

UNKNOWN_SYMBOLS = ("ZZNONE", "ZZVOID", "ZZGONE")
UNKNOWN_ROW = -1


class Sort(IntEnum):
    """What a tick of the tape is meant to be."""

    GOOD = 0
    COPY = 1
    LATE = 2
    ODD_LOT = 3
    WILD = 4
    UNKNOWN = 5
    MALFORMED = 6
    FUTURE = 7
    CLOCK_AHEAD = 8
    CLOCK_BEHIND = 9


#: How often each sort comes in a thousand ticks; the rest is good.
PER_MILLE = {
    Sort.COPY: 20.0,
    Sort.LATE: 10.0,
    Sort.ODD_LOT: 10.0,
    Sort.WILD: 1.0,
    Sort.UNKNOWN: 0.5,
    Sort.MALFORMED: 0.5,
    Sort.FUTURE: 0.2,
}
CLOCK_PER_MILLE = {Sort.CLOCK_AHEAD: 0.2, Sort.CLOCK_BEHIND: 0.2}

#: What a malformed message looks like, by turns.
MALFORMED_TEXTS = (
    b'{"symbol":"AAPL","price":1.0',
    b'{"symbol":"AAPL","price":-1.0,"ts":1709737200000000000}',
    b'{"price":1.0,"ts":1709737200000000000}',
    b'{"symbol":"AAPL","price":1.0,"ts":12}',
    b"TICK\x01\x00",
    b"\x00\xff\xfe not a tick",
)


@dataclass(frozen=True, slots=True)
class Tape:
    """Ticks in the order of the log; every array has shape (n,).

    Attributes
    ----------
    symbols
        Of the instruments, by row.
    n_partitions
        Of the topic.
    sort
        uint8: a `Sort`.
    row
        int32: of the instrument, or UNKNOWN_ROW.
    price
        int64: 1/10000 dollar.
    ts
        int64: event time, ns since 1970 UTC.
    seq
        int64: number on the tape, that of the original where it is a copy.
    partition
        int16: where it is written.
    """

    symbols: Sequence[str]
    n_partitions: int
    sort: NDArray[np.uint8]
    row: NDArray[np.int32]
    price: NDArray[np.int64]
    ts: NDArray[np.int64]
    seq: NDArray[np.int64]
    partition: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.sort)

    def symbol(self, position: int) -> str:
        """Name the symbol at a position."""
        row = self.row.item(position)
        if row == UNKNOWN_ROW:
            return UNKNOWN_SYMBOLS[position % len(UNKNOWN_SYMBOLS)]
        return self.symbols[row]


def make_tape(
    symbols: Sequence[str],
    reference: NDArray[np.int64],
    *,
    ticks: int,
    n_partitions: int,
    seed: int,
    clock: bool = False,
) -> Tape:
    """Make a tape.

    Parameters
    ----------
    symbols, reference
        Of the instruments, by row: their symbols, and int64 prices near which they trade, in 1/10000 dollar.
    ticks
        How many.
    n_partitions
        Of the topic.
    seed
        Everything follows from it.
    clock
        Whether some event times come from clocks that were stepped, ahead or back.
    """
    random = np.random.default_rng(seed)
    sort = _sorts(random, ticks, clock=clock)
    row = random.integers(0, len(symbols), ticks).astype(np.int32)
    price = _prices(random, reference[row])
    step = min(LONGEST_STEP_NS, SPAN_NS // max(ticks, 1))
    position = np.arange(ticks, dtype=np.int64)
    ts = START_NS + position * step
    seq = position + 1

    price[sort == Sort.WILD] = reference[row[sort == Sort.WILD]] * WILD
    # Off the grid of the good prints, and each by another bit: no two prints of different numbers share an instant.
    bit = position % MOST_BITS
    late = np.flatnonzero(sort == Sort.LATE)
    ts[late] += step // 2 + bit[late] - random.integers(1, LATEST_PRINT, len(late)) * step
    stepped = np.flatnonzero((sort == Sort.CLOCK_AHEAD) | (sort == Sort.CLOCK_BEHIND))
    way = np.where(sort[stepped] == Sort.CLOCK_AHEAD, 1, -1)
    ts[stepped] += step // 4 * 3 + bit[stepped]
    ts[stepped] += way * random.integers(1, CLOCK_STEPS, len(stepped)) * step
    copies = np.flatnonzero(sort == Sort.COPY)
    originals = copies - random.integers(1, LATEST_COPY, len(copies))
    for column in (row, price, ts, seq):
        column[copies] = column[originals]
    row[sort == Sort.UNKNOWN] = UNKNOWN_ROW
    return Tape(
        symbols,
        n_partitions,
        sort,
        row,
        price,
        ts,
        seq,
        _partitions(symbols, row, n_partitions),
    )


def _sorts(random: np.random.Generator, ticks: int, *, clock: bool) -> NDArray[np.uint8]:
    shares = {**PER_MILLE, **(CLOCK_PER_MILLE if clock else {})}
    kinds = [Sort.GOOD, *shares]
    chance = np.array([1000.0 - sum(shares.values()), *shares.values()]) / 1000
    sort = random.choice(np.array(kinds, np.uint8), ticks, p=chance)
    copies = np.flatnonzero(sort == Sort.COPY)
    # A copy repeats a good print: near the beginning, and where chance points at another sort, there is none.
    sort[copies[copies < LATEST_COPY]] = Sort.GOOD
    return sort


def _prices(random: np.random.Generator, reference: NDArray[np.int64]) -> NDArray[np.int64]:
    spread = reference // SPREAD
    price = reference + random.integers(-spread, spread, endpoint=True)
    price = np.where(price >= DOLLAR, (price + CENT // 2) // CENT * CENT, price)
    price[price < 1] = 1
    return price


def _partitions(
    symbols: Sequence[str], row: NDArray[np.int32], n_partitions: int
) -> NDArray[np.int16]:
    of_row = np.array([partition_of(symbol, n_partitions) for symbol in symbols], np.int16)
    of_unknown = np.array([partition_of(symbol, n_partitions) for symbol in UNKNOWN_SYMBOLS])
    partition = of_row[row]
    unknown = np.flatnonzero(row == UNKNOWN_ROW)
    partition[unknown] = of_unknown[unknown % len(UNKNOWN_SYMBOLS)]
    return partition


def write_csv(tape: Tape, path: Path) -> None:
    """Write the tape as a file of trades (`formats.md`, Files).

    Its rows are numbered by whoever reads them and carry no record timestamp, so it leaves out what a file cannot tell:
    malformed messages and ticks ahead of their record. A copy has another number there, but the same time and price.
    """
    with path.open("w", newline="", encoding="ascii") as text:
        rows = csv.writer(text)
        rows.writerow(["ts", "symbol", "price", "size", "venue", "cond"])
        rows.writerows(_rows(tape))


def _rows(tape: Tape) -> Iterator[tuple[int, str, str, int, str, str]]:
    known = (tape.sort != Sort.MALFORMED) & (tape.sort != Sort.FUTURE)
    for position in np.flatnonzero(known).tolist():
        cond = "I" if tape.sort.item(position) == Sort.ODD_LOT else "@"
        price = dollars(tape.price.item(position))
        yield tape.ts.item(position), tape.symbol(position), price, 100, "N", cond


def dollars(price: int) -> str:
    """Write a price in 1/10000 dollar with its four decimals."""
    return f"{price // DOLLAR}.{price % DOLLAR:04d}"
