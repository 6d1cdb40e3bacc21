"""The aggregator: which partials count, and when a level is known (laws 5 and 7)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.index.aggregate import Aggregator, Doubt, changed
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.partial import Origin, Partial
from stream.index.ticks import Ticks
from stream.index.universe import read_universe
from stream.session.calendar import Calendar

OPENING = 1_381_152_600_000_000_000  # 2013-10-07 09:30 New York
HOURS = Calendar.bundled()

#: Ten shares of each at 1 dollar; `ODD` holds S1 and S3, `EVEN` the others, `ALL` every one.
COMPOSITION = Composition.build(
    read_universe(
        [
            "symbol,price,float_shares,parity",
            "S0,1,10,even",
            "S1,1,10,odd",
            "S2,1,10,even",
            "S3,1,10,odd",
        ]
    ),
    [
        Definition("ALL", "", {}),
        Definition("ODD", "", {"parity": frozenset(("odd",))}),
        Definition("EVEN", "", {"parity": frozenset(("even",))}),
    ],
)
ALL, ODD, EVEN = range(3)
#: Another composition of the same instruments: `ALL` alone.
SHORTER = Composition.build(COMPOSITION.universe, [Definition("ALL", "", {})])


def partial(partition: int, offset: int, *trades: tuple[int, int], ts: int = OPENING) -> Partial:
    """Make what a partition's book contributes after trades of (row, price in 1/10000 dollar)."""
    book = Book(COMPOSITION, calendar=HOURS, partition=partition)
    n = len(trades)
    rows, prices = zip(*trades, strict=True) if trades else ((), ())
    book.apply(
        Ticks(
            row=np.array(rows, np.int32),
            price=np.array(prices, np.int64),
            ts=np.full(n, ts),
            seq=np.zeros(n, np.uint64),
            cond=np.ones(n, np.uint16),
            kind=np.zeros(n, np.uint8),
            recorded=np.full(n, ts),
            size=np.zeros(n, np.uint32),
            venue=np.zeros(n, np.uint8),
        )
    )
    book.offset = offset
    return book.partial()


def aggregator(n_partitions: int = 2) -> Aggregator:
    return Aggregator(COMPOSITION, n_partitions=n_partitions)


def gains(sums: Aggregator) -> list[float]:
    """Market value of each index less that at 1 dollar, in dollars."""
    scales = [10 ** (4 + index.k) for index in COMPOSITION.indexes]
    return [gain / scale for gain, scale in zip(sums.total().value.tolist(), scales, strict=True)]


def test_the_partial_with_the_highest_offset_counts() -> None:
    """Who computed it, and when it came, does not matter."""
    sums = aggregator(1)

    assert sums.add(partial(0, 5, (0, 20_000)))
    assert not sums.add(partial(0, 4, (0, 90_000)))
    assert gains(sums) == [10, 0, 10]
    assert sums.add(partial(0, 6, (0, 30_000)))
    assert gains(sums) == [20, 0, 20]
    assert dict(sums.total().offsets) == {0: 6}


def test_the_order_of_partials_changes_nothing() -> None:
    """Any order of arrival ends at the same sum."""
    parts = [partial(0, 1, (0, 11_000)), partial(0, 2, (0, 12_000)), partial(1, 9, (1, 15_000))]
    totals = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)):
        sums = aggregator()
        for i in order:
            sums.add(parts[i])
        totals.append(sums.total())

    assert all(one.same_values(totals[0]) for one in totals)
    assert totals[0].offsets == {0: 2, 1: 9}


def test_a_composition_that_was_never_told_of_is_waited_for() -> None:
    """Its partials are kept, and no level is made of them: their indexes are not known here (law 5)."""
    sums = aggregator(1)

    assert sums.add(replace(partial(0, 5, (0, 20_000)), composition=SHORTER.id))
    assert (sums.complete, sums.unknown) == (False, frozenset({SHORTER.id}))
    assert gains(sums) == [0, 0, 0]
    assert list(sums.partials) == [0]

    sums.know(SHORTER)

    assert (sums.complete, sums.unknown) == (True, frozenset())
    assert sums.composition is SHORTER


def test_the_last_sum_is_held_until_all_partitions_have_crossed() -> None:
    """Partials of two sessions are never added: what all agreed on last stays, and says so (law 5)."""
    sums = aggregator()
    sums.add(partial(0, 1, (0, 20_000)))
    sums.add(partial(1, 1, (1, 30_000)))
    before = sums.total()

    sums.add(replace(partial(0, 2, (0, 50_000)), session="2013-10-08"))
    sums.add(replace(partial(0, 3, (0, 60_000)), session="2013-10-08"))

    assert sums.crossing
    assert sums.total() is before
    assert sums.total().session == ""
    assert sums.doubts.tolist() == [Doubt.HELD] * 3

    sums.add(replace(partial(1, 2, (1, 30_000)), session="2013-10-08"))

    assert not sums.crossing
    assert sums.total().session == "2013-10-08"
    assert gains(sums) == [70, 20, 50]
    assert sums.doubts.tolist() == [Doubt.NONE] * 3


