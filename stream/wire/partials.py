"""Partials on their topic: internal, versioned (`formats.md`, Kafka topics)."""

from __future__ import annotations

import msgspec
import numpy as np

from stream.errors import WireError
from stream.index.partial import N_COLUMNS, N_FUTURES_COLUMNS, Origin, Partial

VERSION = 3

_NUMBERS = np.dtype("<i8")


class _Wire(msgspec.Struct, array_like=True):
    version: int
    composition: str
    session: str
    offsets: dict[int, int]
    control: int
    origin: int
    columns: bytes
    clock_ns: int
    futures: bytes
    touched: bytes


_decoder = msgspec.msgpack.Decoder(_Wire)
_encoder = msgspec.msgpack.Encoder()


def encode(partial: Partial) -> bytes:
    """Write a partial."""
    return _encoder.encode(
        _Wire(
            VERSION,
            partial.composition,
            partial.session,
            dict(partial.offsets),
            partial.control,
            int(partial.origin),
            np.vstack((partial.columns, partial.event_ns, partial.oldest_ns))
            .astype(_NUMBERS, copy=False)
            .tobytes(),
            partial.clock_ns,
            partial.futures.astype(_NUMBERS, copy=False).tobytes(),
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
        columns = np.frombuffer(wire.columns, _NUMBERS).reshape(N_COLUMNS + 2, -1)
        return Partial(
            composition=wire.composition,
            session=wire.session,
            offsets=wire.offsets,
            control=wire.control,
            origin=Origin(wire.origin),
            columns=columns[:N_COLUMNS],
            event_ns=columns[N_COLUMNS],
            oldest_ns=columns[N_COLUMNS + 1],
            clock_ns=wire.clock_ns,
            futures=np.frombuffer(wire.futures, _NUMBERS).reshape(N_FUTURES_COLUMNS, -1),
            touched=np.frombuffer(wire.touched, np.uint8),
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise WireError(f"partial: {error}") from error
