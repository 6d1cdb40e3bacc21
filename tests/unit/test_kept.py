"""Kept prints against a plain list of the last eight of each instrument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.index import kept as kept_module
from stream.index.kept import KEPT_PRINT, Kept, find, newest

#: Row, price, ts, seq, size, extended.
Print = tuple[int, int, int, int, int, bool]
#: Price, ts, seq, size, extended, dead: as they are kept.
Record = tuple[int, int, int, int, bool, bool]

N_ROWS = 3
NONE: Record = (0, 0, 0, 0, False, False)
#: Few of each, so that cancels can name several prints.
PRINTS = st.tuples(
    st.integers(0, N_ROWS - 1),
    st.sampled_from((1, 2, 2**60)),
    st.sampled_from((0, 1, 2, 2**62)),
    st.sampled_from((0, 1, 2**64 - 1)),
    st.sampled_from((0, 1, 2**32 - 1)),
    st.booleans(),
)
NAMES = st.tuples(
    st.sampled_from((1, 2)),
    st.sampled_from((0, 1, 2)),
    st.sampled_from((0, 1, 2)),
    st.sampled_from((0, 1)),
)


class Lists:
    """The last eight prints of each row, the newest last."""

    def __init__(self) -> None:
        self.of_row: list[list[Record]] = [[] for _ in range(N_ROWS)]

    def add(self, one: Print) -> None:
        row, *what = one
        self.append(row, (*what, False))  # type: ignore[arg-type]

    def append(self, row: int, record: Record) -> None:
        self.of_row[row] = [*self.of_row[row], record][-8:]

    def padded(self) -> list[list[Record]]:
        return [[NONE] * (8 - len(one)) + one for one in self.of_row]


def add_batch(kept: Kept, prints: Sequence[Print]) -> None:
    row, price, ts, seq, size, _ = zip(*prints, strict=True) if prints else ((),) * 6
    kept.add(
        np.array(row, np.int32),
        np.array(price, np.int64),
        np.array(ts, np.int64),
        np.array(seq, np.uint64),
        np.array(size, np.uint32),
    )


@given(st.data())
def test_the_last_eight_prints_of_each_row_are_kept_whatever_the_batches(
    data: st.DataObject,
) -> None:
    """Many at once or one by one, looked at in between or not, however many may wait; those kept apart follow."""
    both = (Kept(N_ROWS), Kept(N_ROWS)), (Lists(), Lists())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_module, "MOST_WAITING", data.draw(st.sampled_from((1, 5, 30, 10**4))))
        for _ in range(data.draw(st.integers(0, 12))):
            apart = data.draw(st.integers(0, 1))
            step(data, both[0][apart], both[1][apart])
        rows = sorted(data.draw(st.frozensets(st.integers(0, N_ROWS - 1))))
        both[0][0].follow(both[0][1], np.array(rows, np.int64))
        for row in rows:
            for one in both[1][1].of_row[row]:
                both[1][0].append(row, one)

        for kept, lists in zip(*both, strict=True):
            assert kept.of_rows().tolist() == lists.padded()


def step(data: st.DataObject, kept: Kept, lists: Lists) -> None:
    """Add prints, look at them, or let one be dead."""
    match data.draw(st.sampled_from(("many", "many", "one", "one", "look", "kill"))):
        case "many":
            prints = [(*one[:5], False) for one in data.draw(st.lists(PRINTS, max_size=25))]
            add_batch(kept, prints)
            for one in prints:
                lists.add(one)
        case "one":
            row, price, ts, seq, size, extended = one = data.draw(PRINTS)
            kept.add_one(row, price, ts, seq, size, extended=extended)
            lists.add(one)
        case "look":
            assert kept.of_rows().tolist() == lists.padded()
        case "kill":
            row = data.draw(st.integers(0, N_ROWS - 1))
            if lists.of_row[row]:
                kept.of_rows()[row][-1]["dead"] = True
                lists.of_row[row][-1] = (*lists.of_row[row][-1][:5], True)


def test_rows_beyond_16_bits_are_kept_apart() -> None:
    """A universe may have more of them than a short sorting key has values."""
    kept, high = Kept(2**16 + 2), 2**16 + 1

    add_batch(kept, [(row, 10 + n, n, 0, 0, False) for n, row in enumerate((high, 1, high, 1))])

    assert kept.of_rows()["price"][[1, high], -3:].tolist() == [[0, 11, 13], [0, 10, 12]]


RECORDS = st.tuples(
    st.sampled_from((0, 1, 1, 2)),
    st.sampled_from((0, 1, 2)),
    st.sampled_from((0, 0, 1, 2)),
    st.sampled_from((0, 1)),
    st.booleans(),
    st.booleans(),
)
ROWS = st.lists(RECORDS, min_size=8, max_size=8)


@given(ROWS, NAMES)
def test_a_cancel_names_by_number_or_else_by_price_and_size(
    row: list[Record], name: tuple[int, int, int, int]
) -> None:
    """Always of its instant; the newest of several; what is found may be changed."""
    prints = np.array(row, KEPT_PRINT)
    price, ts, seq, size = name
    matches = [
        place
        for place, one in enumerate(row)
        if one[0] and one[1] == ts and (one[2] == seq if seq else (one[0], one[3]) == (price, size))
    ]

    found = find(prints, price=price, ts=ts, seq=seq, size=size)

    assert (found is None) == (not matches)
    if found is not None:
        found["size"] = 77
        assert np.flatnonzero(prints["size"] == 77).tolist() == matches[-1:]


@given(row=ROWS, extended=st.booleans())
def test_the_newest_is_the_last_alive_of_its_hours(row: list[Record], *, extended: bool) -> None:
    """Regular and extended prints are told apart."""
    alive = [one for one in row if one[0] and not one[5] and one[4] == extended]

    found = newest(np.array(row, KEPT_PRINT), extended=extended)

    assert (found.item() if found is not None else None) == (alive[-1] if alive else None)
