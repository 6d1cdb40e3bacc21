"""Any message of the ticks topic, told apart by its first bytes (`formats.md`, Kafka topics)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from stream.errors import WireError
from stream.index.lines import Frames
from stream.wire import control, frames, ticks_json
from stream.wire.decoded import Decoded, Malformed, concatenate, no_ticks
from stream.wire.symbols import SymbolTable

_Decode = Callable[[Sequence[bytes], NDArray[np.int64], SymbolTable], Decoded]


def decode_messages(
    messages: Sequence[bytes | None], recorded_ms: NDArray[np.int64], symbols: SymbolTable
) -> Decoded:
    """Decode messages of any kind, in the order of their log.

    Parameters
    ----------
    messages
        Values of Kafka records; None for a tombstone.
    recorded_ms
        int64, shape (n_messages,): timestamps of the records, ms since 1970 UTC.
    symbols
        Rows by symbol.

    Returns
    -------
    Decoded
        Nothing in a message raises: what does not follow the contract is listed as malformed.

    Notes
    -----
    Messages that are all single JSON ticks, the usual case, are decoded at once; else runs of one kind together.
    """
    if not messages:
        return _none([], recorded_ms, symbols)
    uniform = ticks_json.decode_uniform(messages, recorded_ms, symbols)
    if uniform is not None:
        return uniform
    parts: list[Decoded] = []
    start = 0
    for decode, run in groupby(map(_decoder_of, messages)):
        stop = start + sum(1 for _ in run)
        part = decode(messages[start:stop], recorded_ms[start:stop], symbols)  # type: ignore[arg-type]
        parts.append(_shifted(part, start) if start else part)
        start = stop
    return concatenate(parts)


def _decoder_of(message: bytes | None) -> _Decode:
    head = message[:4] if message else b""
    if head[:1] in (b"{", b"["):
        return ticks_json.decode
    if head == frames.MAGIC:
        return frames.decode
    return _controls if head == control.MAGIC else _none


def _controls(
    messages: Sequence[bytes], recorded_ms: NDArray[np.int64], symbols: SymbolTable
) -> Decoded:
    decoded = _none([], recorded_ms, symbols)
    for number, message in enumerate(messages):
        try:
            decoded.controls.append((number, control.decode(message)))
        except WireError as error:
            decoded.malformed.append(Malformed(number, None, str(error)))
    return decoded


def _none(
    messages: Sequence[bytes | None], recorded_ms: NDArray[np.int64], symbols: SymbolTable
) -> Decoded:
    """Give an account of messages that are neither JSON nor a frame nor a control record."""
    del recorded_ms, symbols
    malformed = [
        Malformed(
            number,
            None,
            f"Expected JSON, TICK or CTRL, got {message[:8]!r}" if message else "empty message",
        )
        for number, message in enumerate(messages)
    ]
    return no_ticks(malformed)


def _shifted(part: Decoded, by: int) -> Decoded:
    return Decoded(
        part.ticks,
        part.message + by,
        part.element,
        part.source,
        [Malformed(fault.message + by, fault.element, fault.detail) for fault in part.malformed],
        [(number + by, control) for number, control in part.controls],
        part.unknown_conditions,
        Frames(part.frames.message + by, part.frames.source, part.frames.seq),
    )
