"""The laws of the tape reader."""

from __future__ import annotations

import csv
import gzip
import tempfile
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import FileError
from stream.feed.tape import Tape, read_tape, tape_ticks
from stream.feed.trades import Trades
from stream.index.ticks import UNKNOWN_ROW
from stream.wire.symbols import SymbolTable

HEADER = "ts,symbol,price,size,venue,cond"
TS = 1381132800614000000
GOOD = f"{TS},BAC,13.9400,500,P,FT"


def write_tape(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "tape.csv"
    path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return path


def read_one(folder: Path, *lines: str, header: str = HEADER) -> tuple[Tape, Trades]:
    tape = read_tape(write_tape(folder, *lines, header=header))
    (trades,) = tape
    return tape, trades


def bad_line(folder: Path, line: str) -> str:
    """Read a tape whose second row is bad; give what is said of it."""
    tape, trades = read_one(folder, GOOD, line, GOOD)
    assert trades.seq.tolist() == [1, 3]
    assert tape.n_bad == 1
    (error,) = tape.errors
    assert error.startswith(f"{folder / 'tape.csv'}:3: ")
    return error


def test_every_column_is_read(tmp_path: Path) -> None:
    """A row gives its time, symbol, price, size, venue and conditions, and its number as `seq`."""
    _, trades = read_one(tmp_path, GOOD, f"{TS + 1},AIG,49.18,1,,@")

    assert trades.ts.tolist() == [TS, TS + 1]
    assert [trades.symbols[i] for i in trades.symbol] == ["BAC", "AIG"]
    assert trades.price.tolist() == [139400, 491800]
    assert trades.seq.tolist() == [1, 2]
    assert trades.size.tolist() == [500, 1]
    assert bytes(trades.venue.tolist()) == b"P\0"
    assert [trades.conditions[i] for i in trades.condition] == ["FT", "@"]
    assert trades.cond.tolist() == [1024 + 32, 1]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """Columns may stand in any order, among others, with a byte order mark before them."""
    _, trades = read_one(
        tmp_path,
        f"@,x,100,{TS},Q,12.5,AIG",
        header="\ufeffcond,note,size,ts,VENUE,price,symbol",
    )

    assert trades.price.tolist() == [125000]
    assert [trades.symbols[i] for i in trades.symbol] == ["AIG"]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0.0001", 1),
        ("13", 130000),
        ("13.", 130000),
        (".5", 5000),
        ("13.94005", 139400),
        ("13.94015", 139402),
        ("13.940150000000000000000001", 139402),
        ("13.94004999999999999999999", 139400),
        ("0.00005000000001", 1),
        ("1.394e1", 139400),
        ("461168601842738.7903", 2**62 - 1),
        ('"13.94"', 139400),
        (" 13.94 ", 139400),
    ],
)
def test_prices_are_rounded_once_half_to_even_from_their_text(
    tmp_path: Path, text: str, units: int
) -> None:
    """A price is the decimal that stands there, to the nearest 1/10000 dollar, ties to even."""
    _, trades = read_one(tmp_path, f"{TS},BAC,{text},500,P,@")

    assert trades.price.tolist() == [units]


@given(st.decimals(min_value="0.0001", max_value="99999999", allow_nan=False, places=7))
def test_any_decimal_price_is_exact(price: Decimal) -> None:
    """Prices of any number of places agree with decimal arithmetic."""
    with tempfile.TemporaryDirectory() as folder:
        _, trades = read_one(Path(folder), f"{TS},BAC,{price:f},500,P,@")

    expected = price.quantize(Decimal("0.0001"), ROUND_HALF_EVEN) * 10_000
    assert trades.price.tolist() == [int(expected)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "0.00005",
        "-1",
        "NaN",
        "Infinity",
        "1_0",
        "1e99",
        "1e999999999",
        "\u0661",
        "4611686018427387904",
    ],
)
def test_a_price_that_is_none_is_a_bad_line(tmp_path: Path, text: str) -> None:
    """What is not a price from 0.0001 up is named with its line and column."""
    error = bad_line(tmp_path, f"{TS},BAC,{text},500,P,@")

    assert "price: expected dollars" in error
    assert repr(text) in error


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("631151999999999999,BAC,13.94,500,P,@", "ts"),
        ("9223372036854775808,BAC,13.94,500,P,@", "ts"),
        (f"{'9' * 5000},BAC,13.94,500,P,@", "ts"),
        ("+1381132800614000000,BAC,13.94,500,P,@", "ts"),
        (f"{TS}.5,BAC,13.94,500,P,@", "ts"),
        (f"{TS},,13.94,500,P,@", "symbol"),
        (f"{TS},TOOLONGSYM,13.94,500,P,@", "symbol"),
        (f"{TS},B\u00c4C,13.94,500,P,@", "symbol"),
        (f"{TS},BAC,13.94,-1,P,@", "size"),
        (f"{TS},BAC,13.94,4294967296,P,@", "size"),
        (f"{TS},BAC,13.94,,P,@", "size"),
        (f"{TS},BAC,13.94,500,PQ,@", "venue"),
        (f"{TS},BAC,13.94,500,\u00c4,@", "venue"),
        (f"{TS},BAC,13.94,500,P,{'@' * 17}", "cond"),
    ],
)
def test_a_bad_value_is_named_by_its_column(tmp_path: Path, line: str, column: str) -> None:
    """Only the line that holds it is lost, and its row number is not given to another."""
    assert f"{column}: expected" in bad_line(tmp_path, line)


