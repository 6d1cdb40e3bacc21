"""Checkpoints on their topic: all of a book or an aggregator, bit for bit, and nothing else is taken for one."""

from __future__ import annotations

import struct
from dataclasses import fields
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from strategies import damaged
from stream.errors import WireError
from stream.index.book import BookState
from stream.index.kept import KEPT, KEPT_PRINT
from stream.index.layer import DETAIL
from stream.index.partial import Origin
from stream.index.prints import Prints
from stream.wire import checkpoints
from stream.wire.checkpoints import AggregatorState, Checkpoint

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
TIMES = st.integers(0, 2**63 - 1)


def arrays(n: int) -> st.SearchStrategy[NDArray[np.int64]]:
    return st.lists(INT64, min_size=n, max_size=n).map(lambda x: np.array(x, np.int64))


def records(n: int, dtype: np.dtype[np.void]) -> st.SearchStrategy[NDArray[np.void]]:
    """Draw any bytes but in flags, which have two values."""
    row = st.tuples(*(_field(dtype[name]) for name in dtype.names or ()))
    return st.lists(row, min_size=n, max_size=n).map(lambda rows: np.array(rows, dtype))


def _field(dtype: np.dtype[Any]) -> st.SearchStrategy[int | bool]:
    if dtype.kind == "b":
        return st.booleans()
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    return st.integers(int(least), int(most))


@st.composite
def prints(draw: st.DrawFn, n: int) -> Prints:
    """Draw prints of some rows."""
    seq = np.array(draw(st.lists(UINT64, min_size=n, max_size=n)), np.uint64)
    return Prints(draw(arrays(n)), draw(arrays(n)), seq)


@st.composite
def states(draw: st.DrawFn) -> BookState:
    """Draw a book's state: any numbers, as many of a kind as belong together."""
    n, n_next, n_bounds = (draw(st.integers(0, 3)) for _ in range(3))
    return BookState(
        composition=draw(st.text(max_size=30)),
        session=draw(st.text(max_size=10)),
        starts_ns=draw(TIMES),
        ends_ns=draw(TIMES),
        partition=draw(st.integers(0, 2**31)),
        offset=draw(TIMES),
        control=draw(TIMES),
        origin=draw(st.sampled_from(Origin)),
        rows=draw(arrays(n)),
        prints=draw(prints(n)),
        details=draw(records(n, DETAIL)),
        kept=draw(records(n * KEPT, KEPT_PRINT)).reshape(n, KEPT),
        close=draw(arrays(n)),
        next_rows=draw(arrays(n_next)),
        next_prints=draw(prints(n_next)),
        next_details=draw(records(n_next, DETAIL)),
        next_kept=draw(records(n_next * KEPT, KEPT_PRINT)).reshape(n_next, KEPT),
        excluded=draw(arrays(draw(st.integers(0, 2)))),
        refused=draw(arrays(draw(st.integers(0, 2)))),
        bound_rows=draw(arrays(n_bounds)),
        bounds=draw(arrays(n_bounds)),
    )


LINES = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
CHECKPOINTS = st.builds(
    Checkpoint, states(), topic=st.text(max_size=9), partitions=st.integers(1, 9), lines=LINES
)
LEVELS = st.integers(0, 2**90)
AGGREGATORS = st.builds(
    AggregatorState,
    partials_offset=TIMES,
    partials=st.lists(st.binary(max_size=9), max_size=3).map(tuple),
    levels_offset=TIMES,
    extremes=st.dictionaries(
        st.text(max_size=5), st.tuples(st.text(max_size=10), LEVELS, LEVELS, LEVELS), max_size=3
    ),
)


