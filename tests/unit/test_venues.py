"""Which prints were made on the primary exchange of their instrument: every letter, every exchange."""

from __future__ import annotations

import numpy as np

from oracle import EXCHANGES
from stream.index.venues import PrimaryVenues

#: Known ones, one that no letter stands for, and none.
MICS = (*sorted(set(EXCHANGES.values())), "XLON", "")
LETTERS = range(256)


def is_primary(mic: str, letter: int) -> bool:
    """State the rule: nothing that is known speaks against it; off exchange is never primary."""
    if letter == 0:
        return True
    if chr(letter) == "D":
        return False
    return mic not in EXCHANGES.values() or EXCHANGES.get(chr(letter)) == mic


def test_every_letter_of_every_exchange() -> None:
    """One by one and many at once say the same."""
    venues = PrimaryVenues(MICS)
    row = np.repeat(np.arange(len(MICS), dtype=np.int32), len(LETTERS))
    letter = np.tile(np.array(LETTERS, np.uint8), len(MICS))
    expected = [is_primary(mic, one) for mic in MICS for one in LETTERS]

    assert venues.contain(row, letter).tolist() == expected
    assert [venues.has(r, v) for r, v in zip(row.tolist(), letter.tolist(), strict=True)] == (
        expected
    )


def test_nasdaq_has_two_letters() -> None:
    """`Q` of its own listings, `T` of the others': both are its own."""
    venues = PrimaryVenues(["XNAS", "XNYS"])

    assert [venues.has(0, ord(letter)) for letter in "QTN"] == [True, True, False]
    assert [venues.has(1, ord(letter)) for letter in "QTN"] == [False, False, True]
