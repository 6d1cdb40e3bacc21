"""Laws 5 to 7 of the design: the aggregator adds up what agrees, holds what does not, and counts no stock twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from figures import COLUMNS, with_figures
from stream.index.aggregate import Aggregator, Doubt, changed
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.partial import NO_EVENT, Origin, Partial
from stream.index.universe import read_universe

N_ROWS = 6


def composition_of(date: str, sizes: str) -> Composition:
    """Build ALL, and one index for each letter, in alphabetical order."""
    lines = [f"S{i},1,1,{size},{date}" for i, size in enumerate(sizes)]
    by_size = [Definition(s.upper(), "", {"size": frozenset(s)}) for s in sorted(set(sizes))]
    return Composition.build(
        read_universe(["symbol,price,float_shares,size,price_date", *lines]),
        [Definition("ALL", "", {}), *by_size],
    )


COMPOSITION = composition_of("2026-07-16", "ababab")
#: One row and one index more.
NEXT = composition_of("2026-07-17", "cbababa")
#: Members of each index, by hand.
MEMBERS: Mapping[str, tuple[set[int], ...]] = {
    COMPOSITION.id: ({0, 1, 2, 3, 4, 5}, {0, 2, 4}, {1, 3, 5}),
    NEXT.id: ({0, 1, 2, 3, 4, 5, 6}, {2, 4, 6}, {1, 3, 5}, {0}),
    # Never told of.
    "other": ({0}, {1}, {2}),
}
SESSIONS = ("", "2026-07-16", "2026-07-17")
ZERO = Partial.zero(COMPOSITION)


@dataclass(frozen=True)
class Share:
    """What one partition contributes, in plain numbers."""

    partition: int
    offset: int
    composition: str
    session: str
    value: int
    rows: frozenset[int]

    @property
    def standing(self) -> tuple[str, str]:
        return self.composition, self.session

    @property
    def values(self) -> list[int]:
        """The value of each index: different ones."""
        return [self.value * (i + 1) for i in range(len(MEMBERS[self.composition]))]

    def partial(self) -> Partial:
        n_rows = 7 if self.composition == NEXT.id else N_ROWS
        touched = np.zeros(n_rows, bool)
        touched[list(self.rows)] = True
        zero = Partial.zero(NEXT if self.composition == NEXT.id else COMPOSITION)
        return with_figures(
            zero,
            composition=self.composition,
            session=self.session,
            offsets={self.partition: self.offset},
            value=np.array(self.values),
            touched=np.packbits(touched),
        )


@dataclass
class Desk:
    """The aggregator's laws, said plainly."""

    n: int
    newest: dict[int, Share] = field(default_factory=dict)
    known: set[str] = field(default_factory=lambda: {COMPOSITION.id})
    silent: frozenset[int] = frozenset()
    composition: str = COMPOSITION.id
    #: Of the last moment when all agreed.
    agreed: dict[int, Share] = field(default_factory=dict)

    def add(self, share: Share) -> bool:
        known = self.newest.get(share.partition)
        if known is not None and share.offset < known.offset:
            return False
        self.newest[share.partition] = share
        self._settle()
        return True

    def know(self, composition: str) -> None:
        # Those that nobody stands in any more are forgotten.
        in_use = {share.composition for share in self.newest.values()} | {self.composition}
        self.known = (self.known & in_use) | {composition}
        self._settle()

    def keep(self, partitions: frozenset[int]) -> None:
        if self.newest.keys() - partitions:
            self.newest = {p: s for p, s in self.newest.items() if p in partitions}
            self.agreed = {}

    @property
    def agree(self) -> bool:
        standings = {share.standing for share in self.newest.values()}
        return (
            len(self.newest) == self.n
            and len(standings) == 1
            and {composition for composition, _ in standings} <= self.known
        )

    def _settle(self) -> None:
        if self.agree:
            self.agreed = dict(self.newest)
            self.composition = next(iter(self.newest.values())).composition

    @property
    def values(self) -> list[int]:
        columns = [share.values for share in self.agreed.values()]
        n = len(MEMBERS[self.composition])
        return [sum(column[i] for column in columns) for i in range(n)]

    @property
    def touched_here(self) -> dict[int, frozenset[int]]:
        return {p: s.rows for p, s in self.newest.items() if s.composition == self.composition}

    @property
    def contested(self) -> set[int]:
        touched = self.touched_here.values()
        return {row for row in range(7) if sum(row in rows for rows in touched) > 1}

    @property
    def doubts(self) -> list[int]:
        heard = {r for p, rows in self.touched_here.items() if p not in self.silent for r in rows}
        return [self._doubt(members, heard) for members in MEMBERS[self.composition]]

    def _doubt(self, members: set[int], heard: set[int]) -> int:
        crossing = bool(self.agreed) and not self.agree
        if crossing or members & self.contested:
            return Doubt.HELD
        return Doubt.STALE if self.silent and members - heard else Doubt.NONE


PARTITIONS = st.frozensets(st.integers(0, 2))
SHARES = st.builds(
    Share,
    st.integers(0, 2),
    st.integers(0, 5),
    st.sampled_from((COMPOSITION.id, COMPOSITION.id, COMPOSITION.id, NEXT.id, "other")),
    st.sampled_from((*SESSIONS, SESSIONS[1], SESSIONS[1])),
    st.integers(-9, 9),
    st.frozensets(st.integers(0, N_ROWS - 1), max_size=3),
)


