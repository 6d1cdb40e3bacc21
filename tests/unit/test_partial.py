"""Partials: what adds up, and what must not be added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from figures import COLUMNS, with_figures
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.partial import CLOSE, NO_EVENT, Origin, Partial, no_futures, overlap, total
from stream.index.universe import read_universe

COMPOSITION = Composition.build(
    read_universe(["symbol,price,float_shares", *[f"S{i},1,1" for i in range(17)]]),
    [Definition("X", "", {}), Definition("Y", "", {}, weighting="price")],
)
ZERO = Partial.zero(COMPOSITION)


def touching(*rows: int) -> Partial:
    touched = np.zeros(17, bool)
    touched[list(rows)] = True
    return replace(ZERO, touched=np.packbits(touched))


def test_the_partial_of_nothing_is_neutral() -> None:
    """Added on either side it changes nothing."""
    one = with_figures(
        ZERO,
        offsets={1: 5},
        origin=Origin.SIMULATED,
        value=np.array([3, -4]),
        priced=np.array([1, 2]),
        event_ns=np.array([NO_EVENT, 77]),
    )

    for both in (one + ZERO, ZERO + one):
        assert both.same_values(one)
        assert (both.offsets, both.origin) == ({1: 5}, Origin.SIMULATED)
    assert total(COMPOSITION, []).same_values(ZERO)


@pytest.mark.parametrize(
    "name",
    [
        "value",
        "priced",
        "up",
        "down",
        "priced_close",
        "close",
        "extended_base",
        "covered_close",
        "stale",
        "oldest_ns",
        "clock_ns",
        "event_ns",
        "touched",
    ],
)
def test_any_integer_that_differs_makes_a_partial_another(name: str) -> None:
    """The check of law 2 misses none."""
    column = ZERO.columns[COLUMNS[name]] if name in COLUMNS else getattr(ZERO, name)
    other = with_figures(ZERO, **{name: column + 1})

    assert ZERO.same_values(replace(ZERO, offsets={9: 9}))
    assert not ZERO.same_values(other)
    assert not other.same_values(ZERO)


def test_counts_add_up_times_and_origins_take_the_highest() -> None:
    """Integers are sums; the newest event, the least real origin and the last record that all obeyed stand for all."""
    a = with_figures(
        ZERO,
        up=np.array([1, 2]),
        event_ns=np.array([5, NO_EVENT]),
        origin=Origin.REPLAY,
        control=9,
    )
    b = with_figures(
        ZERO,
        up=np.array([10, 0]),
        event_ns=np.array([3, 4]),
        down=np.array([1, 1]),
        close=np.array([-7, 7]),
        control=7,
    )

    both = a + b

    assert (both.up.tolist(), both.down.tolist()) == ([11, 2], [1, 1])
    assert both.event_ns.tolist() == [5, 4]
    assert both.columns[CLOSE].tolist() == [-7, 7]
    assert both.origin is Origin.REPLAY
    assert both.control == 7


@pytest.mark.parametrize(
    "told",
    [
        pytest.param((24_000_000, 77, 23_900_000, 70, 0), id="priced"),
        pytest.param((0, NO_EVENT, 0, NO_EVENT, 1), id="halted before its first price"),
        pytest.param((0, NO_EVENT, 23_900_000, 70, 0), id="its one price was cancelled"),
    ],
)
def test_a_contract_is_as_its_own_partition_tells_it(told: tuple[int, ...]) -> None:
    """Partitions that know nothing of it say nothing, in whatever order they are added."""
    nothing = replace(ZERO, futures=no_futures(1))
    one = replace(nothing, futures=np.array(told, np.int64).reshape(-1, 1))

    for terms in ((one, nothing), (nothing, one), (nothing, one, nothing)):
        assert total(COMPOSITION, terms).futures.T.tolist() == [list(told)]


def test_partials_of_two_sessions_do_not_add() -> None:
    """Their counts and closes are of different days (law 5)."""
    one = replace(ZERO, session="2026-07-16", offsets={0: 1})

    assert (one + replace(one, offsets={1: 1})).standing == (COMPOSITION.id, "2026-07-16")
    with pytest.raises(ValueError, match=r"partials of .*2026-07-16.* and .*2026-07-17.* do not"):
        one + replace(one, offsets={1: 1}, session="2026-07-17")


def test_partials_of_two_compositions_do_not_add() -> None:
    """Their values stand for different references (law 5)."""
    with pytest.raises(ValueError, match=r"partials of .* and \('other', ''\) do not add"):
        ZERO + replace(ZERO, composition="other")


def test_two_partials_of_one_partition_do_not_add() -> None:
    """One stock would be counted twice."""
    one = replace(ZERO, offsets={1: 5, 2: 5})

    with pytest.raises(ValueError, match="partition 2 twice"):
        one + replace(ZERO, offsets={2: 6, 3: 6})


@pytest.mark.parametrize(
    ("parts", "rows"),
    [
        ([], []),
        ([(0, 16)], []),
        ([(0, 1, 2), (3, 16)], []),
        ([(0, 1, 16), (1, 2, 16), ()], [1, 16]),
        ([(4,), (5,), (4,), (5,), (4,)], [4, 5]),
    ],
)
def test_overlap_gives_the_rows_that_two_have_touched(
    parts: list[tuple[int, ...]], rows: list[int]
) -> None:
    """Once each, ascending, over byte borders (law 7)."""
    found = overlap([touching(*part) for part in parts], n_rows=17)

    assert found.tolist() == rows
    assert found.dtype == np.int64
