"""Sale conditions and venues, letter by letter as the contract lists them."""

from __future__ import annotations

import string

import pytest

import oracle
from stream.index.ticks import REGULAR_HOURS_CONDITIONS, Condition, Verdict
from stream.wire.conditions import CONDITION_BITS, VENUES, condition_bits, unknown_letters


@pytest.mark.parametrize(("letter", "meaning"), oracle.CONDITIONS.items())
def test_a_letter_has_its_bits_and_moves_the_last_price_as_the_table_says(
    letter: str, meaning: tuple[int, bool]
) -> None:
    """The bits are those of the table, and all lie in the regular set exactly where it says yes."""
    bits, regular = meaning

    assert condition_bits(letter) == bits
    assert (bits & ~REGULAR_HOURS_CONDITIONS == 0) is regular


def test_the_table_has_no_further_letters() -> None:
    """A letter of our own invention would not be on any tape."""
    assert set(CONDITION_BITS) == set(oracle.CONDITIONS)


@pytest.mark.parametrize("letter", sorted(set(string.printable) - set(oracle.CONDITIONS) - {" "}))
def test_all_other_letters_are_unknown_and_not_regular(letter: str) -> None:
    """They are counted by letter, and set no price."""
    assert condition_bits(letter) == 32768
    assert unknown_letters(letter) == [letter]
    assert not REGULAR_HOURS_CONDITIONS & 32768


def test_letters_add_up_in_any_order_and_blanks_mean_nothing() -> None:
    """A print has all the bits of its letters."""
    assert condition_bits("FT") == condition_bits("TF") == condition_bits("F  T") == 1024 + 32
    assert condition_bits("") == condition_bits("    ") == 0
    assert unknown_letters("@ ?F!?") == ["?", "!", "?"]


def test_one_letter_that_is_no_makes_a_print_ineligible() -> None:
    """A print sets the last price only if every one of its letters is marked yes."""
    mixed = condition_bits("@FOT")

    assert mixed & ~REGULAR_HOURS_CONDITIONS == Condition.EXTENDED


def test_venues_are_those_of_the_table() -> None:
    """Letters of the tape to ISO 10383; an off-exchange print has no market."""
    assert VENUES == {
        "N": "XNYS",
        "A": "XASE",
        "P": "ARCX",
        "Q": "XNAS",
        "T": "XNAS",
        "Z": "BATS",
        "D": "",
    }


def test_reasons_are_the_names_of_the_accounts() -> None:
    """Metrics, summaries and dead letters use the words of law 9."""
    assert {verdict.reason for verdict in Verdict} == {
        "applied",
        "wrong_partition",
        "unknown_symbol",
        "future",
        "ineligible",
        "unmatched",
        "out_of_bounds",
        "older",
        "duplicate",
        "suspect",
    }
