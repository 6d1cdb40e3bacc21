"""Control records as bytes, and the page that describes them."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import damaged
from stream.errors import WireError
from stream.index.control import (
    Announcement,
    Contested,
    Control,
    OriginRecord,
    Override,
    Roll,
)
from stream.wire import control

PAGE = (Path(__file__).parents[2] / "docs" / "control.md").read_text(encoding="utf-8")
TYPES: dict[str, type[Any]] = {
    "origin": OriginRecord,
    "roll": Roll,
    "composition": Announcement,
    "contested": Contested,
    "override": Override,
}

NUMBERS = st.integers(0, 2**63 - 1)
TEXTS = st.text(min_size=1, max_size=500).filter(str.strip)
SYMBOLS = st.text("ABZ.{\"'\\/", min_size=1, max_size=8)


@st.composite
def rolls(draw: st.DrawFn) -> Roll:
    """Draw a roll whose session is not empty."""
    starts, ends = sorted(draw(st.sets(NUMBERS, min_size=2, max_size=2)))
    return Roll(draw(st.dates()).isoformat(), starts, ends, draw(NUMBERS))


@st.composite
def overrides(draw: st.DrawFn) -> Override:
    """Draw an operator's decision."""
    action = draw(st.sampled_from(("price", "bound", "exclude", "include")))
    return Override(
        symbol=draw(SYMBOLS),
        action=action,  # type: ignore[arg-type]
        author=draw(TEXTS),
        reason=draw(TEXTS),
        ts=draw(NUMBERS),
        price=draw(st.integers(1, 2**60 - 1)),
        home=draw(st.integers(-1, 1000)),
        number=draw(NUMBERS),
    )


CONTROLS: st.SearchStrategy[Control] = st.one_of(
    st.builds(OriginRecord, st.sampled_from(("live", "replay", "simulated"))),
    rolls(),
    st.builds(Announcement, st.text(max_size=30), NUMBERS),
    st.builds(Contested, st.lists(st.text(max_size=9), max_size=3).map(tuple), NUMBERS),
    overrides(),
)


@given(CONTROLS)
def test_a_record_is_read_as_it_was_written(record: Control) -> None:
    """Every field of every type."""
    read = control.decode(control.encode(record))

    assert read == record
    assert type(read) is type(record)


@pytest.mark.parametrize("origin", ["live", "replay", "simulated"])
def test_the_form_is_four_letters_and_then_json(origin: str) -> None:
    """No other message begins with them."""
    record = OriginRecord(origin)  # type: ignore[arg-type]

    message = control.encode(record)

    assert message == b'CTRL{"type":"origin","origin":"' + origin.encode() + b'"}'
    assert control.decode(message) == record


def sections() -> dict[str, str]:
    """Give the page's sections by the type that each describes."""
    parts = re.split(r"^## `(\w+)`$", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_describes_every_type_and_no_other() -> None:
    """A section each."""
    assert sections().keys() == TYPES.keys()


@pytest.mark.parametrize("name", TYPES)
def test_the_page_names_every_field_with_its_default(name: str) -> None:
    """In the order in which they are written."""
    table = sections()[name].split("| field | type | meaning |")[1]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", table, re.MULTILINE)

    described = {field: re.search(r"default (-?\d+)", kind) for field, kind in rows}
    defaults = {field: int(found[1]) if found else MISSING for field, found in described.items()}
    assert list(defaults.items()) == [(one.name, one.default) for one in fields(TYPES[name])]


@pytest.mark.parametrize("name", TYPES)
def test_the_examples_of_the_page_are_records_as_we_write_them(name: str) -> None:
    """Byte for byte, with every field, and of the type of their section."""
    [example] = re.findall(r"^(CTRL\{.*\})$", sections()[name], re.MULTILINE)

    record = control.decode(example.encode())

    assert type(record) is TYPES[name]
    assert control.encode(record).decode() == example
    assert json.loads(example[4:]) == {"type": name} | {
        one.name: _as_json(getattr(record, one.name)) for one in fields(TYPES[name])
    }


def _as_json(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_every_action_of_an_override_is_described() -> None:
    """A row each, beside the field's own."""
    table = sections()["override"].split("| field |")[0]

    assert re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)[1:] == [
        "price",
        "bound",
        "exclude",
        "include",
    ]


def test_fields_with_a_default_may_be_left_out_and_unknown_ones_are_passed_over() -> None:
    """A later version may say more."""
    message = b'CTRL{"type":"composition","composition":"x","colour":["blue"]}'

    assert control.decode(message) == Announcement("x", 0)


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"{}",
        b"null",
        b'{"type":"origin"}',
        b'{"type":"origin","origin":"dream"}',
        b'{"type":"coffee"}',
        b'{"origin":"live"}',
        b'{"type":"origin","origin":"live"',
        b'{"type":' * 100_000,
        b'{"type":"contested","symbols":' + b"[" * 100_000,
        b'{"type":"\xff"}',
        b'{"type":"origin","origin":"\xff"}',
        b"\xff",
        b'{"type":"contested","symbols":"AIG"}',
        b'{"type":"contested","symbols":[7]}',
        b'{"type":"composition","composition":"x","number":-1}',
        b'{"type":"composition","composition":"x","number":9223372036854775808}',
        b'{"type":"composition","composition":"x","number":1.5}',
        b'{"type":"composition","composition":null}',
    ],
)
def test_what_this_version_does_not_know_is_a_wire_error(rest: bytes) -> None:
    """No other exception leaves the decoder, whatever the bytes."""
    with pytest.raises(WireError, match="control record"):
        control.decode(b"CTRL" + rest)


