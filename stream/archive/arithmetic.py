"""What the fields of one snapshot must be to each other, whatever the prices: all that can be asked of some held levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stream.archive.published import points
from stream.index.composition import Index
from stream.index.snapshot import PERCENT_DECIMALS, level_text
from stream.index.units import PRICE_DECIMALS, decimal_text, divide_half_away

#: A field, what was published, and what the others make of it.
Mismatch = tuple[str, bytes, bytes]


def mismatches(fields: Mapping[str, bytes], index: Index) -> Iterator[Mismatch]:
    """Find the fields of a published snapshot that contradict the others, or the composition.

    Parameters
    ----------
    fields
        As written.
    index
        Whose snapshot it is, in the composition that it names.

    Yields
    ------
    tuple of str, bytes and bytes
        The field, what was published, and what it would have to be.
    """
    value, level, close = (
        _value(fields, index),
        points(fields["level"]),
        points(fields["previous_close"]),
    )
    if value is None or level is None or close is None:
        name = "market_value" if value is None else "level" if level is None else "previous_close"
        yield name, fields[name], b"a number"
        return
    lowest, highest = value
    if not index.divisor.level(lowest) <= level <= index.divisor.level(highest):
        yield "level", fields["level"], level_text(index.divisor.level(lowest)).encode()
    shown = (
        fields["level"] if fields.get("indicative", b"null") == b"null" else fields["indicative"]
    )
    change = (points(shown) or 0) - close
    percent = divide_half_away(change * 100 * 10**PERCENT_DECIMALS, close) if close else 0
    counts = [int(fields[name]) for name in ("priced", "up", "down")]
    expected = {
        "name": b'"%b"' % index.name.encode(),
        "last": shown,
        "change": level_text(change).encode(),
        "change_pct": decimal_text(percent, PERCENT_DECIMALS).encode(),
        "divisor": b'"%b"' % index.divisor.text.encode(),
        "constituents": b"%d" % len(index.row),
        "unchanged": b"%d" % (counts[0] - counts[1] - counts[2]),
    }
    for name, text in expected.items():
        if fields[name] != text:
            yield name, fields[name], text


def _value(fields: Mapping[str, bytes], index: Index) -> tuple[int, int] | None:
    """Give the least and the greatest market value that is written so, in the index's 10^-(4+k) dollar."""
    whole, _, places = fields["market_value"].strip(b'"').partition(b".")
    digits = whole + places
    if len(places) != PRICE_DECIMALS or not digits.isdigit():
        return None
    if index.k <= 0:
        value = int(digits) // 10**-index.k
        return value, value
    half = 10**index.k // 2
    return int(digits) * 10**index.k - half, int(digits) * 10**index.k + half
