"""Partials on their topic: internal, versioned (`formats.md`, Kafka topics)."""

from __future__ import annotations

import msgspec
import numpy as np

from stream.errors import WireError
from stream.index.partial import Origin, Partial

VERSION = 1

_NUMBERS = np.dtype("<i8")
_COLUMNS = ("value", "priced", "up", "down", "priced_reference", "event_ns")


class _Wire(msgspec.Struct, array_like=True):
    version: int
    composition: str
    offsets: dict[int, int]
    origin: int
    columns: bytes
    touched: bytes


_decoder = msgspec.msgpack.Decoder(_Wire)
_encoder = msgspec.msgpack.Encoder()


def encode(partial: Partial) -> bytes:
    """Write a partial."""
    columns = b"".join(
        getattr(partial, name).astype(_NUMBERS, copy=False).tobytes() for name in _COLUMNS
    )
    return _encoder.encode(
        _Wire(
            VERSION,
            partial.composition,
            dict(partial.offsets),
            int(partial.origin),
            columns,
            partial.touched.tobytes(),
        )
    )


def decode(message: bytes) -> Partial:
    """Read a partial.

    Raises
    ------
    WireError
        Where it is not one of this version.
    """
    try:
        wire = _decoder.decode(message)
        if wire.version != VERSION:
            raise WireError(f"partial: expected version {VERSION}, found {wire.version}")
        columns = np.frombuffer(wire.columns, _NUMBERS).reshape(len(_COLUMNS), -1)
        return Partial(
            composition=wire.composition,
            offsets=wire.offsets,
            origin=Origin(wire.origin),
            touched=np.frombuffer(wire.touched, np.uint8),
            **dict(zip(_COLUMNS, columns, strict=True)),
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise WireError(f"partial: {error}") from error
