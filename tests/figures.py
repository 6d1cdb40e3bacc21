"""Partials and books as plain numbers: what they hold, compared with a ledger's, and partials with figures of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from oracle import COLUMN_NAMES, NOTHING, Held, Kept, Ledger, Newest, Official
from stream.index import partial as columns_of
from stream.index.book import Book, BookState
from stream.index.partial import NO_EVENT, STALE, Partial

#: Number of each column by its name.
COLUMNS = {name: getattr(columns_of, name.upper()) for name in (*COLUMN_NAMES, "stale")}


def with_figures(partial: Partial, **figures: Any) -> Partial:
    """Give a partial with other figures: columns by their names, or any field."""
    columns = partial.columns.copy()
    for name in COLUMNS.keys() & figures.keys():
        columns[COLUMNS[name]] = figures.pop(name)
    return replace(partial, **{"columns": columns, **figures})


def without_stale(partial: Partial) -> Partial:
    """Give a partial that tells nothing of staleness, which follows the clock of each log."""
    return with_figures(partial, stale=np.zeros_like(partial.columns[STALE]))


def figures_of(partial: Partial) -> list[dict[str, int]]:
    """Write a partial's integers as the ledger writes its own, index by index."""
    columns = {name: partial.columns[row].tolist() for name, row in COLUMNS.items()}
    columns["event_ns"] = partial.event_ns.tolist()
    columns["oldest_ns"] = partial.oldest_ns.tolist()
    return [{name: columns[name][i] for name in columns} for i in range(len(partial.event_ns))]


def state_of(book: Book) -> dict[str, Any]:
    """Write what a book knows as the ledger writes its own."""
    state = book.state()
    return {
        "composition": state.composition,
        "session": (state.session, state.starts_ns, state.ends_ns),
        "partition": state.partition,
        "number": state.control,
        "origin": state.origin.name.lower(),
        "now": _now(book, state),
        "later": _later(book, state),
        "bound": dict(zip(state.bound_rows.tolist(), state.bounds.tolist(), strict=True)),
        "excluded": set(state.excluded.tolist()),
        "refused": set(state.refused.tolist()),
    }


def _now(book: Book, state: BookState) -> dict[int, Held]:
    prints, rows = state.prints, state.rows.tolist()
    told = {
        row: _held(
            book,
            row,
            (prints.ts[i], prints.seq[i], prints.price[i]),
            state.details[i],
            state.kept[i],
        )
        for i, row in enumerate(rows)
    }
    for row, close in zip(rows, state.close.tolist(), strict=True):
        told[row].close = close
    return {row: held for row, held in told.items() if held != _nothing(book, row)}


def _later(book: Book, state: BookState) -> dict[int, Held]:
    prints = state.next_prints
    return {
        row: _held(
            book,
            row,
            (prints.ts[i], prints.seq[i], prints.price[i]),
            state.next_details[i],
            state.next_kept[i],
        )
        for i, row in enumerate(state.next_rows.tolist())
    }


def _nothing(book: Book, row: int) -> Held:
    n_stocks = len(book.composition.universe)
    reference = int(book.composition.reference_price[row]) if row < n_stocks else 0
    return Held(reference, reference)


def _held(book: Book, row: int, last: Newest, detail: np.void, kept: np.ndarray) -> Held:
    fields = dict(zip(detail.dtype.names or (), detail.tolist(), strict=True))
    ts, seq, price = (int(number) for number in last)
    held = replace(
        _nothing(book, row),
        price=price,
        ts=ts,
        seq=seq,
        extended=_known(fields, "extended", NOTHING),
        suspect=_known(fields, "suspect", NOTHING),
        halted=fields["halted"],
        halt_ts=fields["halt_ts"],
        exempt=fields["exempt"],
        kept=[
            Kept(one["ts"], one["seq"], one["price"], one["size"], one["extended"], one["dead"])
            for one in (dict(zip(kept.dtype.names or (), k.tolist(), strict=True)) for k in kept)
            if one["price"]
        ],
    )
    if row >= len(book.composition.universe):
        held.cash = (fields["official"], fields["official_ts"])
    else:
        held.opening, held.corrected = fields["opening"], fields["corrected"]
        if fields["official_rank"]:
            held.official = Official(
                fields["official"],
                fields["official_ts"],
                fields["official_rank"],
                late=fields["official_late"],
            )
    held.heard = max(fields["heard_ts"], held.newest)
    return held


def _known(fields: dict[str, Any], name: str, nothing: Newest) -> Newest | None:
    if not fields[name]:
        return None
    known = (fields[f"{name}_ts"], fields[f"{name}_seq"], fields[name])
    return known if known != nothing else None


def assert_same(book: Book, ledger: Ledger) -> None:
    """Compare everything: what the book knows, and what it adds up to."""
    assert state_of(book) == ledger.state()
    partial = book.partial()
    assert_same_sums(partial, ledger)
    touched = np.unpackbits(partial.touched, count=len(ledger.symbols))
    assert np.flatnonzero(touched).tolist() == ledger.touched
    assert partial.standing == (ledger.composition, ledger.session)
    assert (partial.control, partial.origin.name.lower()) == (ledger.number, ledger.origin)
    assert book.confirmed == ledger.confirmed


def assert_same_sums(partial: Partial, ledger: Ledger) -> None:
    """Compare what a partial tells of indexes and contracts."""
    assert figures_of(partial) == ledger.figures()
    assert partial.clock_ns == (ledger.clock if ledger.clock != -1 else NO_EVENT)
    assert partial.futures.T.tolist() == [list(one) for one in ledger.futures()]
