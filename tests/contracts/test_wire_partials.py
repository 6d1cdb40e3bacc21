"""Partials on their topic: what is read is what was written, and nothing else is taken for one."""

from __future__ import annotations

from dataclasses import fields

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import damaged
from stream.errors import WireError
from stream.index.partial import N_COLUMNS, Origin, Partial
from stream.wire import partials

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def drawn(draw: st.DrawFn) -> Partial:
    """Draw a partial of any number of indexes and rows."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(0, 2))
    columns = [
        np.array(draw(st.lists(INT64, min_size=n, max_size=n)), np.int64)
        for _ in range(N_COLUMNS + 2)
    ]
    return Partial(
        composition=draw(st.text(max_size=30)),
        session=draw(st.text(max_size=10)),
        offsets=draw(st.dictionaries(st.integers(0, 2**31), st.integers(0, 2**63), max_size=3)),
        control=draw(st.integers(0, 2**63)),
        origin=draw(st.sampled_from(Origin)),
        columns=np.array(columns[:N_COLUMNS]),
        event_ns=columns[N_COLUMNS],
        oldest_ns=columns[N_COLUMNS + 1],
        clock_ns=draw(INT64),
        futures=np.array(draw(st.lists(INT64, min_size=5 * m, max_size=5 * m)), np.int64).reshape(
            5, m
        ),
        touched=np.frombuffer(draw(st.binary(max_size=9)), np.uint8),
    )


@given(drawn())
def test_a_partial_is_read_as_it_was_written(partial: Partial) -> None:
    """Every integer, the offsets, the origin, the session and the composition."""
    read = partials.decode(partials.encode(partial))

    for field in fields(Partial):
        before, after = getattr(partial, field.name), getattr(read, field.name)
        assert type(after) is type(before)
        if isinstance(before, np.ndarray):
            assert (after.dtype, after.tolist()) == (before.dtype, before.tolist())
        else:
            assert after == before


def message(
    *,
    version: object = 3,
    offsets: object = None,
    origin: object = 0,
    columns: object = b"\0" * 144,
    futures: object = b"\0" * 40,
) -> bytes:
    fields = [version, "id", "2026-07-17", offsets or {0: 1}, 4, origin, columns, 5, futures, b"\0"]
    return msgspec.msgpack.encode(fields)


def test_the_form_is_the_one_that_other_workers_write() -> None:
    """Version 3: standing, offsets, control number, origin, 18 columns of int64, the clock, 5 of futures, touched rows."""
    columns = np.arange(36).astype("<i8").tobytes()
    futures = np.arange(5).astype("<i8").tobytes()

    partial = partials.decode(
        msgspec.msgpack.encode(
            [3, "2026-07-17-abc", "2026-07-17", {3: 77}, 9, 2, columns, 6, futures, b"\x80"]
        )
    )

    assert partial.standing == ("2026-07-17-abc", "2026-07-17")
    assert (partial.offsets, partial.control) == ({3: 77}, 9)
    assert partial.origin is Origin.SIMULATED
    assert (partial.value.tolist(), partial.priced.tolist()) == ([0, 1], [2, 3])
    assert (partial.up.tolist(), partial.down.tolist()) == ([4, 5], [6, 7])
    assert partial.columns.ravel().tolist() == [*range(32)]
    assert partial.event_ns.tolist() == [32, 33]
    assert partial.oldest_ns.tolist() == [34, 35]
    assert (partial.clock_ns, partial.futures.T.tolist()) == (6, [[0, 1, 2, 3, 4]])
    assert partial.touched.tolist() == [128]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\xc1",
        message()[:-1],
        message(version=2),
        message(version=4),
        message(version="2"),
        message(origin=9),
        message(offsets={"0": 1}),
        message(columns=b"\0" * 143),
        message(columns=b"\0" * 152),
        message(columns=7),
        message(futures=b"\0" * 41),
        msgspec.msgpack.encode([3, "id"]),
        # Version 1, of workers before there were sessions.
        msgspec.msgpack.encode([1, "id", {0: 1}, 0, b"\0" * 48, b"\0"]),
        b"\x91" * 100_000,
        message().replace(b"id", b"\xff\xff"),
    ],
)
def test_what_is_no_partial_of_this_version_is_a_wire_error(value: bytes) -> None:
    """No other exception leaves the decoder."""
    with pytest.raises(WireError, match="partial"):
        partials.decode(value)


@given(drawn(), st.data())
def test_damaged_bytes_are_a_partial_or_a_wire_error(partial: Partial, data: st.DataObject) -> None:
    """Whatever was changed, cut or inserted."""
    try:
        read = partials.decode(data.draw(damaged(partials.encode(partial))))
    except WireError as error:
        assert str(error).startswith("partial")  # noqa: PT017 - either is right
    else:
        assert read.columns.shape == (N_COLUMNS, len(read.event_ns))
