"""Laws 5 to 7 of the design: the aggregator keeps the newest partial of each partition, and counts no stock twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from figures import with_figures
from stream.index.aggregate import Aggregator, changed
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.partial import NO_EVENT, Origin, Partial
from stream.index.universe import read_universe

N_ROWS = 6
COMPOSITION = Composition.build(
    read_universe(
        ["symbol,price,float_shares,size", *[f"S{i},1,1,{'ab'[i % 2]}" for i in range(N_ROWS)]]
    ),
    [Definition("ALL", "", {}), *[Definition(s.upper(), "", {"size": frozenset(s)}) for s in "ab"]],
)
#: Members of each index, by hand.
MEMBERS = ({0, 1, 2, 3, 4, 5}, {0, 2, 4}, {1, 3, 5})
ZERO = Partial.zero(COMPOSITION)


def partial_of(partition: int, offset: int, value: int, rows: frozenset[int]) -> Partial:
    touched = np.zeros(N_ROWS, bool)
    touched[list(rows)] = True
    return with_figures(
        ZERO,
        offsets={partition: offset},
        value=np.array([value, 2 * value, 3 * value]),
        touched=np.packbits(touched),
    )


PARTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 5),
        st.integers(-9, 9),
        st.frozensets(st.integers(0, N_ROWS - 1)),
        st.sampled_from((True, True, True, False)),
    ),
    max_size=12,
)


@given(PARTS, st.none() | st.frozensets(st.integers(0, 2)))
def test_the_newest_partial_of_each_partition_counts_whoever_sent_it_and_when(
    parts: list[tuple[int, int, int, frozenset[int], bool]], kept: frozenset[int] | None
) -> None:
    """Late ones and those of another composition change nothing; a stock on two partitions holds its indexes."""
    aggregator = Aggregator(COMPOSITION, n_partitions=3)
    newest: dict[int, tuple[int, int, frozenset[int]]] = {}
    for partition, offset, value, rows, ours in parts:
        late = partition in newest and newest[partition][0] > offset
        partial = partial_of(partition, offset, value, rows)
        aggregator.total()
        taken = aggregator.add(partial if ours else replace(partial, composition="other"))
        assert taken is (ours and not late)
        if taken:
            newest[partition] = (offset, value, rows)
    if kept is not None:
        aggregator.keep(kept)
        newest = {partition: newest[partition] for partition in newest.keys() & kept}

    total = aggregator.total()

    value = sum(value for _, value, _ in newest.values())
    assert total.value.tolist() == [value, 2 * value, 3 * value]
    assert total.offsets == {partition: offset for partition, (offset, _, _) in newest.items()}
    assert aggregator.total() is total
    assert aggregator.complete is (len(newest) == 3)
    twice = {row for row in range(N_ROWS) if sum(row in rows for _, _, rows in newest.values()) > 1}
    assert aggregator.contested.tolist() == sorted(twice)
    assert aggregator.held.tolist() == [bool(twice & members) for members in MEMBERS]


def test_everything_differs_from_nothing_and_from_another_feed_or_composition() -> None:
    """All snapshots are published anew."""
    every = [0, 1, 2]

    assert changed(ZERO, None).tolist() == every
    assert changed(ZERO, replace(ZERO, origin=Origin.REPLAY)).tolist() == every
    assert changed(ZERO, replace(ZERO, composition="other")).tolist() == every


@given(
    st.sampled_from(("value", "priced", "up", "down", "event_ns")),
    st.frozensets(st.integers(0, 2)),
)
def test_an_index_is_published_if_any_figure_of_its_snapshot_differs(
    name: str, positions: frozenset[int]
) -> None:
    """And only then."""
    column = getattr(ZERO, name).copy()
    column[list(positions)] += 1

    found = changed(with_figures(ZERO, **{name: column}), ZERO)

    assert found.tolist() == sorted(positions)


def test_offsets_alone_change_no_snapshot() -> None:
    """A log may go on without moving any index."""
    assert changed(replace(ZERO, offsets={0: 9}), replace(ZERO, offsets={0: 7})).tolist() == []
    assert set(ZERO.event_ns.tolist()) == {NO_EVENT}
