"""Constituents files: what is read, and how all that is wrong is named."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import FileError
from stream.index.sectors import SECTORS, sector_code
from stream.index.universe import LISTED_ERRORS, MAX_INSTRUMENTS, read_universe

HEADER = "symbol,name,sector,mic,size,float_shares,price,price_date"
AAPL = "AAPL,Apple,Information Technology,XNAS,large,14683162276,333.74,2026-07-17"


def faults(*lines: str, header: str = HEADER) -> list[str]:
    with pytest.raises(FileError) as caught:
        read_universe([header, *lines], file="my.csv")
    return str(caught.value).splitlines()


def test_a_line_becomes_an_instrument_with_all_its_columns() -> None:
    """Prices are 1/10000 dollar, shares exact, sectors ours, further columns kept."""
    universe = read_universe(
        ["Symbol , PRICE,float_shares,sector,Moat", " A ,1.00015, 12.5 ,consumer staples,wide"]
    )

    [one] = universe.instruments
    assert (one.symbol, one.price, one.float_shares) == ("A", 10_002, Fraction(25, 2))
    assert one.attributes["sector"] == "STAPLES"
    assert one.attributes["moat"] == "wide"
    assert universe.columns == {"symbol", "price", "float_shares", "sector", "moat"}
    assert (len(universe), universe.symbols, universe.date) == (1, ("A",), "")


def test_rows_stand_in_the_order_of_the_file_and_the_newest_date_counts() -> None:
    """Blank lines are passed over, quoted commas belong to their cell."""
    universe = read_universe(
        [HEADER, 'B,"Bee, Inc",,,,1,1,2026-05-05', "", AAPL, "C,,,,,1,1,"], file="my.csv"
    )

    assert universe.symbols == ("B", "AAPL", "C")
    assert universe.instruments[0].attributes["name"] == "Bee, Inc"
    assert universe.date == "2026-07-17"


@given(
    st.integers(1, 10**14),
    st.decimals(min_value="0.0001", max_value=1, places=6),
)
def test_shares_and_float_stand_for_float_shares(shares: int, share: object) -> None:
    """Their product is exact, not rounded to whole shares."""
    universe = read_universe(["symbol,price,shares,float", f"A,1,{shares},{share}"])

    assert universe.instruments[0].float_shares == shares * Fraction(str(share))


@pytest.mark.parametrize(
    ("cells", "place", "value"),
    [
        (",1,1,,,", "my.csv:3: symbol:", "''"),
        ("NINECHARS,1,1,,,", "my.csv:3: symbol:", "'NINECHARS'"),
        ("A B,1,1,,,", "my.csv:3: symbol:", "'A B'"),
        ("É,1,1,,,", "my.csv:3: symbol:", "'É'"),
        ("OK,1,1,,,", "my.csv:3: symbol:", "'OK' stands on line 2"),
        ("A,0,1,,,", "my.csv:3: price:", "'0'"),
        ("A,-5,1,,,", "my.csv:3: price:", "'-5'"),
        ("A,abc,1,,,", "my.csv:3: price:", "'abc'"),
        ("A,,1,,,", "my.csv:3: price:", "''"),
        ("A,nan,1,,,", "my.csv:3: price:", "'nan'"),
        ("A,inf,1,,,", "my.csv:3: price:", "'inf'"),
        ("A,0.00005,1,,,", "my.csv:3: price:", "'0.00005'"),
        ("A,1e70,1,,,", "my.csv:3: price:", "'1e70'"),
        ("A,1,0,,,", "my.csv:3: float_shares:", "'0'"),
        ("A,1,-1,,,", "my.csv:3: float_shares:", "'-1'"),
        ("A,1,x,,,", "my.csv:3: float_shares:", "'x'"),
        ("A,1,1,Tulips,,", "my.csv:3: sector:", "'Tulips'"),
        ("A,1,1,,1.5,", "my.csv:3: growth:", "'1.5'"),
        ("A,1,1,,-0.1,", "my.csv:3: growth:", "'-0.1'"),
        ("A,1,1,,x,", "my.csv:3: growth:", "'x'"),
        ("A,1,1,,,EUR", "my.csv:3: currency:", "'EUR'"),
        ("A,1,1,,", "my.csv:3: expected 6 columns", "found 5"),
        ("A,1,1,,,,", "my.csv:3: expected 6 columns", "found 7"),
    ],
)
def test_a_bad_cell_is_named_by_file_line_column_and_value(
    cells: str, place: str, value: str
) -> None:
    """Whoever has to mend the file finds it at once."""
    [message] = faults(
        "OK,1,1,,,", cells, header="symbol,price,float_shares,sector,growth,currency"
    )

    assert message.startswith(place)
    assert value in message


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ("A,1,0,0.5", "shares"),
        ("A,1,x,0.5", "shares"),
        ("A,1,10,1.01", "float"),
        ("A,1,10,-0.01", "float"),
        ("A,1,10,x", "float"),
        ("A,1,10,0", "float"),
    ],
)
def test_shares_are_positive_and_float_lies_within_0_and_1(cells: str, column: str) -> None:
    """The same holds where the product is given by its factors."""
    [message] = faults(cells, header="symbol,price,shares,float")

    assert message.startswith(f"my.csv:2: {column}:")


def test_all_bad_cells_and_lines_are_listed_not_the_first_alone() -> None:
    """A file is mended in one go."""
    messages = faults("A,n,Tulips,m,s,0,-1,d", "B,,,,,1,1,", "C,,", "B,,,,,1,0,")

    assert [message.split(": ")[0] for message in messages] == ["my.csv:2"] * 3 + [
        "my.csv:4",
        "my.csv:5",
    ]
    assert {message.split(": ")[1] for message in messages[:3]} == {
        "price",
        "float_shares",
        "sector",
    }


def test_a_long_list_of_errors_is_cut_and_the_rest_counted() -> None:
    """The last line says how many are not shown."""
    messages = faults(*[f"S{i},,,,,1,0," for i in range(LISTED_ERRORS + 7)])

    assert len(messages) == LISTED_ERRORS + 1
    assert messages[-1] == "and 7 more bad lines"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", "missing column symbol, price, float_shares (or shares and float)"),
        ("symbol,price", "missing column float_shares (or shares and float)"),
        ("symbol,price,shares", "missing column float_shares (or shares and float)"),
        ("price,shares,float", "missing column symbol"),
        ("symbol,price,float_shares,price", "column price stands twice"),
    ],
)
def test_a_header_without_the_needed_columns_is_refused(header: str, words: str) -> None:
    """It says which are missing or repeated."""
    [message] = faults("A,1,1", header=header)

    assert message == f"my.csv:1: {words}"


def test_files_that_hold_nothing_are_refused() -> None:
    """Neither an empty file nor a lone header is a universe."""
    with pytest.raises(FileError, match=r"my\.csv:1: missing column"):
        read_universe([], file="my.csv")
    with pytest.raises(FileError, match=r"my\.csv: no constituents, only a header"):
        read_universe([HEADER], file="my.csv")


def test_more_instruments_than_rows_can_be_numbered_are_refused() -> None:
    """The limit and the number found are both said."""
    lines = [f"S{i},1,1" for i in range(MAX_INSTRUMENTS + 1)]

    [message] = faults(*lines, header="symbol,price,float_shares")

    assert message == "my.csv: 65536 instruments; at most 65535 are possible"


def test_a_quote_that_is_never_closed_is_an_error_of_the_file() -> None:
    """However much of the file it swallows."""
    lines = [f"S{i},1,1" for i in range(30_000)]

    messages = faults(
        '"A,1,1\n', *[line + "\n" for line in lines], header="symbol,price,float_shares\n"
    )

    assert messages[0].startswith("my.csv:")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Information Technology", "TECHNOLOGY"),
        ("Communication", "COMMUNICATION"),
        ("Consumer Staples", "STAPLES"),
        ("Consumer Discretionary", "DISCRETIONARY"),
        ("Health Care", "HEALTHCARE"),
        ("Real Estate", "REALESTATE"),
        ("Materials", "BASICMATERIALS"),
        ("  energy ", "ENERGY"),
        ("Tulips", None),
        ("", None),
    ],
)
def test_sector_names_of_files_are_mapped_to_ours(name: str, code: str | None) -> None:
    """Case and blanks do not matter."""
    assert sector_code(name) == code


def test_the_eleven_sectors_are_those_of_the_contract() -> None:
    """Each maps to itself."""
    assert " ".join(SECTORS) == (
        "BASICMATERIALS COMMUNICATION DISCRETIONARY ENERGY FINANCIALS HEALTHCARE INDUSTRIALS "
        "REALESTATE STAPLES TECHNOLOGY UTILITIES"
    )
    assert [sector_code(sector) for sector in SECTORS] == list(SECTORS)


def test_a_user_may_add_names_of_sectors() -> None:
    """They are found whatever their case, beside those that are known."""
    lines = ["symbol,price,float_shares,sector", "A,1,1,Rails & Roads", "B,1,1,Energy"]

    universe = read_universe(lines, sectors={"rails & ROADS": "INDUSTRIALS"})

    assert [one.attributes["sector"] for one in universe.instruments] == ["INDUSTRIALS", "ENERGY"]
