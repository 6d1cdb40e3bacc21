"""The symbol table against a dict."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.index.universe import valid_symbol
from stream.wire.symbols import SymbolTable, symbol_of_key

CHARACTERS = string.ascii_letters + string.digits + string.punctuation
SYMBOLS = st.text(CHARACTERS, min_size=1, max_size=8)


def keys_of(symbols: list[str], padding: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.frombuffer(b"".join(s.encode().ljust(8, padding) for s in symbols), "<u8")


def drawn(rng: random.Random, n: int) -> list[str]:
    return sorted({"".join(rng.choices(CHARACTERS, k=rng.randint(1, 8))) for _ in range(n)})


@given(st.lists(SYMBOLS, unique=True, max_size=30), st.lists(SYMBOLS, max_size=30))
def test_a_table_finds_what_a_dict_finds(known: list[str], asked: list[str]) -> None:
    """Text and both paddings of the eight bytes give the row, or none."""
    table = SymbolTable(known)
    expected = [known.index(s) if s in known else -1 for s in known + asked]

    assert table.rows(known + asked).tolist() == expected
    assert table.rows_of_keys(keys_of(known + asked, b"\0")).tolist() == expected
    assert table.rows_of_keys(keys_of(known + asked, b" ")).tolist() == expected


def test_thousands_of_symbols_are_found_and_others_are_not() -> None:
    """Where slots are shared, the probe goes on until the key or an empty slot."""
    rng = random.Random(11)
    symbols = drawn(rng, 24_000)
    rng.shuffle(symbols)
    known, unknown = symbols[:12_000], symbols[12_000:]
    table = SymbolTable(known)

    for padding in (b"\0", b" "):
        assert table.rows_of_keys(keys_of(known, padding)).tolist() == list(range(12_000))
        assert set(table.rows_of_keys(keys_of(unknown, padding)).tolist()) == {-1}


@pytest.mark.parametrize("slot", [0, 20, 63])
def test_symbols_that_all_fall_into_one_slot_are_found(slot: int) -> None:
    """Even the last slot of a table, from which the probe goes round to its beginning."""
    golden = 0x9E3779B97F4A7C15
    rng = random.Random(slot)
    falling: list[str] = []
    while len(falling) < 6:
        symbol = "".join(rng.choices(CHARACTERS, k=8))
        key = int.from_bytes(symbol.encode(), "little")
        if key * golden % 2**64 >> 58 == slot:
            falling.append(symbol)
    known, unknown = falling[:4], falling[4:]
    table = SymbolTable(known)

    rows = table.rows_of_keys(keys_of(known + unknown, b"\0"))

    assert rows.tolist() == [0, 1, 2, 3, -1, -1]


def test_a_table_of_nothing_knows_no_symbol() -> None:
    """Neither text nor bytes, nor eight zeros."""
    table = SymbolTable([])

    assert table.rows(["A", ""]).tolist() == [-1, -1]
    assert table.rows_of_keys(np.array([0, 65, 2**64 - 1], np.uint64)).tolist() == [-1, -1, -1]


@given(st.binary(min_size=8, max_size=8))
def test_eight_bytes_are_a_symbol_or_none(eight: bytes) -> None:
    """1 to 8 printable ASCII characters, then NULs or spaces."""
    text = eight.rstrip(b"\0 ")
    good = text != b"" and all(33 <= character <= 126 for character in text)

    symbol = symbol_of_key(int.from_bytes(eight, "little"))

    assert symbol == (text.decode("ascii") if good else None)


@given(st.text(max_size=10))
def test_a_symbol_is_one_to_eight_printable_ascii_characters(text: str) -> None:
    """Neither blanks nor letters of other alphabets."""
    good = 1 <= len(text) <= 8 and all("!" <= character <= "~" for character in text)

    assert valid_symbol(text) is good
