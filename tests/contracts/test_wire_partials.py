"""Partials on their topic: what is read is what was written, and nothing else is taken for one."""

from __future__ import annotations

from dataclasses import fields

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import WireError
from stream.index.partial import Origin, Partial
from stream.wire import partials

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def drawn(draw: st.DrawFn) -> Partial:
    """Draw a partial of any number of indexes and rows."""
    n = draw(st.integers(1, 4))
    columns = [np.array(draw(st.lists(INT64, min_size=n, max_size=n)), np.int64) for _ in range(6)]
    return Partial(
        composition=draw(st.text(max_size=30)),
        offsets=draw(st.dictionaries(st.integers(0, 2**31), st.integers(0, 2**63), max_size=3)),
        origin=draw(st.sampled_from(Origin)),
        columns=np.array(columns[:5]),
        event_ns=columns[5],
        touched=np.frombuffer(draw(st.binary(max_size=9)), np.uint8),
    )


@given(drawn())
def test_a_partial_is_read_as_it_was_written(partial: Partial) -> None:
    """Every integer, the offsets, the origin and the composition."""
    read = partials.decode(partials.encode(partial))

    for field in fields(Partial):
        before, after = getattr(partial, field.name), getattr(read, field.name)
        assert type(after) is type(before)
        if isinstance(before, np.ndarray):
            assert (after.dtype, after.tolist()) == (before.dtype, before.tolist())
        else:
            assert after == before


def message(*, version: object = 1, origin: object = 0, columns: object = b"\0" * 48) -> bytes:
    return msgspec.msgpack.encode([version, "id", {0: 1}, origin, columns, b"\0"])


def test_the_form_is_the_one_that_older_workers_wrote() -> None:
    """Version 1: a list of version, composition, offsets, origin, six columns of int64, and the touched rows."""
    columns = np.arange(12).astype("<i8").tobytes()

    partial = partials.decode(
        msgspec.msgpack.encode([1, "2026-07-17-abc", {3: 77}, 2, columns, b"\x80"])
    )

    assert (partial.composition, partial.offsets) == ("2026-07-17-abc", {3: 77})
    assert partial.origin is Origin.SIMULATED
    assert (partial.value.tolist(), partial.priced.tolist()) == ([0, 1], [2, 3])
    assert (partial.up.tolist(), partial.down.tolist()) == ([4, 5], [6, 7])
    assert partial.priced_reference.tolist() == [8, 9]
    assert partial.event_ns.tolist() == [10, 11]
    assert partial.touched.tolist() == [128]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\xc1",
        message()[:-1],
        message(version=2),
        message(version="1"),
        message(origin=9),
        message(columns=b"\0" * 47),
        message(columns=b"\0" * 56),
        message(columns=7),
        msgspec.msgpack.encode([1, "id"]),
        message().replace(b"id", b"\xff\xff"),
    ],
)
def test_what_is_no_partial_of_this_version_is_a_wire_error(value: bytes) -> None:
    """No other exception leaves the decoder."""
    with pytest.raises(WireError, match="partial"):
        partials.decode(value)
