"""From constituents to index shares: float-cap, equal, price and capped weighting (`methodology.md` 1.7, 1.10).

Everything here is an exact fraction; the composition rounds it, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from stream.errors import CompositionError
from stream.index.definitions import Definition
from stream.index.universe import Instrument


def index_shares(definition: Definition, members: Sequence[Instrument]) -> list[Fraction]:
    """Give each member's index shares before rounding.

    Parameters
    ----------
    definition
        Of the index; its style is applied later, to the rounded integers.
    members
        The instruments it selects; not empty.

    Returns
    -------
    list of Fraction
        Shares, in the order of the members.

    Raises
    ------
    CompositionError
        Where a cap is too low for the number of members.
    """
    match definition.weighting:
        case "float_cap":
            return [member.float_shares for member in members]
        case "price":
            return [Fraction(1)] * len(members)
        case "equal":
            weights = [Fraction(1, len(members))] * len(members)
        case _:
            weights = _capped(definition, members)
    total = sum(member.float_shares * member.price for member in members)
    return [total * weight / member.price for weight, member in zip(weights, members, strict=True)]


def style_part(shares: int, growth: Decimal, style: str) -> int:
    """Split rounded index shares between growth and value: the two parts add up exactly (law 1).

    Parameters
    ----------
    shares
        Index shares of the line, in 10^-k.
    growth
        Probability of growth, 0..1; the rest is value.
    style
        `growth` or `value`.

    Examples
    --------
    >>> style_part(101, Decimal("0.5"), "value"), style_part(101, Decimal("0.5"), "growth")
    (50, 51)
    """
    value = round(shares * (1 - Fraction(growth)))
    return value if style == "value" else shares - value


def _capped(definition: Definition, members: Sequence[Instrument]) -> list[Fraction]:
    assert definition.limit is not None
    limit = Fraction(definition.limit)
    if limit * len(members) < 1:
        raise CompositionError(
            f"index {definition.code}: {len(members)} members of at most {definition.limit} "
            "cannot add up to 1: raise its limit"
        )
    values = [member.float_shares * member.price for member in members]
    total = sum(values)
    weights = [Fraction(value) / total for value in values]
    capped: set[int] = set()
    # What is cut goes to the uncapped in proportion; that may lift others above the limit, so again.
    while over := {i for i, weight in enumerate(weights) if weight > limit}:
        capped |= over
        rest = sum(values[i] for i in range(len(values)) if i not in capped)
        free = 1 - limit * len(capped)
        weights = [
            limit if i in capped else Fraction(values[i]) * free / rest for i in range(len(values))
        ]
    return weights