@st.composite
def crossings(draw: st.DrawFn) -> list[Share]:
    """Draw partials of partitions that all go from one standing to the next, each at its own time."""
    standings = [(COMPOSITION.id, ""), (COMPOSITION.id, SESSIONS[1]), (NEXT.id, SESSIONS[1])]
    at, shares = [0, 0, 0], []
    for offset in range(draw(st.integers(0, 18))):
        p = draw(st.integers(0, 2))
        at[p] = min(at[p] + draw(st.integers(0, 2)), 2)
        rows = draw(st.frozensets(st.sampled_from((p, p + 3)))) | draw(
            st.sampled_from((frozenset(), frozenset((5,))))
        )
        shares.append(Share(p, offset, *standings[at[p]], draw(st.integers(-9, 9)), rows))
    return shares


EVENTS = st.one_of(
    st.lists(st.one_of(SHARES, SHARES, SHARES, PARTITIONS, st.just(NEXT)), max_size=14),
    st.tuples(crossings(), st.lists(PARTITIONS, max_size=2)).flatmap(
        lambda both: st.permutations([*both[1], NEXT]).map(lambda extra: _among(both[0], extra))
    ),
)


def _among(shares: Sequence[object], extra: Sequence[object]) -> list[object]:
    events: list[object] = list(shares)
    for i, one in enumerate(extra):
        events.insert((len(events) * (i + 1)) // 3, one)
    return events


@given(st.integers(1, 3), EVENTS, st.data())
def test_only_what_agrees_is_added_and_the_last_sum_is_held(
    n: int, events: list[object], data: st.DataObject
) -> None:
    """Newest partials of one composition and session add up; while partitions cross, the last sum stays, in doubt."""
    sums, desk = Aggregator(COMPOSITION, n_partitions=n), Desk(n)
    for event in events:
        if isinstance(event, Share):
            share = replace(event, partition=event.partition % n)
            assert sums.add(share.partial()) is desk.add(share)
        elif isinstance(event, Composition):
            sums.know(event)
            desk.know(event.id)
        elif data.draw(st.booleans(), label="silence"):
            assert isinstance(event, frozenset)
            sums.silence(event)
            desk.silent = event
        else:
            assert isinstance(event, frozenset)
            sums.keep(event)
            desk.keep(event)
        assert_agree(sums, desk)


def assert_agree(sums: Aggregator, desk: Desk) -> None:
    assert sums.composition.id == desk.composition
    assert sums.complete is bool(desk.agreed)
    assert sums.crossing is (bool(desk.agreed) and not desk.agree)
    assert sums.unknown == {s.composition for s in desk.newest.values()} - desk.known
    assert {p: dict(x.offsets) for p, x in sums.partials.items()} == {
        p: {p: share.offset} for p, share in desk.newest.items()
    }
    total = sums.total()
    assert total.value.tolist() == desk.values
    assert total.offsets == {p: share.offset for p, share in desk.agreed.items()}
    if desk.agreed:
        assert {total.standing} == {share.standing for share in desk.agreed.values()}
    assert sums.total() is total
    assert sums.contested.tolist() == sorted(desk.contested)
    assert sums.doubts.tolist() == desk.doubts


@given(crossings(), st.data())
def test_order_of_arrival_duplicates_and_older_partials_do_not_matter(
    shares: list[Share], data: st.DataObject
) -> None:
    """Whoever sends what, how often, and when: with the newest of each partition in, the end is the same."""
    straight, other = (Aggregator(COMPOSITION, n_partitions=3) for _ in range(2))
    for sums in (straight, other):
        sums.know(NEXT)
    for share in shares:
        straight.add(share.partial())
    for share in data.draw(st.permutations([*shares, *shares])):
        other.add(share.partial())

    assert other.partials.keys() == straight.partials.keys()
    for p, partial in straight.partials.items():
        assert other.partials[p].same_values(partial)
    if straight.complete and not straight.crossing:
        assert other.total().same_values(straight.total())
        assert other.doubts.tolist() == straight.doubts.tolist()
        assert other.composition is straight.composition


def test_everything_differs_from_nothing_and_from_another_feed_or_standing() -> None:
    """All snapshots are published anew."""
    every = [0, 1, 2]

    assert changed(ZERO, None).tolist() == every
    assert changed(ZERO, replace(ZERO, origin=Origin.REPLAY)).tolist() == every
    assert changed(ZERO, replace(ZERO, composition="other")).tolist() == every
    assert changed(ZERO, replace(ZERO, session="2026-07-17")).tolist() == every


@given(st.sampled_from((*COLUMNS, "event_ns")), st.frozensets(st.integers(0, 2)))
def test_an_index_is_published_if_any_figure_of_its_snapshot_differs(
    name: str, positions: frozenset[int]
) -> None:
    """And only then."""
    column = (ZERO.columns[COLUMNS[name]] if name in COLUMNS else ZERO.event_ns).copy()
    column[list(positions)] += 1

    found = changed(with_figures(ZERO, **{name: column}), ZERO)

    assert found.tolist() == sorted(positions)


def test_offsets_and_numbers_alone_change_no_snapshot() -> None:
    """A log may go on without moving any index."""
    now = replace(ZERO, offsets={0: 9}, control=3)

    assert changed(now, replace(ZERO, offsets={0: 7})).tolist() == []
    assert set(ZERO.event_ns.tolist()) == {NO_EVENT}
