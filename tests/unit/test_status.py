"""The status of a level: the first of the contract's list that applies, whatever else does."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from stream.index.aggregate import Doubt
from stream.index.status import Facts, Status, status_of

#: The order of `formats.md`, each with what calls for it; the last two are left where nothing else applies.
ORDER: tuple[tuple[str, Callable[[Facts], bool]], ...] = (
    ("held", lambda x: x.doubt is Doubt.HELD),
    ("halted", lambda x: x.regular and x.halted),
    (
        "stale",
        lambda x: x.doubt is Doubt.STALE or (x.silent if x.regular else x.futures_stale),
    ),
    ("opening", lambda x: x.regular and x.opening),
    ("closing", lambda x: not x.regular and x.closing),
    ("indicative", lambda x: not x.regular and x.indicative),
    ("corrected", lambda x: not x.regular and x.corrected),
    ("official_close", lambda x: not x.regular and x.priced),
    ("firm", lambda x: x.regular),
    ("closed", lambda _: True),
)
EVERY = [Facts(doubt, *flags) for doubt in Doubt for flags in product((False, True), repeat=9)]


def test_of_all_that_apply_the_first_is_named() -> None:
    """Each of the 1,536 combinations."""
    for facts in EVERY:
        expected = next(name for name, applies in ORDER if applies(facts))
        assert status_of(facts) == expected, facts


def test_nothing_is_firm_outside_regular_hours() -> None:
    """And nothing of the night is said in them."""
    night = {status_of(facts) for facts in EVERY if not facts.regular}
    day = {status_of(facts) for facts in EVERY if facts.regular}

    assert night.isdisjoint({Status.FIRM, Status.OPENING, Status.HALTED})
    assert day == {Status.HELD, Status.HALTED, Status.STALE, Status.OPENING, Status.FIRM}
    assert night | day == set(Status)


def test_the_order_is_that_of_the_contract(shared: Path) -> None:
    """As the outside was told."""
    text = (shared / "formats.md").read_text("utf-8")
    match = re.search(r"\*\*Status\*\*, the first that applies: (.+?)\. A sector", text, re.DOTALL)
    assert match is not None

    assert re.findall(r"`([a-z_]+)`", match[1].replace("`indicative` is not null", "")) == [
        name for name, _ in ORDER
    ]


@pytest.mark.parametrize("status", Status)
def test_a_status_is_a_word(status: Status) -> None:
    """In lower case, as it goes out."""
    assert re.fullmatch(r"[a-z_]+", status)
    assert status == status.name.lower()
