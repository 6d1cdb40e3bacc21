"""From a symbol on the wire to its row, one by one from text or in bulk from the eight bytes of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from stream.index.ticks import UNKNOWN_ROW
from stream.index.universe import SYMBOL_LENGTH, valid_symbol

#: Knuth's multiplicative hash: the golden ratio of 2^64.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

#: Slots a key; sparse, so that nearly all keys are found at the first probe.
_SLOTS_PER_KEY = 8


class SymbolTable:
    """Rows by symbol.

    Parameters
    ----------
    symbols
        By row.
    """

    __slots__ = ("_key", "_row", "_row_of", "_shift")

    def __init__(self, symbols: Sequence[str]) -> None:
        self._row_of = {symbol: row for row, symbol in enumerate(symbols)}
        keys: dict[int, int] = {}
        for symbol, row in self._row_of.items():
            for padding in (b"\0", b" "):
                keys[int.from_bytes(symbol.encode().ljust(SYMBOL_LENGTH, padding), "little")] = row
        bits = max(4, (len(keys) * _SLOTS_PER_KEY - 1).bit_length())
        self._shift = np.uint64(64 - bits)
        self._key = np.zeros(2**bits, np.uint64)
        self._row = np.full(2**bits, UNKNOWN_ROW, np.int32)
        for key, row in keys.items():
            slot = int(self._slots(np.array([key], np.uint64))[0])
            while self._key[slot] != 0:
                slot = (slot + 1) % len(self._key)
            self._key[slot], self._row[slot] = key, row

    def rows(self, symbols: Sequence[str]) -> NDArray[np.int32]:
        """Find the rows of symbols given as text.

        Returns
        -------
        int32 array, shape (n,)
            UNKNOWN_ROW where no instrument has the symbol.
        """
        return np.fromiter(
            map(self._row_of.get, symbols, repeat(UNKNOWN_ROW)), np.int32, len(symbols)
        )

    def rows_of_keys(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Find the rows of symbols given as eight bytes, padded with NUL or space.

        Parameters
        ----------
        keys
            uint64, shape (n,): the bytes in little-endian order.

        Returns
        -------
        int32 array, shape (n,)
            UNKNOWN_ROW where no instrument has the symbol.

        Notes
        -----
        O(n): open addressing, probed for all keys at once.
        """
        slots = self._slots(keys)
        rows = self._row[slots]
        # An empty slot ends a probe; so does the key.
        open_probes = np.flatnonzero((self._key[slots] != keys) & (rows != UNKNOWN_ROW))
        while len(open_probes):
            slots[open_probes] = (slots[open_probes] + 1) % len(self._key)
            at = slots[open_probes]
            rows[open_probes] = self._row[at]
            open_probes = open_probes[
                (self._key[at] != keys[open_probes]) & (self._row[at] != UNKNOWN_ROW)
            ]
        return rows

    def _slots(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        return ((keys * _MULTIPLIER) >> self._shift).astype(np.int64)


def symbol_of_key(key: int) -> str | None:
    """Read a symbol from its eight bytes, or None where they are not 1 to 8 printable ASCII characters.

    Examples
    --------
    >>> symbol_of_key(int.from_bytes(b"AAPL    ", "little")), symbol_of_key(0)
    ('AAPL', None)
    """
    text = key.to_bytes(SYMBOL_LENGTH, "little").rstrip(b"\0 ").decode("latin-1")
    return text if valid_symbol(text) else None
