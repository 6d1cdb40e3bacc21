"""Control records: what a feed or an operator says in a tick partition's own log (`design.md`, law 5)."""

from __future__ import annotations

from typing import Literal

import msgspec

from stream.errors import WireError

MAGIC = b"CTRL"


class OriginRecord(msgspec.Struct, frozen=True, tag_field="type", tag="origin"):
    """The ticks that follow come from this kind of feed, so levels made of them must say so.

    Attributes
    ----------
    origin
        `replay` or `simulated`; a live feed says nothing.
    """

    origin: Literal["live", "replay", "simulated"]


Control = OriginRecord


class _Tagged(msgspec.Struct):
    """A single struct's tag is optional to msgspec; ours is not."""

    type: str


_decode = msgspec.json.Decoder(Control).decode
_check_tag = msgspec.json.Decoder(_Tagged).decode
_encode = msgspec.json.Encoder().encode


def decode(message: bytes) -> Control:
    """Read a control record.

    Raises
    ------
    WireError
        Where it is not one that this version knows.
    """
    text = message[len(MAGIC) :]
    try:
        _check_tag(text)
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise WireError(f"control record: {error}") from error


def encode(control: Control) -> bytes:
    """Write a control record."""
    return MAGIC + _encode(control)
