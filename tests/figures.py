"""Partials with some figures of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stream.index.partial import DOWN, PRICED, PRICED_REFERENCE, UP, VALUE, Partial

COLUMNS = {
    "value": VALUE,
    "priced": PRICED,
    "up": UP,
    "down": DOWN,
    "priced_reference": PRICED_REFERENCE,
}


def with_figures(partial: Partial, **figures: Any) -> Partial:
    """Give a partial with other figures: columns by their names, or any field."""
    columns = partial.columns.copy()
    for name in COLUMNS.keys() & figures.keys():
        columns[COLUMNS[name]] = figures.pop(name)
    return replace(partial, **{"columns": columns, **figures})
