"""The status of a level: how far it is to be relied on, in one word (`formats.md`, Status)."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from stream.index.aggregate import Doubt


class Status(StrEnum):
    """One word for a level; of those that apply, the first."""

    HELD = "held"
    HALTED = "halted"
    STALE = "stale"
    OPENING = "opening"
    CLOSING = "closing"
    INDICATIVE = "indicative"
    CORRECTED = "corrected"
    OFFICIAL_CLOSE = "official_close"
    FIRM = "firm"
    CLOSED = "closed"


class Facts(NamedTuple):
    """What the status of an index depends on.

    Attributes
    ----------
    doubt
        Of the aggregator.
    regular
        Regular hours of the cash market.
    halted
        At least half of the weight is halted.
    silent
        In regular hours: the feed is silent, or most constituents are stale.
    futures_stale
        Outside regular hours: the contract that the estimate would follow speaks for nothing.
    opening
        Regular hours have begun, and too little has opened.
    closing
        Regular hours are over, and official closes are waited for.
    indicative
        There is an indicative level.
    corrected
        An official close of the session was corrected.
    priced
        Some constituent has ever had a price: there is a close for the level to stand at.
    """

    doubt: Doubt
    regular: bool
    halted: bool
    silent: bool
    futures_stale: bool
    opening: bool
    closing: bool
    indicative: bool
    corrected: bool
    priced: bool


def status_of(facts: Facts) -> Status:
    """Find the first status that applies.

    Parameters
    ----------
    facts
        Of one index at one moment; those of other hours make no difference.

    Returns
    -------
    Status
        Never `firm` outside regular hours, and nothing of the night in them.
    """
    if facts.doubt is Doubt.HELD:
        return Status.HELD
    if facts.regular:
        return _in_regular_hours(facts)
    return _outside(facts)


def _in_regular_hours(facts: Facts) -> Status:
    if facts.halted:
        return Status.HALTED
    if facts.doubt is Doubt.STALE or facts.silent:
        return Status.STALE
    return Status.OPENING if facts.opening else Status.FIRM


def _outside(facts: Facts) -> Status:
    applies = (
        (Status.STALE, facts.doubt is Doubt.STALE or facts.futures_stale),
        (Status.CLOSING, facts.closing),
        (Status.INDICATIVE, facts.indicative),
        (Status.CORRECTED, facts.corrected),
        (Status.OFFICIAL_CLOSE, facts.priced),
    )
    return next((status for status, it_does in applies if it_does), Status.CLOSED)