def plain(value: Any) -> Any:
    """Write arrays with their types, and what holds them field by field."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tolist()
    if isinstance(value, Checkpoint | BookState | Prints):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return type(value), value


@given(CHECKPOINTS)
def test_a_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    """Every number of every field, in its type."""
    read = checkpoints.decode(checkpoints.encode(checkpoint))

    assert plain(read) == plain(checkpoint)


@given(AGGREGATORS)
def test_an_aggregators_state_is_read_as_it_was_written(state: AggregatorState) -> None:
    """Levels of any size: one in 10^-8 points may be wider than 64 bits."""
    assert checkpoints.decode_aggregator(checkpoints.encode_aggregator(state)) == state


def test_a_new_aggregator_knows_nothing() -> None:
    """From the first record of its topics on."""
    state = AggregatorState()

    assert (state.partials_offset, state.partials, dict(state.extremes)) == (0, (), {})
    assert checkpoints.decode_aggregator(checkpoints.encode_aggregator(state)) == state


I8 = "<i8"
#: Extended price, its ts and seq; opening; official close, its ts, rank, and whether it came late; corrected; halted, and
#: since when; exempt; suspect, its ts and seq; newest cancelled; newest heard.
DETAIL_NAMES = (
    *("extended", "extended_ts", "extended_seq"),
    "opening",
    *("official", "official_ts", "official_rank", "official_late", "corrected"),
    *("halted", "halt_ts", "exempt"),
    *("suspect", "suspect_ts", "suspect_seq"),
    *("dead_ts", "heard_ts"),
)
DETAILS = struct.Struct("<qqQqqqB???q?qqQqq")
#: Price, ts, seq, size, extended, dead.
KEPT_PRINTS = struct.Struct("<qqQI??")
FIRST = (30, 31, 2**64 - 2, 32, 33, 34, 2, True, False, True, 35, False, 36, 37, 38, 39, 40)
SECOND = (0, -1, 0, 0, 0, -1, 0, False, True, False, -1, True, 0, -1, 0, -1, 41)
PRINT = (50, 51, 2**64 - 3, 2**32 - 1, True, False)
NO_PRINT = (0, 0, 0, 0, False, False)


def packed(form: struct.Struct, *records: tuple[int | bool, ...]) -> bytes:
    return b"".join(form.pack(*record) for record in records)


BOOK: dict[str, Any] = {
    "version": 2,
    "composition": "2026-07-17-abc",
    "session": "2026-07-17",
    "starts_ns": 5,
    "ends_ns": 6,
    "topic": "ticks",
    "partition": 3,
    "partitions": 4,
    "offset": 77,
    "control": 9,
    "origin": 2,
    "rows": np.array([1, 8], I8).tobytes(),
    "price": np.array([10, 80], I8).tobytes(),
    "ts": np.array([11, 81], I8).tobytes(),
    "seq": np.array([12, 2**64 - 1], "<u8").tobytes(),
    "details": packed(DETAILS, FIRST, SECOND),
    "kept": packed(KEPT_PRINTS, *[NO_PRINT] * 15, PRINT),
    "close": np.array([13, 83], I8).tobytes(),
    "next_rows": np.array([2], I8).tobytes(),
    "next_price": np.array([20], I8).tobytes(),
    "next_ts": np.array([21], I8).tobytes(),
    "next_seq": np.array([22], "<u8").tobytes(),
    "next_details": packed(DETAILS, SECOND),
    "next_kept": packed(KEPT_PRINTS, PRINT, *[NO_PRINT] * 7),
    "excluded": np.array([4], I8).tobytes(),
    "refused": np.array([5, 6], I8).tobytes(),
    "bound_rows": np.array([7], I8).tobytes(),
    "bounds": np.array([70], I8).tobytes(),
    "lines": {"a": 1},
}


def book(**changed: object) -> bytes:
    return msgspec.msgpack.encode(list({**BOOK, **changed}.values()))


def aggregator(**changed: object) -> bytes:
    good = {
        "version": 2,
        "partials_offset": 5,
        "partials": [b"x"],
        "levels_offset": 6,
        "extremes": {"US1000": ["2026-07-17", "3", "4", "2"]},
    }
    return msgspec.msgpack.encode(list({**good, **changed}.values()))


def test_the_form_of_a_book_is_the_one_that_other_workers_write() -> None:
    """Version 2: a list, its arrays little-endian and without gaps. Another form needs another version."""
    read = checkpoints.decode(book())

    assert checkpoints.encode(read) == book()
    assert (read.topic, read.partitions, read.lines) == ("ticks", 4, {"a": 1})
    state = read.state
    assert (state.composition, state.session) == ("2026-07-17-abc", "2026-07-17")
    assert (state.starts_ns, state.ends_ns) == (5, 6)
    assert (state.partition, state.offset, state.control) == (3, 77, 9)
    assert state.origin is Origin.SIMULATED
    numbers = {
        name: array.tolist()
        for name, array in {
            "rows": state.rows,
            "price": state.prints.price,
            "ts": state.prints.ts,
            "seq": state.prints.seq,
            "close": state.close,
            "next_rows": state.next_rows,
            "next_price": state.next_prints.price,
            "next_ts": state.next_prints.ts,
            "next_seq": state.next_prints.seq,
            "excluded": state.excluded,
            "refused": state.refused,
            "bound_rows": state.bound_rows,
            "bounds": state.bounds,
        }.items()
    }
    assert numbers == {
        "rows": [1, 8],
        "price": [10, 80],
        "ts": [11, 81],
        "seq": [12, 2**64 - 1],
        "close": [13, 83],
        "next_rows": [2],
        "next_price": [20],
        "next_ts": [21],
        "next_seq": [22],
        "excluded": [4],
        "refused": [5, 6],
        "bound_rows": [7],
        "bounds": [70],
    }
    assert state.details.dtype.names == DETAIL_NAMES
    assert state.kept.dtype.names == ("price", "ts", "seq", "size", "extended", "dead")
    assert state.details.tolist() == [FIRST, SECOND]
    assert state.next_details.tolist() == [SECOND]
    assert state.kept.tolist() == [[NO_PRINT] * 8, [*[NO_PRINT] * 7, PRINT]]
    assert state.next_kept.tolist() == [[PRINT, *[NO_PRINT] * 7]]


def test_the_form_of_an_aggregator_is_the_one_that_other_workers_write() -> None:
    """Version 2: a list, with levels as text."""
    state = checkpoints.decode_aggregator(aggregator())

    assert checkpoints.encode_aggregator(state) == aggregator()
    assert state == AggregatorState(5, (b"x",), 6, {"US1000": ("2026-07-17", 3, 4, 2)})


def test_keys_carry_the_owners_epoch() -> None:
    """So a writer that wakes up late cannot replace what its successor wrote (law 6)."""
    assert checkpoints.key(checkpoints.BOOK, 17) == b"book/17"
    assert checkpoints.key(checkpoints.AGGREGATOR, 0) == b"aggregator/0"


NOT_OURS = [
    b"",
    b"{}",
    b"\xc1",
    b"\x90",
    b"\x91" * 100_000,
    b"\x91\xa1\xff",
    b"\x81\x90\x00",
    b"\x91\xc7\x0c\xff" + b"\xff" * 12,
]


@pytest.mark.parametrize(
    "value",
    [
        *NOT_OURS,
        aggregator(),
        book()[:-1],
        book(version=1),
        book(version=3),
        book(version="1"),
        book(origin=9),
        book(rows=b"\0" * 7),
        book(seq=b"\0" * 9),
        book(rows="text"),
        book(details=b"\0" * 102),
        book(next_kept=b"\0" * (7 * 30)),
        book(offset="77"),
        book().replace(b"2026-07-17-abc", b"\xff" * 14),
        # The form of lines is theirs, but it has an end.
        book(lines=None)[:-1] + b"\x91" * 100_000,
    ],
)
def test_what_is_no_book_of_this_version_is_a_wire_error(value: bytes) -> None:
    """No other exception leaves the decoder."""
    with pytest.raises(WireError, match="checkpoint"):
        checkpoints.decode(value)


@pytest.mark.parametrize(
    "value",
    [
        *NOT_OURS,
        book(),
        aggregator()[:-1],
        aggregator(version=1),
        aggregator(version=3),
        aggregator(version=None),
        aggregator(partials=[1]),
        aggregator(extremes={"X": ["2026-07-17", "3", "4"]}),
        aggregator(extremes={"X": ["2026-07-17", "3", "4", "x"]}),
        aggregator(extremes={"X": ["2026-07-17", "3", "4", "9" * 5000]}),
        aggregator(extremes={"X": ["2026-07-17", 3, 4, 2]}),
        aggregator().replace(b"US1000", b"\xff" * 6),
    ],
)
def test_what_is_no_aggregator_of_this_version_is_a_wire_error(value: bytes) -> None:
    """No other exception leaves the decoder."""
    with pytest.raises(WireError, match="aggregator state"):
        checkpoints.decode_aggregator(value)


@given(CHECKPOINTS.map(checkpoints.encode).flatmap(damaged) | st.binary(max_size=60))
def test_damaged_bytes_are_a_checkpoint_or_a_wire_error(value: bytes) -> None:
    """Whatever was changed, cut or inserted."""
    try:
        read = checkpoints.decode(value)
    except WireError as error:
        assert str(error).startswith("checkpoint")  # noqa: PT017 - either is right
    else:
        assert {a.dtype.str for a in (read.state.rows, read.state.bounds)} == {"<i8"}


@given(AGGREGATORS.map(checkpoints.encode_aggregator).flatmap(damaged) | st.binary(max_size=60))
def test_damaged_bytes_are_an_aggregators_state_or_a_wire_error(value: bytes) -> None:
    """Whatever was changed, cut or inserted."""
    try:
        read = checkpoints.decode_aggregator(value)
    except WireError as error:
        assert str(error).startswith("aggregator state")  # noqa: PT017 - either is right
    else:
        assert all(isinstance(n, int) for _, *ns in read.extremes.values() for n in ns)
