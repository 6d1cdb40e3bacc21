"""Checkpoints on their topic: a whole book, or the aggregator's memory, with the offset it stands for (laws 4 and 6).

Internal and versioned. Keys carry the owner's epoch, so that a writer that was paused and wakes up late cannot replace what
its successor wrote: `book/{epoch}`, `aggregator/{epoch}`, and `claim` for the records whose offsets are the epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import WireError
from stream.index.book import BookState
from stream.index.kept import KEPT, KEPT_PRINT
from stream.index.layer import DETAIL
from stream.index.partial import Origin
from stream.index.prints import Prints

VERSION = 2

CLAIM_KEY = b"claim"
BOOK = "book"
AGGREGATOR = "aggregator"

_I8, _U8 = np.dtype("<i8"), np.dtype("<u8")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A book as it stood, and what else its partition's log has told.

    Attributes
    ----------
    state
        Of the book.
    topic, partitions
        The ticks topic, and how many partitions it had.
    lines
        Of the gap counters.
    """

    state: BookState
    topic: str
    partitions: int
    lines: Any = None


@dataclass(frozen=True, slots=True)
class AggregatorState:
    """What an aggregator knows beyond the newest partials.

    Attributes
    ----------
    partials_offset
        Offset of the next record of the partials topic: all before it is contained.
    partials
        Newest partial of each partition, encoded.
    levels_offset
        Offset of a record of the levels topic: the extremes of all before it are contained.
    extremes
        Session, open, high and low of each index, as `Extremes.by_code`.
    """

    partials_offset: int = 0
    partials: tuple[bytes, ...] = ()
    levels_offset: int = 0
    extremes: Mapping[str, tuple[str, int, int, int]] = field(default_factory=dict)


class _Book(msgspec.Struct, array_like=True):
    version: int
    composition: str
    session: str
    starts_ns: int
    ends_ns: int
    topic: str
    partition: int
    partitions: int
    offset: int
    control: int
    origin: int
    rows: bytes
    price: bytes
    ts: bytes
    seq: bytes
    details: bytes
    kept: bytes
    close: bytes
    next_rows: bytes
    next_price: bytes
    next_ts: bytes
    next_seq: bytes
    next_details: bytes
    next_kept: bytes
    excluded: bytes
    refused: bytes
    bound_rows: bytes
    bounds: bytes
    lines: Any


class _Aggregator(msgspec.Struct, array_like=True):
    version: int
    partials_offset: int
    partials: tuple[bytes, ...]
    levels_offset: int
    # Levels as text: one in 10^-8 points may be wider than the 64 bits that msgpack has.
    extremes: dict[str, tuple[str, str, str, str]]


_encode = msgspec.msgpack.Encoder().encode
_decode_book = msgspec.msgpack.Decoder(_Book).decode
_decode_aggregator = msgspec.msgpack.Decoder(_Aggregator).decode


def key(kind: str, epoch: int) -> bytes:
    """Give the key under which an owner writes.

    Examples
    --------
    >>> key(BOOK, 17)
    b'book/17'
    """
    return f"{kind}/{epoch}".encode()


def encode(checkpoint: Checkpoint) -> bytes:
    """Write a checkpoint."""
    state = checkpoint.state
    return _encode(
        _Book(
            version=VERSION,
            composition=state.composition,
            session=state.session,
            starts_ns=state.starts_ns,
            ends_ns=state.ends_ns,
            topic=checkpoint.topic,
            partition=state.partition,
            partitions=checkpoint.partitions,
            offset=state.offset,
            control=state.control,
            origin=int(state.origin),
            rows=_signed(state.rows),
            price=_signed(state.prints.price),
            ts=_signed(state.prints.ts),
            seq=state.prints.seq.astype(_U8, copy=False).tobytes(),
            details=state.details.tobytes(),
            kept=state.kept.tobytes(),
            close=_signed(state.close),
            next_rows=_signed(state.next_rows),
            next_price=_signed(state.next_prints.price),
            next_ts=_signed(state.next_prints.ts),
            next_seq=state.next_prints.seq.astype(_U8, copy=False).tobytes(),
            next_details=state.next_details.tobytes(),
            next_kept=state.next_kept.tobytes(),
            excluded=_signed(state.excluded),
            refused=_signed(state.refused),
            bound_rows=_signed(state.bound_rows),
            bounds=_signed(state.bounds),
            lines=checkpoint.lines,
        )
    )


def decode(message: bytes) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    WireError
        Where it is not one of this version.
    """
    try:
        _check_version("checkpoint", message)
        wire = _decode_book(message)
        return Checkpoint(
            state=BookState(
                composition=wire.composition,
                session=wire.session,
                starts_ns=wire.starts_ns,
                ends_ns=wire.ends_ns,
                partition=wire.partition,
                offset=wire.offset,
                control=wire.control,
                origin=Origin(wire.origin),
                rows=_numbers(wire.rows),
                prints=_prints(wire.price, wire.ts, wire.seq),
                details=np.frombuffer(wire.details, DETAIL),
                kept=_kept(wire.kept),
                close=_numbers(wire.close),
                next_rows=_numbers(wire.next_rows),
                next_prints=_prints(wire.next_price, wire.next_ts, wire.next_seq),
                next_details=np.frombuffer(wire.next_details, DETAIL),
                next_kept=_kept(wire.next_kept),
                excluded=_numbers(wire.excluded),
                refused=_numbers(wire.refused),
                bound_rows=_numbers(wire.bound_rows),
                bounds=_numbers(wire.bounds),
            ),
            topic=wire.topic,
            partitions=wire.partitions,
            lines=wire.lines,
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"checkpoint: {error}") from error


def encode_aggregator(state: AggregatorState) -> bytes:
    """Write what an aggregator knows."""
    extremes = {
        code: (session, str(opened), str(high), str(low))
        for code, (session, opened, high, low) in state.extremes.items()
    }
    return _encode(
        _Aggregator(VERSION, state.partials_offset, state.partials, state.levels_offset, extremes)
    )


def decode_aggregator(message: bytes) -> AggregatorState:
    """Read what an aggregator knew.

    Raises
    ------
    WireError
        Where it is not one of this version.
    """
    try:
        _check_version("aggregator state", message)
        wire = _decode_aggregator(message)
        extremes = {
            code: (session, int(opened), int(high), int(low))
            for code, (session, opened, high, low) in wire.extremes.items()
        }
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"aggregator state: {error}") from error
    return AggregatorState(wire.partials_offset, wire.partials, wire.levels_offset, extremes)


def _check_version(what: str, message: bytes) -> None:
    found = msgspec.msgpack.decode(message)
    version = found[0] if isinstance(found, list) and found else None
    if version != VERSION:
        raise WireError(f"{what}: expected version {VERSION}, found {version!r}")


def _signed(numbers: NDArray[np.int64]) -> bytes:
    return numbers.astype(_I8, copy=False).tobytes()


def _numbers(data: bytes) -> NDArray[np.int64]:
    return np.frombuffer(data, _I8)


def _kept(data: bytes) -> NDArray[np.void]:
    return np.frombuffer(data, KEPT_PRINT).reshape(-1, KEPT)


def _prints(price: bytes, ts: bytes, seq: bytes) -> Prints:
    return Prints(_numbers(price), _numbers(ts), np.frombuffer(seq, _U8))