def test_all_bad_columns_of_a_line_are_named(tmp_path: Path) -> None:
    """A line is one bad line, however much of it is wrong."""
    error = bad_line(tmp_path, "yesterday,BAC,much,500,P,@")

    assert "ts: expected" in error
    assert "price: expected" in error


@pytest.mark.parametrize("line", ["1,2,3", f"{GOOD},7", f'{GOOD},"', f'"{GOOD}'])
def test_a_line_with_other_columns_is_a_bad_line(tmp_path: Path, line: str) -> None:
    """A line that is cut off or too long, or has a stray quote, spoils no other."""
    assert "expected 6 columns" in bad_line(tmp_path, line)


def test_bytes_that_are_not_utf8_spoil_their_line_only(tmp_path: Path) -> None:
    """The rest of the tape is read."""
    path = tmp_path / "tape.csv"
    path.write_bytes(f"{HEADER}\n{TS},B\xff,13.94,500,P,@\n{GOOD}\n".encode("latin-1"))
    tape = read_tape(path)

    (trades,) = tape

    assert trades.seq.tolist() == [2]
    assert "tape.csv:2: symbol" in tape.errors[0]


def test_fifty_bad_lines_are_described_and_all_counted(tmp_path: Path) -> None:
    """A file of rubbish neither crashes the reader nor fills the memory."""
    tape = read_tape(write_tape(tmp_path, *["rubbish"] * 60))

    assert list(tape) == []
    assert (tape.n_bad, len(tape.errors)) == (60, 50)


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    """They take no row number, but lines are counted as an editor counts them."""
    tape, trades = read_one(tmp_path, GOOD, "", "  ", GOOD, "bad")

    assert trades.seq.tolist() == [1, 2]
    assert tape.errors[0].startswith(f"{tmp_path / 'tape.csv'}:6: ")


@pytest.mark.parametrize(
    "header", ["ts,symbol,price,size,venue", "", "ts;symbol;price;size;venue;cond"]
)
def test_a_header_without_a_column_is_an_error(tmp_path: Path, header: str) -> None:
    """A file that is no tape is refused as a whole, naming what it lacks."""
    path = write_tape(tmp_path, GOOD, header=header)

    with pytest.raises(FileError, match=r"tape\.csv:1: missing column .*cond"):
        list(read_tape(path))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(FileError, match="nowhere"):
        list(read_tape(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_chunks_together_are_the_tape(tmp_path: Path, chunk: int) -> None:
    """The size of chunks changes nothing, and a gzipped tape is the same tape."""
    lines = [f"{TS + i},{'ABC'[i % 3]},{i + 1}.25,{i},P,@" for i in range(7)]
    path = tmp_path / "tape.csv.gz"
    path.write_bytes(gzip.compress("\r\n".join([HEADER, *lines]).encode()))

    chunks = list(read_tape(path, chunk=chunk))

    rows = [
        (seq, part.symbols[symbol], price)
        for part in chunks
        for seq, symbol, price in zip(part.seq, part.symbol, part.price, strict=True)
    ]
    assert rows == [(i + 1, "ABC"[i % 3], (i + 1) * 10_000 + 2_500) for i in range(7)]
    assert max(map(len, chunks)) <= chunk


def test_ticks_of_a_tape_are_trades_recorded_when_they_happened(tmp_path: Path) -> None:
    """Known symbols get their rows, others none; nothing else changes."""
    _, trades = read_one(tmp_path, GOOD, f"{TS + 5},ZZZ,49.18,1,Q,4W")

    ticks = tape_ticks(trades, SymbolTable(["AIG", "BAC"]))

    assert ticks.row.tolist() == [1, UNKNOWN_ROW]
    assert ticks.price.tolist() == [139400, 491800]
    assert ticks.ts.tolist() == ticks.recorded.tolist() == [TS, TS + 5]
    assert ticks.seq.tolist() == [1, 2]
    assert ticks.cond.tolist() == [1024 + 32, 8 + 4]
    assert ticks.kind.tolist() == [0, 0]
    kinds = [
        str(column.dtype) for column in (ticks.row, ticks.price, ticks.seq, ticks.cond, ticks.kind)
    ]
    assert kinds == ["int32", "int64", "uint64", "uint16", "uint8"]


def test_a_real_tape_is_read_as_decimals_say(shared: Path) -> None:
    """All trades of a day, against the csv module and decimal arithmetic."""
    path = shared / "data" / "trades_2013-10-07.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    tape = read_tape(path)

    chunks = list(tape)

    assert tape.n_bad == 0
    assert sum(map(len, chunks)) == len(rows) == 137_816
    prices = [price for part in chunks for price in part.price.tolist()]
    assert prices == [int(Decimal(row["price"]) * 10_000) for row in rows]
    symbols = [part.symbols[symbol] for part in chunks for symbol in part.symbol.tolist()]
    assert symbols == [row["symbol"] for row in rows]
    times = [ts for part in chunks for ts in part.ts.tolist()]
    assert times == [int(row["ts"]) for row in rows]
