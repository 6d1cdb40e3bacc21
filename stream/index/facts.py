"""What a row contributes to its indexes, by column: facts that are weighted by index shares, and facts that are counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.index.layer import Layer
from stream.index.partial import (
    CLOSE,
    CORRECTED,
    COVERED_CLOSE,
    DOWN,
    EXTENDED_BASE,
    EXTENDED_CLOSE,
    EXTENDED_VALUE,
    HALTED_CLOSE,
    NO_EVENT,
    OFFICIAL,
    OPEN_VALUE,
    OPENED_CLOSE,
    PRICED,
    PRICED_CLOSE,
    UP,
    VALUE,
)

#: Columns whose facts count 1/10000 dollar a share.
WEIGHTED = (
    VALUE,
    CLOSE,
    PRICED_CLOSE,
    OPENED_CLOSE,
    OPEN_VALUE,
    HALTED_CLOSE,
    EXTENDED_VALUE,
    EXTENDED_BASE,
    EXTENDED_CLOSE,
    COVERED_CLOSE,
)
#: Columns whose facts are 0 or 1.
COUNTED = (PRICED, UP, DOWN, OFFICIAL, CORRECTED)

#: In the order of `facts_of`.
FACTS = WEIGHTED + COUNTED
N_FACTS = len(FACTS)


def facts_of(
    layer: Layer, rows: NDArray[np.int64], reference: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Work out what some rows contribute.

    Parameters
    ----------
    layer
        Their prices.
    rows
        int64, shape (n,).
    reference
        int64, shape (n_rows,): reference prices.

    Returns
    -------
    int64 array, shape (N_FACTS, n)
        By column, in the order of FACTS.
    """
    detail, ts, price = layer.details[rows], layer.prints.ts[rows], layer.prints.price[rows]
    close, starts = layer.close[rows], layer.starts_ns
    extended_ts = detail["extended_ts"]
    priced = (ts >= starts) & (ts != NO_EVENT)
    any_extended = (extended_ts >= starts) & (extended_ts != NO_EVENT)
    live = any_extended & (extended_ts > ts)
    opening = detail["opening"]
    move = np.sign(price - close)
    return np.array(
        [
            price - reference[rows],
            close - reference[rows],
            close * priced,
            close * (opening > 0),
            np.where(opening > 0, opening, price) - reference[rows],
            close * detail["halted"],
            (detail["extended"] - price) * live,
            price * live,
            close * any_extended,
            close * (priced | any_extended),
            priced,
            priced & (move > 0),
            priced & (move < 0),
            (detail["official_rank"] > 0) & ~detail["official_late"],
            detail["corrected"],
        ],
        np.int64,
    )
