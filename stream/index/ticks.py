"""A batch of ticks as columns, and the reasons for which a tick is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

#: Row of a tick whose symbol no instrument has.
UNKNOWN_ROW = -1


class Kind(IntEnum):
    """What a tick reports (`formats.md`, Kafka topics)."""

    TRADE = 0
    CANCEL = 1
    CORRECTION = 2
    QUOTE_MID = 3
    HALT = 4
    RESUME = 5
    OFFICIAL_OPEN = 6
    OFFICIAL_CLOSE = 7


class Verdict(IntEnum):
    """What became of a tick: applied, or the one reason for which it was refused (law 9)."""

    APPLIED = 0
    WRONG_PARTITION = 1
    UNKNOWN_SYMBOL = 2
    FUTURE = 3
    INELIGIBLE = 4
    UNMATCHED = 5
    OUT_OF_BOUNDS = 6
    OLDER = 7
    DUPLICATE = 8
    SUSPECT = 9

    @property
    def reason(self) -> str:
        """Its name outside: in metrics, summaries and dead letters."""
        return self.name.lower()


#: Verdicts whose ticks are kept as dead letters; the rest can be found again in the log.
DEAD_LETTER_VERDICTS = (Verdict.WRONG_PARTITION, Verdict.UNKNOWN_SYMBOL, Verdict.FUTURE)


class Condition:
    """Bits of the sale conditions, as in binary frames (`formats.md`, Sale conditions)."""

    REGULAR = 1
    ODD_LOT = 2
    AVERAGE_PRICE = 4
    DERIVATIVE = 8
    OUT_OF_SEQUENCE = 16
    EXTENDED = 32
    OPENING = 64
    CLOSING = 128
    REOPENING = 256
    NOT_REGULAR_WAY = 512
    SWEEP = 1024
    OFFICIAL_OPEN = 2048
    OFFICIAL_CLOSE = 4096
    PRIOR_REFERENCE = 8192
    CONTINGENT = 16384
    UNKNOWN = 32768


#: A print sets the last price in regular hours only if it has no other bit than these.
REGULAR_HOURS_CONDITIONS = (
    Condition.REGULAR
    | Condition.OPENING
    | Condition.CLOSING
    | Condition.REOPENING
    | Condition.SWEEP
)

#: A print sets the extended price outside regular hours only if it has no other bit than these.
EXTENDED_HOURS_CONDITIONS = REGULAR_HOURS_CONDITIONS | Condition.EXTENDED

#: A print of the primary exchange with one of these sets an official price, whatever it does to the last price.
OFFICIAL_CONDITIONS = (
    Condition.OPENING | Condition.CLOSING | Condition.OFFICIAL_OPEN | Condition.OFFICIAL_CLOSE
)


@dataclass(frozen=True, slots=True)
class Ticks:
    """Well-formed ticks in the order of their log; every array has shape (n,).

    Attributes
    ----------
    row
        int32: the instrument's row, or UNKNOWN_ROW.
    price
        int64: 1/10000 dollar, positive.
    ts
        int64: event time, ns since 1970 UTC.
    seq
        uint64: the tape's own number, 0 where it has none.
    cond
        uint16: bits of `Condition`.
    kind
        uint8: a `Kind`.
    recorded
        int64: timestamp of the Kafka record that carried the tick, ns since 1970 UTC.
    size
        uint32: shares or contracts.
    venue
        uint8: ASCII letter of the exchange, 0 where none is given.
    """

    row: NDArray[np.int32]
    price: NDArray[np.int64]
    ts: NDArray[np.int64]
    seq: NDArray[np.uint64]
    cond: NDArray[np.uint16]
    kind: NDArray[np.uint8]
    recorded: NDArray[np.int64]
    size: NDArray[np.uint32]
    venue: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Ticks:
        """Give some of the ticks, in the order asked for."""
        return Ticks(
            self.row[which],
            self.price[which],
            self.ts[which],
            self.seq[which],
            self.cond[which],
            self.kind[which],
            self.recorded[which],
            self.size[which],
            self.venue[which],
        )
