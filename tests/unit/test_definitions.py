"""Index files: what they define, and how what is wrong is named."""

from __future__ import annotations

from decimal import Decimal

import pytest

from stream.errors import FileError
from stream.index.definitions import read_definitions, read_index_file
from stream.index.universe import Universe, read_universe

UNIVERSE = read_universe(
    [
        "symbol,price,float_shares,sector,size,growth,industry",
        "A,1,1,Energy,large,0.5,Oil & Gas",
        "B,1,1,Health Care,large,,Pills",
        "C,1,1,,small,1,",
    ]
)


def read(text: str, universe: Universe = UNIVERSE) -> dict[str, list[str]]:
    definitions = read_definitions(text, universe=universe, file="my.toml")
    return {
        one.code: [i.symbol for i in universe.instruments if one.selects(i)] for one in definitions
    }


def refusal(text: str) -> str:
    with pytest.raises(FileError) as caught:
        read(text)
    return str(caught.value)


def test_an_index_has_the_defaults_of_the_contract() -> None:
    """Float-cap, level 1000, everything selected, the code for a name."""
    [one] = read_definitions('[[index]]\ncode = "ALL"', universe=UNIVERSE)

    assert (one.code, one.name, one.weighting) == ("ALL", "ALL", "float_cap")
    assert (one.base_level, one.base_date, one.divisor) == (Decimal(1000), "", None)
    assert (one.limit, one.style, dict(one.select)) == (None, None, {})


def test_every_field_is_read_exactly() -> None:
    """Decimals are read as text, so no digit is lost."""
    [one] = read_definitions(
        """
        [[index]]
        code = "X.1-A_B"
        name = "My Index"
        select = { size = ["large", "small"], sector = "Health Care" }
        weighting = "capped"
        limit = "0.225"
        style = "growth"
        base_level = "130.00"
        base_date = "1986-12-31"
        divisor = "1234567.8901234567890123456789"
        """,
        universe=UNIVERSE,
    )

    assert (one.name, one.weighting, one.limit, one.style) == (
        "My Index",
        "capped",
        Decimal("0.225"),
        "growth",
    )
    assert (one.base_level, one.base_date) == (Decimal("130.00"), "1986-12-31")
    assert one.divisor == Decimal("1234567.8901234567890123456789")
    assert one.select == {"size": {"large", "small"}, "sector": {"HEALTHCARE"}}


@pytest.mark.parametrize(
    ("select", "members"),
    [
        ("{}", ["A", "B", "C"]),
        ('{ size = "large" }', ["A", "B"]),
        ('{ size = ["large", "small"] }', ["A", "B", "C"]),
        ('{ size = "large", sector = "Energy" }', ["A"]),
        ('{ sector = "HEALTHCARE" }', ["B"]),
        ('{ size = "micro" }', []),
        ('{ colour = "red" }', []),
    ],
)
def test_a_selection_takes_what_matches_in_all_its_columns(select: str, members: list[str]) -> None:
    """Any of a column's values, all of the columns."""
    assert read(f'[[index]]\ncode = "X"\nselect = {select}') == {"X": members}


def test_a_style_takes_only_those_that_say_their_growth() -> None:
    """A constituent without a probability belongs to neither side."""
    assert read('[[index]]\ncode = "G"\nstyle = "growth"') == {"G": ["A", "C"]}
    assert read('[[index]]\ncode = "V"\nstyle = "value"') == {"V": ["A", "C"]}


