"""How services tell the user what they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Say: TypeAlias = Callable[[str], object]
"""Takes one sentence for the user. With the `print` method of a rich console, long work also
shows a progress bar there."""


def nothing(_sentence: str) -> None:
    """Say nothing.

    Parameters
    ----------
    _sentence : str
        What is not said.
    """
