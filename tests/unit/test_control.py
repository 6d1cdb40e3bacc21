"""Control records of a tick partition's own log."""

from __future__ import annotations

import pytest

from stream.errors import WireError
from stream.wire import control


@pytest.mark.parametrize("origin", ["live", "replay", "simulated"])
def test_an_origin_record_is_read_as_it_was_written(origin: str) -> None:
    """Four letters that no other message begins with, then JSON."""
    record = control.OriginRecord(origin)  # type: ignore[arg-type]

    message = control.encode(record)

    assert message == b'CTRL{"type":"origin","origin":"' + origin.encode() + b'"}'
    assert control.decode(message) == record


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"{}",
        b"null",
        b'{"type":"origin"}',
        b'{"type":"origin","origin":"dream"}',
        b'{"type":"coffee"}',
        b'{"origin":"live"}',
        b'{"type":"origin","origin":"live"',
        b'{"type":' * 100_000,
        b'{"type":"\xff"}',
        b'{"type":"origin","origin":"\xff"}',
        b"\xff",
    ],
)
def test_what_this_version_does_not_know_is_a_wire_error(rest: bytes) -> None:
    """No other exception leaves the decoder, whatever the bytes."""
    with pytest.raises(WireError, match="control record"):
        control.decode(b"CTRL" + rest)
