"""Control records as bytes: `CTRL`, then JSON that names its type (`docs/control.md`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from stream.errors import WireError
from stream.index.control import Announcement, Contested, Control, OriginRecord, Override, Roll
from stream.index.units import BOUND_MULTIPLE, INT64_LIMIT
from stream.index.universe import valid_symbol

MAGIC = b"CTRL"

#: 1/10000 dollar; law 1 needs room above it.
HIGHEST_PRICE = INT64_LIMIT // BOUND_MULTIPLE - 1

#: What an operator writes about himself and his reasons is text, not a novel.
LONGEST_TEXT = 500

_TYPES: Mapping[str, type[Any]] = {
    "origin": OriginRecord,
    "roll": Roll,
    "composition": Announcement,
    "contested": Contested,
    "override": Override,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


class _Tagged(msgspec.Struct):
    type: str


_tag_of = msgspec.json.Decoder(_Tagged).decode
_decoders = {name: msgspec.json.Decoder(kind).decode for name, kind in _TYPES.items()}


def decode(message: bytes) -> Control:
    """Read a control record.

    Raises
    ------
    WireError
        Where it is not one that this version knows, or says what cannot be.
    """
    if not message.startswith(MAGIC):
        raise WireError(f"control record: expected {MAGIC!r} first, found {message[:4]!r}")
    text = message[len(MAGIC) :]
    try:
        name = _tag_of(text).type
        if name not in _decoders:
            raise WireError(f"control record: unknown type {name!r}")
        control: Control = _decoders[name](text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise WireError(f"control record: {error}") from error
    _check(control)
    return control


def encode(control: Control) -> bytes:
    """Write a control record."""
    fields = msgspec.to_builtins(control)
    return MAGIC + msgspec.json.encode({"type": _NAMES[type(control)], **fields})


def _check(control: Control) -> None:
    """Refuse what is well-formed, but would spoil a book."""
    if isinstance(control, OriginRecord):
        return
    if not 0 <= control.number < 2**63:
        raise WireError(f"control record: number {control.number}")
    if isinstance(control, Roll):
        _check_roll(control)
    elif isinstance(control, Override):
        _check_override(control)


def _check_roll(roll: Roll) -> None:
    try:
        day = date.fromisoformat(roll.session)
    except ValueError as error:
        raise WireError(f"control record: session {roll.session!r}: expected YYYY-MM-DD") from error
    if day.isoformat() != roll.session:
        raise WireError(f"control record: session {roll.session!r}: expected YYYY-MM-DD")
    if not 0 <= roll.starts_ns < roll.ends_ns < 2**63:
        raise WireError(
            f"control record: session {roll.session} from {roll.starts_ns} to {roll.ends_ns}"
        )


def _check_override(override: Override) -> None:
    if not valid_symbol(override.symbol):
        raise WireError(f"control record: symbol {override.symbol!r}")
    priced = override.action in ("price", "bound")
    if priced and not 0 < override.price <= HIGHEST_PRICE:
        raise WireError(f"control record: {override.action} {override.price}: expected 1 or more")
    if not 0 <= override.ts < 2**63:
        raise WireError(f"control record: ts {override.ts}")
    for name in ("author", "reason"):
        text = getattr(override, name)
        if not text.strip() or len(text) > LONGEST_TEXT:
            raise WireError(
                f"control record: {name}: expected 1 to {LONGEST_TEXT} characters, got {len(text)}"
            )
