"""A published level as it was kept: what it says, digit by digit, and what it takes to compute it again."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import orjson

from stream.archive.source import LogRecord
from stream.errors import WireError
from stream.index.snapshot import Snapshot
from stream.index.units import LEVEL_DECIMALS
from stream.wire.snapshots import snapshot_fields

#: What only the publisher knows: his clock and his counters. No log says these, so they are not computed again.
PUBLISHERS_OWN = frozenset(
    ("epoch", "seq", "published_ns", "offsets", "code_version"),
)

#: Of a session's published levels: compared with these, not with the ticks.
EXTREMES = ("open", "high", "low")


class Audit(msgspec.Struct, frozen=True):
    """What a kept level says of its own making.

    Attributes
    ----------
    code
        Of the index.
    epoch, seq, published_ns
        Of the publication.
    offsets
        For each tick partition, the offset of the next record: all before it is in the level.
    composition
        Id of that which was in force.
    session
        Trade date, or None before the first.
    status
        As published.
    code_version
        Of the program that published it.
    """

    code: str
    epoch: int
    seq: int
    published_ns: int
    offsets: dict[int, int]
    composition: str
    session: str | None = None
    status: str = ""
    code_version: str = ""

    @property
    def stale(self) -> bool:
        """Whether prices were in doubt that make it, or none had come for longer than they should."""
        return self.status == "stale"

    @property
    def held(self) -> bool:
        """Whether it repeats an earlier level, because the present one was in doubt."""
        return self.status == "held"


_decode_audit = msgspec.json.Decoder(Audit).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Published:
    """One record of the topic `levels`.

    Attributes
    ----------
    offset
        Its place in the topic.
    audit
        What it takes to compute it again.
    value
        The record's bytes.
    """

    offset: int
    audit: Audit
    value: bytes

    def fields(self) -> dict[str, bytes]:
        """Give every field as it is written, to the last digit."""
        return _as_written(self.value)


def read_published(record: LogRecord) -> Published:
    """Read a record of the topic `levels`.

    Raises
    ------
    WireError
        Where it is none.
    """
    value = record.value or b""
    try:
        return Published(record.offset, _decode_audit(value), value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"record {record.offset} of levels: {error}") from error


def recomputed_fields(snapshot: Snapshot) -> dict[str, bytes]:
    """Write a snapshot that was computed again, field by field, as the publisher would."""
    return _as_written(orjson.dumps(snapshot_fields(snapshot)))


def points(text: bytes | None) -> int | None:
    """Read a level, in 10^-8 index points, or give None where it is not written with its 8 places.

    Examples
    --------
    >>> points(b"1005.83333333"), points(b"1e3"), points(None)
    (100583333333, None, None)
    """
    whole, _, places = (text or b"").partition(b".")
    digits = whole + places
    return int(digits) if whole and len(places) == LEVEL_DECIMALS and digits.isdigit() else None


def _as_written(value: bytes) -> dict[str, bytes]:
    return {name: bytes(raw) for name, raw in _decode_fields(value).items()}
