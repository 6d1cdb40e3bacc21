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
from stream.index.partial import CLOSE, Origin, Partial
from stream.wire import partials

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def drawn(draw: st.DrawFn) -> Partial:
    """Draw a partial of any number of indexes and rows."""
    n = draw(st.integers(1, 4))
    columns = [np.array(draw(st.lists(INT64, min_size=n, max_size=n)), np.int64) for _ in range(7)]
    return Partial(
        composition=draw(st.text(max_size=30)),
        session=draw(st.text(max_size=10)),
        offsets=draw(st.dictionaries(st.integers(0, 2**31), st.integers(0, 2**63), max_size=3)),
        control=draw(st.integers(0, 2**63)),
        origin=draw(st.sampled_from(Origin)),
        columns=np.array(columns[:6]),
        event_ns=columns[6],
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
    *, version: object = 2, offsets: object = None, origin: object = 0, columns: object = b"\0" * 56
) -> bytes:
    fields = [version, "id", "2026-07-17", offsets or {0: 1}, 4, origin, columns, b"\0"]
    return msgspec.msgpack.encode(fields)


def test_the_form_is_the_one_that_other_workers_write() -> None:
    """Version 2: composition, session, offsets, control number, origin, seven columns of int64, the touched rows."""
    columns = np.arange(14).astype("<i8").tobytes()

    partial = partials.decode(
        msgspec.msgpack.encode([2, "2026-07-17-abc", "2026-07-17", {3: 77}, 9, 2, columns, b"\x80"])
    )

    assert partial.standing == ("2026-07-17-abc", "2026-07-17")
    assert (partial.offsets, partial.control) == ({3: 77}, 9)
    assert partial.origin is Origin.SIMULATED
    assert (partial.value.tolist(), partial.priced.tolist()) == ([0, 1], [2, 3])
    assert (partial.up.tolist(), partial.down.tolist()) == ([4, 5], [6, 7])
    assert partial.priced_reference.tolist() == [8, 9]
    assert partial.columns[CLOSE].tolist() == [10, 11]
    assert partial.event_ns.tolist() == [12, 13]
    assert partial.touched.tolist() == [128]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\xc1",
        message()[:-1],
        message(version=1),
        message(version=3),
        message(version="2"),
        message(origin=9),
        message(offsets={"0": 1}),
        message(columns=b"\0" * 55),
        message(columns=b"\0" * 64),
        message(columns=7),
        msgspec.msgpack.encode([2, "id"]),
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
        assert read.columns.shape == (6, len(read.event_ns))