def test_a_stock_on_two_partitions_is_found_in_the_next_composition_too() -> None:
    """Its row is another there; as soon as all have crossed, not when the stock is touched again (law 7)."""
    sums = aggregator()
    sums.know(SHORTER)
    for partition in range(2):
        touched = partial(partition, 1, (3, 20_000)).touched
        crossed = replace(Partial.zero(SHORTER), offsets={partition: 1}, touched=touched)
        sums.add(crossed)

    assert sums.composition is SHORTER
    assert sums.contested.tolist() == [3]
    assert sums.doubts.tolist() == [Doubt.HELD]


def test_a_silent_partition_makes_the_indexes_with_its_stocks_stale() -> None:
    """And those with stocks that were never seen anywhere, which may be there; the level moves on with the others."""
    sums = aggregator()
    sums.add(partial(0, 1, (0, 20_000), (2, 20_000)))
    sums.add(partial(1, 1, (1, 30_000)))
    doubts = [sums.doubts.tolist()]

    for silent in ({0}, {1}, {0, 1}, ()):
        sums.silence(silent)
        doubts.append(sums.doubts.tolist())
    sums.add(partial(1, 2, (1, 30_000), (3, 30_000)))
    sums.silence({0})
    doubts.append(sums.doubts.tolist())

    fresh, stale = Doubt.NONE, Doubt.STALE
    assert doubts == [
        [fresh, fresh, fresh],
        [stale, stale, stale],  # row 3, of ODD, was never seen
        [stale, stale, fresh],
        [stale, stale, stale],
        [fresh, fresh, fresh],
        [stale, fresh, stale],
    ]


def test_held_is_graver_than_stale() -> None:
    """An index that both apply to says that its level is the last good one."""
    sums = aggregator()
    sums.add(partial(0, 1, (0, 20_000)))
    sums.add(partial(1, 1, (0, 30_000)))

    sums.silence({0})

    assert sums.doubts.tolist() == [Doubt.HELD, Doubt.STALE, Doubt.HELD]


def test_no_level_is_known_before_every_partition_has_been_heard_of() -> None:
    """A sum of some partitions is no level; an empty partition speaks, too."""
    sums = aggregator(3)
    completed = []
    for one in (partial(0, 1, (0, 20_000)), partial(0, 2), partial(2, 0), partial(1, 0)):
        sums.add(one)
        completed.append(sums.complete)

    assert completed == [False, False, False, True]


def test_partitions_that_were_given_away_are_forgotten() -> None:
    """Their books are kept elsewhere: their old values must not be counted, and their new ones are waited for."""
    sums = aggregator()
    sums.add(partial(0, 1, (0, 20_000)))
    sums.add(partial(1, 9, (1, 30_000)))

    sums.keep({0})

    assert not sums.complete
    assert gains(sums) == [0, 0, 0]
    assert sums.add(partial(1, 3, (1, 40_000)))
    assert gains(sums) == [40, 30, 10]


def test_rows_on_two_partitions_hold_their_indexes() -> None:
    """Law 7: the indexes that hold the stock, no others, for as long as both count it."""
    sums = aggregator()
    sums.add(partial(0, 1, (0, 20_000), (1, 20_000)))
    assert sums.contested.tolist() == []
    sums.add(partial(1, 1, (3, 20_000), (1, 30_000)))

    assert sums.contested.tolist() == [1]
    assert sums.doubts.tolist() == [Doubt.HELD, Doubt.HELD, Doubt.NONE]
    sums.keep({1})
    assert sums.contested.tolist() == []
    assert sums.doubts.tolist() == [Doubt.NONE] * 3


def test_one_partition_may_see_a_stock_as_often_as_it_likes() -> None:
    """Newer partials of one partition replace each other; they do not contest."""
    sums = aggregator(1)
    for offset in range(1, 4):
        sums.add(partial(0, offset, (1, 20_000 + offset)))

    assert sums.contested.tolist() == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param([(0, 20_000)], [], id="the same"),
        pytest.param([(0, 20_001)], [ALL, EVEN], id="a price"),
        pytest.param([(0, 20_000), (1, 10_000)], [ALL, ODD], id="priced at the reference price"),
        pytest.param([(0, 20_000), (3, 9_999)], [ALL, ODD], id="another stock"),
        pytest.param([], [ALL, EVEN], id="less"),
    ],
)
def test_indexes_that_would_look_different_are_found(
    now: list[tuple[int, int]], expected: list[int]
) -> None:
    """Only what changed is published, and all of it."""
    before = partial(0, 1, (0, 20_000))

    assert changed(partial(0, 2, *now), before).tolist() == expected


def test_a_later_event_at_the_same_price_is_a_change() -> None:
    """`event_ns` is part of a snapshot."""
    before, after = partial(0, 1, (1, 20_000)), partial(0, 2, (1, 20_000), ts=OPENING + 1)

    assert changed(after, before).tolist() == [ALL, ODD]


def test_everything_changes_at_first_and_with_origin_composition_or_session() -> None:
    """What a snapshot says of itself is said by all of them."""
    one = partial(0, 1, (1, 20_000))

    others = (
        replace(one, origin=Origin.SIMULATED),
        replace(one, composition="old"),
        replace(one, session="2013-10-08"),
    )
    for before in (None, *others):
        assert changed(one, before).tolist() == [ALL, ODD, EVEN]


def test_prices_that_cancel_out_are_seen() -> None:
    """The value is the same though two stocks moved: who is up and down tells."""
    before = partial(0, 1, (0, 10_000), (2, 10_000))
    after = partial(0, 2, (0, 10_100), (2, 9_900))

    assert changed(after, before).tolist() == [ALL, EVEN]
