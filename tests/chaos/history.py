"""What must come of a tape: a verdict for each tick, and every index after every prefix of every partition's log.

Worked out at once for the whole tape, apart from the engine: only the index shares, divisors and reference prices of the
composition are taken as given. The tests compare it with `oracle.py`, and every run with `capstream levels`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from chaos.tape import DOLLAR, Sort, Tape
from stream.index.composition import Composition, Index

NO_EVENT = -1
LEVEL_SCALE = 10**8

#: Reasons by number; 0 is applied.
REASONS = (
    "applied",
    "malformed",
    "unknown_symbol",
    "future",
    "ineligible",
    "out_of_bounds",
    "older",
    "duplicate",
)
_OF_SORT = {
    Sort.MALFORMED: "malformed",
    Sort.UNKNOWN: "unknown_symbol",
    Sort.FUTURE: "future",
    Sort.ODD_LOT: "ineligible",
}

Figures = Mapping[str, str | int | Decimal | None]


@dataclass(frozen=True, slots=True)
class PartitionHistory:
    """One partition after each of the ticks of its log; position 0 of an array is the state before the first.

    Attributes
    ----------
    position
        int64, shape (n,): where its ticks stand on the tape.
    event_ns
        int64, shape (n + 1,): event time of the newest tick applied, or NO_EVENT.
    gain
        For each index that is followed and has stocks here, int64, shape (n + 1,): market value less the reference value, in
        the index's own 10^-(4+k) dollar, as far as this partition's stocks contribute.
    """

    position: NDArray[np.int64]
    event_ns: NDArray[np.int64]
    gain: Mapping[str, NDArray[np.int64]]

    def gain_of(self, code: str, n_ticks: int) -> int:
        """Give what an index has gained here after so many ticks."""
        gain = self.gain.get(code)
        return 0 if gain is None else gain.item(n_ticks)


@dataclass(frozen=True, slots=True)
class History:
    """The whole tape, worked out.

    Attributes
    ----------
    verdict
        uint8, shape (n,): position in REASONS.
    partitions
        By number.
    indexes
        Those that are followed, by code.
    last_position
        int64, shape (n_rows,): where on the tape the last applied tick of each instrument stands, or -1.
    """

    verdict: NDArray[np.uint8]
    partitions: tuple[PartitionHistory, ...]
    indexes: Mapping[str, Index]
    last_position: NDArray[np.int64]

    def counts(self) -> Counter[str]:
        """Count the ticks by what becomes of them."""
        counts = np.bincount(self.verdict, minlength=len(REASONS)).tolist()
        return Counter({reason: n for reason, n in zip(REASONS, counts, strict=True) if n})


def own_index(partition: int) -> str:
    """Name the index that holds exactly the stocks of a partition: what it says proves how far that partition is."""
    return f"PARTITION{partition}"


def work_out(tape: Tape, composition: Composition, *, follow: Sequence[str]) -> History:
    """Work out a tape.

    Parameters
    ----------
    tape
        All of it.
    composition
        In force.
    follow
        Codes of indexes to be known after every tick.
    """
    verdict = _verdicts(tape, composition.reference_price)
    applied = np.flatnonzero(verdict == 0)
    indexes = {index.code: index for index in composition.indexes if index.code in follow}
    change, last_position = _price_changes(tape, applied, composition.reference_price)
    partitions = tuple(
        _partition(tape, number, applied, change, indexes) for number in range(tape.n_partitions)
    )
    return History(verdict, partitions, indexes, last_position)


def _verdicts(tape: Tape, reference: NDArray[np.int64]) -> NDArray[np.uint8]:
    verdict = np.zeros(len(tape), np.uint8)
    for sort, reason in _OF_SORT.items():
        verdict[tape.sort == sort] = REASONS.index(reason)
    wild = (verdict == 0) & (tape.price > 8 * reference[tape.row])
    verdict[wild] = REASONS.index("out_of_bounds")
    candidates = np.flatnonzero(verdict == 0)
    ts, seq, row = tape.ts[candidates], tape.seq[candidates], tape.row[candidates]
    rank = _ranks(ts, seq)
    newest, tie = _highest_before(row, rank)
    late = verdict[candidates]
    late[rank < newest] = REASONS.index("older")
    late[tie] = REASONS.index("duplicate")
    verdict[candidates] = late
    return verdict


def _ranks(ts: NDArray[np.int64], seq: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank the pairs (ts, seq), equal ones alike."""
    order = np.lexsort((seq, ts))
    differs = np.ones(len(order), np.int64)
    differs[1:] = (np.diff(ts[order]) != 0) | (np.diff(seq[order]) != 0)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.cumsum(differs)
    return rank


def _highest_before(
    row: NDArray[np.int32], rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the highest rank of the same row before each tick, 0 where there is none, and whether it is equal."""
    order = np.argsort(row, kind="stable")
    # Ranks of one row lie above those of all rows before it, so one running maximum serves all.
    lift = row[order].astype(np.int64) * (len(row) + 1)
    highest = np.maximum.accumulate(rank[order] + lift)
    before = np.zeros(len(row), np.int64)
    before[1:] = np.maximum(highest[:-1] - lift[1:], 0)
    newest = np.empty(len(row), np.int64)
    newest[order] = before
    return newest, rank == newest


def _price_changes(
    tape: Tape, applied: NDArray[np.int64], reference: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give by how much each applied tick moves its price, and the last tick of each row."""
    row, price = tape.row[applied], tape.price[applied]
    order = np.argsort(row, kind="stable")
    before = reference[row[order]]
    same = row[order][1:] == row[order][:-1]
    before[1:][same] = price[order][:-1][same]
    change = np.empty(len(applied), np.int64)
    change[order] = price[order] - before
    last_position = np.full(len(reference), -1, np.int64)
    last_position[row] = applied
    return change, last_position


def _partition(
    tape: Tape,
    number: int,
    applied: NDArray[np.int64],
    change: NDArray[np.int64],
    indexes: Mapping[str, Index],
) -> PartitionHistory:
    position = np.flatnonzero(tape.partition == number)
    mine = tape.partition[applied] == number
    place = np.searchsorted(position, applied[mine]) + 1
    rows, moved = tape.row[applied[mine]], change[mine]
    event_ns = np.full(len(position) + 1, NO_EVENT, np.int64)
    event_ns[place] = tape.ts[applied[mine]]
    gain = {}
    for code, index in indexes.items():
        shares = np.zeros(len(tape.symbols), np.int64)
        shares[index.row] = index.shares
        if not shares[rows].any():
            continue
        steps = np.zeros(len(position) + 1, np.int64)
        steps[place] = moved * shares[rows]
        gain[code] = np.cumsum(steps)
    return PartitionHistory(position, np.maximum.accumulate(event_ns), gain)


def market_value(index: Index, gain: int) -> str:
    """Write a market value in dollars with 4 places, half to even."""
    value = round(Fraction(index.reference_value + gain) / Fraction(10) ** index.k)
    return f"{value // DOLLAR}.{value % DOLLAR:04d}"


def level(index: Index, gain: int) -> Decimal:
    """Work out a level, rounded once, half to even."""
    value = Fraction(index.reference_value + gain) / (DOLLAR * Fraction(10) ** index.k)
    points = round(value / Fraction(index.divisor.value) * LEVEL_SCALE)
    return Decimal(points) / LEVEL_SCALE
