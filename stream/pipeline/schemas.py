"""How Faust sees our topics: bytes and objects as they are, since encoding is the wire's business."""

from __future__ import annotations

from typing import Any

import faust

from stream.errors import WireError
from stream.index.partial import Partial
from stream.wire import partials


class AsFetched(faust.Schema):
    """Hands on what the transport delivers."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        """Give the key as it came."""
        return message.key

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        """Give the value as it came."""
        return message.value

    def dumps_key(self, app: Any, key: Any, *, headers: Any, **_: Any) -> tuple[Any, Any]:
        """Give the key as it is."""
        return key, headers

    def dumps_value(self, app: Any, value: Any, *, headers: Any, **_: Any) -> tuple[Any, Any]:
        """Give the value as it is."""
        return value, headers


class PartialSchema(AsFetched):
    """Partials on their topic; records of other kinds, such as claims, become None."""

    def loads_value(self, app: Any, message: Any, **_: Any) -> Partial | None:
        """Read a partial, or None where the record is none that this version knows."""
        try:
            return partials.decode(message.value) if message.value else None
        except WireError:
            return None

    def dumps_value(self, app: Any, value: Any, *, headers: Any, **_: Any) -> tuple[Any, Any]:
        """Write a partial; bytes stay as they are."""
        return (partials.encode(value) if isinstance(value, Partial) else value), headers
