"""Rules for bad prices (`methodology.md` 2.5): what is held back as a suspect until another print confirms it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.units import NS_PER_S, PRICE_SCALE

_BP = 10_000
_NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class PriceRules:
    """How far a print may lie from the last good one, and what releases it.

    Attributes
    ----------
    limit_bp
        A print further than this from the last good price is a suspect, in 1/100 percent of that price; 0 means no limit.
    cheap_below, cheap_factor
        Below this price, in 1/10000 dollar, the limit is so many times as wide.
    wide_factor, wide_for_ns
        Outside regular hours, and for so long from the opening on, the limit is so many times as wide.
    guard_bp
        A print that moves any index by more than this is a suspect, in 1/100 percent of its reference value; 0: no guard.
    confirm_bp, confirm_ns
        A suspect is confirmed by another print no further from it than this, no later than so long after it.
    odd_lots
        Whether odd lots set the extended price.
    """

    limit_bp: int = 1_000
    cheap_below: int = 3 * PRICE_SCALE
    cheap_factor: int = 3
    wide_factor: int = 2
    wide_for_ns: int = 900 * NS_PER_S
    guard_bp: int = 200
    confirm_bp: int = 500
    confirm_ns: int = 600 * NS_PER_S
    odd_lots: bool = False

    @classmethod
    def none(cls) -> PriceRules:
        """Believe every print."""
        return cls(limit_bp=0, guard_bp=0)

    def limit(self, price: int, *, wide: bool) -> int:
        """Give how far a print may lie from a last good price, in 1/10000 dollar.

        Examples
        --------
        >>> PriceRules().limit(1_020_000, wide=False), PriceRules().limit(20_000, wide=True)
        (102000, 12000)
        """
        if not self.limit_bp:
            return _NO_LIMIT
        limit_bp = self.limit_bp * (self.cheap_factor if price < self.cheap_below else 1)
        return price * limit_bp * (self.wide_factor if wide else 1) // _BP

    def calm(self, price: int) -> int:
        """Give a distance from a price within which no print can be a suspect of another by the limit.

        Of two prices between `price - d` and `price + d` each lies within the limit of the other, if `2 d` is within that of
        `price - d`.
        """
        if not self.limit_bp:
            return _NO_LIMIT
        return price * self.limit_bp // (2 * _BP + self.limit_bp)

    def confirms(self, price: int, suspect: int) -> bool:
        """Tell whether a print is near enough to a suspect to confirm it."""
        return abs(price - suspect) * _BP <= suspect * self.confirm_bp


def guards(composition: Composition, rules: PriceRules) -> NDArray[np.int64]:
    """Work out how far a price may move at once without moving an index by more than the guard.

    Returns
    -------
    int64 array, shape (n_rows,)
        1/10000 dollar.
    """
    guard = np.full(len(composition.symbols), _NO_LIMIT, np.int64)
    if rules.guard_bp:
        for index in composition.indexes:
            most = index.reference_value * rules.guard_bp // _BP
            held = index.shares > 0
            guard[index.row[held]] = np.minimum(guard[index.row[held]], most // index.shares[held])
    return guard
