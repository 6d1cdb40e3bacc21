"""Published bytes to checked messages: first the head, which tells whether the rest is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from stream.client.events import Key
from stream.errors import WireError


class Head(msgspec.Struct, frozen=True):
    """What places a snapshot among the others of its code."""

    code: Annotated[str, msgspec.Meta(min_length=1)]
    epoch: Annotated[int, msgspec.Meta(ge=0)]
    seq: Annotated[int, msgspec.Meta(ge=1)]
    v: Literal[1] = 1

    @property
    def key(self) -> Key:
        """Epoch and number."""
        return (self.epoch, self.seq)


@dataclass(frozen=True, slots=True)
class Message:
    """A snapshot that follows the contract.

    Attributes
    ----------
    code, key
        From its head.
    level, fields
        Its numbers, exact.
    data
        As published.
    """

    code: str
    key: Key
    level: Decimal
    fields: dict[str, Any]
    data: bytes


#: What bytes can do to the decoders; JSON nested a thousand deep is the last.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_HEAD = msgspec.json.Decoder(Head)
_FIELDS = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def split(data: bytes) -> list[bytes]:
    """Take an array of snapshots apart.

    Raises
    ------
    WireError
        Where it is no array.
    """
    try:
        return [bytes(member) for member in _ARRAY.decode(data)]
    except _UNREADABLE as error:
        raise WireError(f"expected an array of snapshots: {error}") from error


def read_head(data: bytes) -> Head:
    """Read what a snapshot is told apart by.

    Raises
    ------
    WireError
        Where `code`, `epoch` or `seq` is missing or wrong, or the version is another.
    """
    try:
        return _HEAD.decode(data)
    except _UNREADABLE as error:
        raise WireError(f"expected a snapshot: {error}") from error


def read_message(head: Head, data: bytes) -> Message:
    """Read the rest of a snapshot.

    Raises
    ------
    WireError
        Where it is no JSON, or its level no number.

    Examples
    --------
    >>> data = b'{"code":"US1000","epoch":1,"seq":2,"level":1000.10000000}'
    >>> read_message(read_head(data), data).level
    Decimal('1000.10000000')
    """
    try:
        fields = _FIELDS.decode(data)
    except _UNREADABLE as error:
        raise WireError(f"expected a snapshot: {error}") from error
    level = fields.get("level")
    if isinstance(level, bool) or not isinstance(level, Decimal | int):
        raise WireError(f"expected a snapshot: its level is no number but {level!r}")
    return Message(head.code, head.key, Decimal(level), fields, data)