@pytest.mark.parametrize("message", [b"", b"CTR", b'{"type":"origin","origin":"live"}', b"TICK"])
def test_what_does_not_begin_with_the_four_letters_is_no_control_record(message: bytes) -> None:
    """Whatever follows them."""
    with pytest.raises(WireError, match="control record: expected b'CTRL' first"):
        control.decode(message)


ROLL = {"session": "2026-07-17", "starts_ns": 5, "ends_ns": 6, "number": 1}
OVERRIDE = {
    "symbol": "AIG",
    "action": "price",
    "author": "jo",
    "reason": "why",
    "ts": 5,
    "price": 1,
    "home": 0,
    "number": 1,
}


def message(name: str, **changed: object) -> bytes:
    good = {"roll": ROLL, "override": OVERRIDE}[name]
    return b"CTRL" + json.dumps({"type": name, **good, **changed}).encode()


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"session": "2026-7-17"}, "expected YYYY-MM-DD"),
        ({"session": "20260717"}, "expected YYYY-MM-DD"),
        ({"session": "2026-W29-5"}, "expected YYYY-MM-DD"),
        ({"session": "2026-07-17T00:00"}, "expected YYYY-MM-DD"),
        ({"session": "2026-02-30"}, "expected YYYY-MM-DD"),
        ({"session": ""}, "expected YYYY-MM-DD"),
        ({"starts_ns": 6}, "from 6 to 6"),
        ({"starts_ns": -1}, "from -1 to 6"),
        ({"ends_ns": 4}, "from 5 to 4"),
        ({"ends_ns": 2**63}, f"from 5 to {2**63}"),
        ({"number": -1}, "number -1"),
        ({"number": 2**63}, f"number {2**63}"),
    ],
)
def test_a_roll_that_would_spoil_a_book_is_refused(changed: dict[str, Any], detail: str) -> None:
    """Its session is a date as it is compared, its times a stretch that 64 bits can say."""
    assert control.decode(message("roll")) == Roll(**ROLL)  # type: ignore[arg-type]
    with pytest.raises(WireError, match=detail):
        control.decode(message("roll", **changed))


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"symbol": ""}, "symbol ''"),
        ({"symbol": "TOOLONGSY"}, "symbol 'TOOLONGSY'"),
        ({"symbol": "A B"}, "symbol 'A B'"),
        ({"price": 0}, "price 0: expected 1 or more"),
        ({"price": -1, "action": "bound"}, "bound -1: expected 1 or more"),
        ({"price": 2**60}, f"price {2**60}"),
        ({"ts": -1}, "ts -1"),
        ({"ts": 2**63}, f"ts {2**63}"),
        ({"author": ""}, "author: expected 1 to 500 characters, got 0"),
        ({"author": " \n"}, "author: expected 1 to 500 characters, got 2"),
        ({"reason": "x" * 501}, "reason: expected 1 to 500 characters, got 501"),
        ({"action": "forget"}, "Invalid enum value 'forget'"),
        ({"number": -1}, "number -1"),
    ],
)
def test_an_override_that_would_spoil_a_book_is_refused(
    changed: dict[str, Any], detail: str
) -> None:
    """It names an instrument, a price that sums can hold, and who decided, and why."""
    assert control.decode(message("override")) == Override(**OVERRIDE)  # type: ignore[arg-type]
    with pytest.raises(WireError, match=detail):
        control.decode(message("override", **changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"price": 2**60 - 1},
        {"ts": 2**63 - 1},
        {"ts": 0},
        {"reason": "x" * 500},
        {"action": "exclude", "price": 0},
        {"action": "include", "price": 0},
        {"number": 0},
        {"number": 2**63 - 1},
    ],
)
def test_the_edges_of_an_override_are_good(changed: dict[str, Any]) -> None:
    """A decision without a price needs none."""
    read = control.decode(message("override", **changed))

    assert read == Override(**{**OVERRIDE, **changed})


@given(
    st.one_of(
        CONTROLS.map(control.encode).flatmap(damaged),
        st.binary(max_size=60),
        st.binary(max_size=60).map(b"CTRL".__add__),
    )
)
def test_damaged_bytes_are_a_record_or_a_wire_error(value: bytes) -> None:
    """And what is taken for one can be written."""
    try:
        record = control.decode(value)
    except WireError as error:
        assert str(error).startswith("control record")  # noqa: PT017 - either is right
    else:
        assert control.decode(control.encode(record)) == record
