"""Sale conditions and venues: the letters of the tape, in one table each (`formats.md`, Kafka topics)."""

from __future__ import annotations

from stream.index.ticks import Condition

#: Bits of each letter that a trade's `cond` may hold.
CONDITION_BITS = {
    "@": Condition.REGULAR,
    "F": Condition.SWEEP,
    "E": Condition.SWEEP,
    "O": Condition.OPENING,
    "5": Condition.REOPENING,
    "6": Condition.CLOSING,
    "X": Condition.REGULAR,
    "K": Condition.REGULAR,
    "T": Condition.EXTENDED,
    "U": Condition.EXTENDED | Condition.OUT_OF_SEQUENCE,
    "I": Condition.ODD_LOT,
    "W": Condition.AVERAGE_PRICE,
    "B": Condition.AVERAGE_PRICE,
    "4": Condition.DERIVATIVE,
    "V": Condition.CONTINGENT,
    "7": Condition.CONTINGENT,
    "P": Condition.PRIOR_REFERENCE,
    "Z": Condition.OUT_OF_SEQUENCE,
    "L": Condition.OUT_OF_SEQUENCE,
    "C": Condition.NOT_REGULAR_WAY,
    "N": Condition.NOT_REGULAR_WAY,
    "R": Condition.NOT_REGULAR_WAY,
    "Q": Condition.OFFICIAL_OPEN,
    "M": Condition.OFFICIAL_CLOSE,
    "9": Condition.OFFICIAL_CLOSE,
}

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


def condition_bits(letters: str) -> int:
    """Translate a `cond` into its bits.

    Parameters
    ----------
    letters
        Letters of the tape, in any order; a space means none.

    Returns
    -------
    int
        0 to 65535; letters that are not in the table set Condition.UNKNOWN.

    Examples
    --------
    >>> condition_bits("FT"), condition_bits("@"), condition_bits("?"), condition_bits("")
    (1056, 1, 32768, 0)
    """
    bits = 0
    for letter in letters:
        if letter != " ":
            bits |= CONDITION_BITS.get(letter, Condition.UNKNOWN)
    return bits


def unknown_letters(letters: str) -> list[str]:
    """Give the letters of a `cond` that are not in the table."""
    return [letter for letter in letters if letter != " " and letter not in CONDITION_BITS]
