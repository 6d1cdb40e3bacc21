"""Venues: which exchange a letter of the tape stands for, and where a stock's official prices are made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Market identifier (ISO 10383) of each venue letter; an off-exchange print has none.
VENUES = {
    "N": "XNYS",
    "A": "XASE",
    "P": "ARCX",
    "Q": "XNAS",
    "T": "XNAS",
    "Z": "BATS",
    "D": "",
}

_LETTERS = 256
_NO_LETTER = 0


class PrimaryVenues:
    """Tells whether a print was made on the primary exchange of its instrument.

    Parameters
    ----------
    mics
        Market identifier of each instrument's primary listing, by row; empty where it is not known.

    Notes
    -----
    A print without a letter counts, and so does every print of an instrument whose primary exchange is not known: there is
    nothing that speaks against it. One made off exchange never counts.
    """

    __slots__ = ("_market", "_table")

    def __init__(self, mics: Sequence[str]) -> None:
        known = sorted(set(VENUES.values()) - {""})
        number = {mic: i for i, mic in enumerate(known)}
        self._market = np.array([number.get(mic, len(known)) for mic in mics], np.uint8)
        self._table = np.zeros((len(known) + 1, _LETTERS), bool)
        self._table[:, _NO_LETTER] = True
        self._table[len(known)] = True
        for letter, mic in VENUES.items():
            if mic:
                self._table[number[mic], ord(letter)] = True
            else:
                self._table[:, ord(letter)] = False

    def contain(self, row: NDArray[np.int32], venue: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell it of each print.

        Parameters
        ----------
        row
            int32, shape (n,): the instruments.
        venue
            uint8, shape (n,): letters.
        """
        return self._table[self._market[row], venue]

    def has(self, row: int, venue: int) -> bool:
        """Tell it of one print."""
        return bool(self._table[self._market[row], venue])
