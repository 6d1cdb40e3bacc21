"""What is wrong, in words."""

from __future__ import annotations

from datetime import datetime

from week.days import NEW_YORK, SECOND


class ContradictionError(AssertionError):
    """What was published is not what it should be."""


def compare(what: str, found: object, expected: object) -> None:
    """Compare two values.

    Raises
    ------
    ContradictionError
        Where they differ.
    """
    if found != expected:
        raise ContradictionError(f"{what}: found {found!r}, expected {expected!r}")


def clock_text(ts: int) -> str:
    """Write an instant as New York's clocks show it."""
    return f"{datetime.fromtimestamp(ts / SECOND, NEW_YORK):%a %Y-%m-%d %H:%M:%S.%f}"
