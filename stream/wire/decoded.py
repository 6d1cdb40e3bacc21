"""What a decoder makes of some messages: the good ticks as columns, and an account of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.index.control import Control
from stream.index.lines import Frames
from stream.index.ticks import Ticks


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message, or one tick of it, that does not follow the contract.

    Attributes
    ----------
    message
        Position of the message among those decoded.
    element
        Position of the tick in an array or frame, or None where the whole message is meant.
    detail
        What was expected, what was found, where.
    """

    message: int
    element: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The contents of a sequence of messages, in their order.

    Attributes
    ----------
    ticks
        The well-formed ones.
    message, element
        int64, shape (n_ticks,): position of the message that each tick came in, and of the tick in its message.
    source
        uint32, shape (n_ticks,): names the line that brought each tick.
    malformed
        What could not be read; each counts as one tick.
    controls
        Control records, each with the position of its message.
    unknown_conditions
        How often each sale condition came that is not in the table.
    frames
        Headers of the frames that could be read.
    """

    ticks: Ticks
    message: NDArray[np.int64]
    element: NDArray[np.int64]
    source: NDArray[np.uint32]
    malformed: list[Malformed] = field(default_factory=list)
    controls: list[tuple[int, Control]] = field(default_factory=list)
    unknown_conditions: Counter[str] = field(default_factory=Counter)
    frames: Frames = field(default_factory=Frames.none)


def concatenate(parts: Sequence[Decoded]) -> Decoded:
    """Join the contents of consecutive runs of messages; message positions count from the first run on."""
    if len(parts) == 1:
        return parts[0]
    controls: list[tuple[int, Control]] = []
    unknown: Counter[str] = Counter()
    for part in parts:
        controls += part.controls
        unknown += part.unknown_conditions
    names = ("row", "price", "ts", "seq", "cond", "kind", "recorded", "size", "venue")
    columns = [np.concatenate([getattr(part.ticks, name) for part in parts]) for name in names]
    headers = [
        np.concatenate([getattr(part.frames, name) for part in parts])
        for name in ("message", "source", "seq")
    ]
    return Decoded(
        ticks=Ticks(*columns),
        message=np.concatenate([part.message for part in parts]),
        element=np.concatenate([part.element for part in parts]),
        source=np.concatenate([part.source for part in parts]),
        malformed=[fault for part in parts for fault in part.malformed],
        controls=controls,
        unknown_conditions=unknown,
        frames=Frames(*headers),
    )


def no_ticks(malformed: list[Malformed], frames: Frames | None = None) -> Decoded:
    """Give an account of messages that hold no good tick."""
    ticks = Ticks(
        row=np.zeros(0, np.int32),
        price=np.zeros(0, np.int64),
        ts=np.zeros(0, np.int64),
        seq=np.zeros(0, np.uint64),
        cond=np.zeros(0, np.uint16),
        kind=np.zeros(0, np.uint8),
        recorded=np.zeros(0, np.int64),
        size=np.zeros(0, np.uint32),
        venue=np.zeros(0, np.uint8),
    )
    none = np.zeros(0, np.int64)
    return Decoded(
        ticks, none, none, np.zeros(0, np.uint32), malformed, frames=frames or Frames.none()
    )
