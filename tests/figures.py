"""Partials and books as plain numbers: what they hold, compared with a ledger's, and partials with figures of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from oracle import Ledger, Newest
from stream.index.book import Book, BookState, Prints
from stream.index.partial import CLOSE, DOWN, PRICED, PRICED_REFERENCE, UP, VALUE, Partial

COLUMNS = {
    "value": VALUE,
    "priced": PRICED,
    "up": UP,
    "down": DOWN,
    "priced_reference": PRICED_REFERENCE,
    "close": CLOSE,
}


def with_figures(partial: Partial, **figures: Any) -> Partial:
    """Give a partial with other figures: columns by their names, or any field."""
    columns = partial.columns.copy()
    for name in COLUMNS.keys() & figures.keys():
        columns[COLUMNS[name]] = figures.pop(name)
    return replace(partial, **{"columns": columns, **figures})


def figures_of(partial: Partial) -> list[dict[str, int]]:
    """Write a partial's integers as the ledger writes its own, index by index."""
    columns = {name: partial.columns[row].tolist() for name, row in COLUMNS.items()}
    columns["event_ns"] = partial.event_ns.tolist()
    return [{name: columns[name][i] for name in columns} for i in range(len(partial.event_ns))]


def state_of(book: Book) -> dict[str, Any]:
    """Write what a book knows as the ledger writes its own."""
    state = book.state()
    rows = state.rows.tolist()
    newest = dict(zip(rows, _lines(state.prints), strict=True))
    return {
        "composition": state.composition,
        "session": (state.session, state.starts_ns, state.ends_ns),
        "partition": state.partition,
        "number": state.control,
        "origin": state.origin.name.lower(),
        "newest": {row: one for row, one in newest.items() if one[0] != -1},
        "waiting": dict(zip(state.next_rows.tolist(), _lines(state.next_prints), strict=True)),
        "close": _closes(book, state),
        "bound": dict(zip(state.bound_rows.tolist(), state.bounds.tolist(), strict=True)),
        "excluded": set(state.excluded.tolist()),
        "refused": set(state.refused.tolist()),
    }


def _lines(prints: Prints) -> list[Newest]:
    columns = (prints.ts.tolist(), prints.seq.tolist(), prints.price.tolist())
    return list(zip(*columns, strict=True))


def _closes(book: Book, state: BookState) -> Mapping[int, int]:
    reference = book.composition.reference_price
    closes = zip(state.rows.tolist(), state.close.tolist(), strict=True)
    return {row: close for row, close in closes if close != reference[row]}


def assert_same(book: Book, ledger: Ledger) -> None:
    """Compare everything: what the book knows, and what it adds up to."""
    assert state_of(book) == ledger.state()
    partial = book.partial()
    assert figures_of(partial) == ledger.figures()
    touched = np.unpackbits(partial.touched, count=len(ledger.world.lines))
    assert np.flatnonzero(touched).tolist() == sorted(ledger.newest)
    assert partial.standing == (ledger.composition, ledger.session)
    assert (partial.control, partial.origin.name.lower()) == (ledger.number, ledger.origin)