def test_by_makes_one_further_index_for_each_value_of_a_column() -> None:
    """They follow their parent in order, and take their part of its members."""
    text = '[[index]]\ncode = "L"\nname = "Large"\nselect = { size = "large" }\nby = "sector"'

    assert read(text) == {"L": ["A", "B"], "L-ENERGY": ["A"], "L-HEALTHCARE": ["B"]}
    definitions = read_definitions(text, universe=UNIVERSE)
    assert [one.name for one in definitions] == ["Large", "Large Energy", "Large Health Care"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("weigthing = 'equal'", "weigthing"),
        ("weighting = 'random'", "weighting"),
        ("weighting = 'capped'", "index 'X': limit: a capped index needs one"),
        ("limit = 0.1", "index 'X': limit: a capped index needs one"),
        (
            "weighting = 'capped'\nlimit = 0",
            "index 'X': limit: expected more than 0 and at most 1, found 0",
        ),
        (
            "weighting = 'capped'\nlimit = 1.01",
            "index 'X': limit: expected more than 0 and at most 1, found 1.01",
        ),
        (
            "weighting = 'capped'\nlimit = 'lots'",
            "index 'X': limit: expected a number, found 'lots'",
        ),
        ("weighting = 'capped'\nlimit = nan", "index 'X': limit: expected a number, found nan"),
        ("base_level = 0", "index 'X': base_level: expected more than 0, found 0"),
        ("base_level = '-1'", "index 'X': base_level: expected more than 0, found -1"),
        ("base_level = 'x'", "index 'X': base_level: expected a number, found 'x'"),
        ("base_level = inf", "index 'X': base_level: expected a number, found inf"),
        ("divisor = 0", "index 'X': divisor: expected more than 0, found 0"),
        ("divisor = '1e'", "index 'X': divisor: expected a number, found '1e'"),
        ("divisor = 1.5", "divisor"),
        ("style = 'momentum'", "style"),
        ("select = { size = 1 }", "select"),
        ("base_date = 1986-12-31", "base_date"),
        ("code = 'X'", "Cannot overwrite a value"),
    ],
)
def test_a_wrong_field_is_named(line: str, words: str) -> None:
    """The message says file, index or place, and field."""
    message = refusal(f'[[index]]\ncode = "X"\n{line}')

    assert message.startswith("my.toml: ")
    assert words in message


@pytest.mark.parametrize("code", ["", "x", "A B", "-A", "A/B", "É", "A" * 33])
def test_a_code_that_could_not_be_a_key_is_refused(code: str) -> None:
    """It becomes part of Redis keys, channels and addresses."""
    assert f"index {code!r}: code: expected up to 32" in refusal(f'[[index]]\ncode = "{code}"')


def test_codes_made_by_a_column_are_codes_too() -> None:
    """A value that does not fit into a code is refused like a code that does not."""
    message = refusal('[[index]]\ncode = "X"\nby = "industry"')

    assert "OIL & GAS" in message.upper()


def test_an_index_defined_twice_is_refused() -> None:
    """Whether both are written or one comes of a column."""
    both = '[[index]]\ncode = "X"\n[[index]]\ncode = "X"'
    split = '[[index]]\ncode = "X"\nby = "size"\n[[index]]\ncode = "X-LARGE"'

    assert refusal(both) == "my.toml: index X is defined twice"
    assert refusal(split) == "my.toml: index X-LARGE is defined twice"


@pytest.mark.parametrize(
    "text", ["[[index]", "index = 1", "[[index]]\nname = 'no code'", "indexes = []"]
)
def test_a_file_that_is_no_index_file_is_refused(text: str) -> None:
    """Syntax, types, missing and unknown fields."""
    assert refusal(text).startswith("my.toml: ")


def test_a_file_says_whether_it_replaces_and_how_it_names_sectors() -> None:
    """Both may be left out."""
    said = read_index_file('replace = true\n[sectors]\n"Rails" = "INDUSTRIALS"')
    silent = read_index_file("")

    assert (said.replaces, said.sectors) == (True, {"Rails": "INDUSTRIALS"})
    assert (silent.replaces, silent.sectors) == (False, {})


def test_a_sector_that_is_not_ours_is_refused() -> None:
    """New names are mapped to the eleven; no twelfth is made."""
    with pytest.raises(FileError, match=r"my\.toml: sectors: TULIPS is none of BASICMATERIALS"):
        read_index_file('[sectors]\n"Flowers" = "TULIPS"', file="my.toml")
