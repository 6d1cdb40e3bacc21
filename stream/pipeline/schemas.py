"""How Faust sees our topics: bytes and objects as they are, since encoding is the wire's business."""

from __future__ import annotations

from typing import Any

import faust

from stream.errors import WireError
from stream.index.partial import Partial
from stream.wire import partials


class AsFetched(faust.Schema[Any, Any]):
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


#: What travels from books to the aggregator: partials of one partition each.
Partials = tuple[Partial, ...]


class PartialsSchema(AsFetched):
    """Partials on their topic, one a record; records of other kinds, such as claims, hold none."""

    def loads_value(self, app: Any, message: Any, **_: Any) -> Partials:
        """Read a record; one that this version does not know holds no partial."""
        try:
            return (partials.decode(message.value),) if message.value else ()
        except WireError:
            return ()

    def dumps_value(self, app: Any, value: Any, *, headers: Any, **_: Any) -> tuple[Any, Any]:
        """Write the one partial of a record."""
        (partial,) = value
        return partials.encode(partial), headers
