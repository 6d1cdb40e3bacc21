"""The checker of the fault tests finds every law broken that is broken, and no other."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from chaos import checker
from chaos.checker import (
    FINAL_FIELDS,
    AccountOf,
    Accounts,
    Audit,
    Ended,
    Law,
    Letter,
    Observation,
    Order,
    Prefixes,
    Sight,
)
from chaos.feed import Offsets
from chaos.history import NO_EVENT, History, level, market_value, own_index, work_out
from chaos.recovery import (
    Mark,
    Recovery,
    bounds,
    figures,
    histogram,
    recoveries_of,
    recovery,
    staleness,
)
from chaos.tape import make_tape
from stream.feed.producer import partition_of
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.universe import Instrument, Universe

N_PARTITIONS = 2
TICKS = 2_000
ALL = "ALL"


def composition_of_two_partitions() -> Composition:
    """Compose a few stocks, an index for each partition, and one of all."""
    instruments = tuple(
        Instrument(
            symbol,
            Fraction(1_000_000 + n),
            100_000 * (n + 1),
            {"home": str(partition_of(symbol, N_PARTITIONS))},
        )
        for n, symbol in enumerate(("AAPL", "MSFT", "JPM", "IBM", "KO", "XOM"))
    )
    definitions = [
        Definition(own_index(p), own_index(p), {"home": frozenset((str(p),))})
        for p in range(N_PARTITIONS)
    ]
    definitions.append(Definition(ALL, ALL, {}))
    return Composition.build(Universe(instruments, frozenset(("home",))), tuple(definitions))


@pytest.fixture(scope="module")
def history() -> History:
    composition = composition_of_two_partitions()
    tape = make_tape(
        composition.universe.symbols,
        composition.reference_price,
        ticks=TICKS,
        n_partitions=N_PARTITIONS,
        seed=3,
        clock=True,
    )
    return work_out(tape, composition, follow=[own_index(0), own_index(1), ALL])


def published(
    history: History, n_ticks: int, *, seq: int = 1, at: float = 0.0, status: str = ""
) -> Observation:
    """Publish the own index of partition 0 as it is after so many ticks of its log."""
    code = own_index(0)
    index, partition = history.indexes[code], history.partitions[0]
    gain = int(partition.gain[code][n_ticks])
    return Observation(
        at,
        code,
        1,
        seq,
        int(partition.event_ns[n_ticks]),
        level(index, gain),
        market_value(index, gain),
        status,
    )


def message(code: str, epoch: int, seq: int) -> Observation:
    return Observation(0.0, code, epoch, seq, NO_EVENT, Decimal(1), "1.0000", "")


def broken(*laws: Law) -> list[str]:
    return [law.name for law in laws if not law.holds]


# ---- (epoch, seq) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (("A", 1, 2), ""),
        (("A", 2, 1), ""),
        (("B", 1, 1), ""),
        (("A", 1, 1), "order gaps"),
        (("A", 1, 3), "gaps"),
        (("A", 2, 2), "gaps"),
        (("B", 2, 1), ""),
    ],
)
def test_numbers_of_a_channel_grow_by_one(second: tuple[str, int, int], expected: str) -> None:
    """A number that comes twice is out of order, one that is left out a gap; an epoch begins with 1."""
    laws = Order()
    laws.observe(message("A", 1, 1))
    laws.observe(message(*second))

    names = {"order": laws.order, "gaps": laws.gaps, "epochs": laws.epochs}
    assert [name for name, law in names.items() if not law.holds] == expected.split()


def test_an_older_epoch_is_found_on_any_channel() -> None:
    """A publisher that was taken over must not be heard again, not even with an index that its successor left alone."""
    laws = Order()
    for one in (("A", 1, 1), ("A", 2, 1), ("B", 1, 1)):
        laws.observe(message(*one))

    assert broken(laws.order, laws.epochs, laws.gaps) == [laws.epochs.name]
    assert laws.epochs_seen == [1, 2]


def test_a_message_is_read_digit_for_digit() -> None:
    """A level keeps its eight places, an index that has not traded has no event."""
    text = (
        b'{"code":"A","epoch":3,"seq":4,"event_ns":null,"level":1000.10000000,'
        b'"market_value":"12.0000","status":"stale","more":1}'
    )

    one = checker.observation("A", text, at=5.0)

    assert one == Observation(
        5.0, "A", 3, 4, NO_EVENT, Decimal("1000.10000000"), "12.0000", "stale"
    )
    assert str(one.level) == "1000.10000000"


def test_a_message_on_a_channel_of_another_index_is_refused() -> None:
    """What the channel says and what the snapshot says must agree."""
    text = b'{"code":"B","epoch":3,"seq":4,"event_ns":1,"level":1.0,"market_value":"12.0000"}'
    with pytest.raises(ValueError, match="channel A carries a snapshot of B"):
        checker.observation("A", text, at=0.0)


# ---- prefixes ------------------------------------------------------------------------------------


def test_every_prefix_is_recognised(history: History) -> None:
    """And what it proves lies around its length."""
    laws = Prefixes(history)
    n = len(history.partitions[0].position)
    for n_ticks in range(n + 1):
        laws.observe(published(history, n_ticks, seq=n_ticks + 1))

    assert broken(laws.prefix, laws.forward) == []
    for n_ticks, sight in enumerate(laws.sights[0]):
        assert sight.fewest <= n_ticks <= sight.most
    assert laws.sights[0][-1].fewest > n * 0.9


def test_a_level_of_no_prefix_is_found(history: History) -> None:
    """As if one tick had been lost: the newest event is right, but not the value."""
    right, code = published(history, 300), own_index(0)
    units = int(history.partitions[0].gain[code][300]) + 10 ** history.indexes[code].k
    lost = right._replace(
        level=level(history.indexes[code], units),
        market_value=market_value(history.indexes[code], units),
    )

    assert prefix_broken(history, right) == 0
    assert prefix_broken(history, lost) == 1


def test_an_event_of_no_prefix_is_found(history: History) -> None:
    """A time at which no tick of the partition was the newest."""
    right = published(history, 300)
    assert prefix_broken(history, right._replace(event_ns=right.event_ns + 1)) == 1


def test_a_level_that_is_not_its_market_value_s_is_found(history: History) -> None:
    """By one in the last place."""
    right = published(history, 300)
    assert prefix_broken(history, right._replace(level=right.level + Decimal("1E-8"))) == 1


def prefix_broken(history: History, one: Observation) -> int:
    laws = Prefixes(history)
    laws.observe(one)
    return laws.prefix.n_broken


def test_a_level_that_goes_back_is_found(history: History) -> None:
    """A right level, but one that was overtaken."""
    laws = Prefixes(history)
    laws.observe(published(history, 400))
    laws.observe(published(history, 300))

    assert broken(laws.prefix, laws.forward) == [laws.forward.name]


# ---- the end -------------------------------------------------------------------------------------

FIELDS = dict.fromkeys(FINAL_FIELDS, "1.00") | {"origin": "simulated"}


@pytest.mark.parametrize("name", FINAL_FIELDS)
def test_any_wrong_field_of_a_final_snapshot_is_found(name: str) -> None:
    """Also where two texts are equal as numbers only."""
    assert checker.final_levels({"A": FIELDS}, {"A": FIELDS}).holds
    assert not checker.final_levels({"A": FIELDS}, {"A": FIELDS | {name: "1.0"}}).holds


@pytest.mark.parametrize("found", [{}, {"A": FIELDS, "B": FIELDS}])
def test_missing_and_extra_snapshots_are_found(found: dict[str, Any]) -> None:
    """One for every index, and none besides."""
    assert not checker.final_levels({"A": FIELDS}, found).holds


@pytest.mark.parametrize("change", [{"status": "stale"}, {"status": "held"}, {"origin": "live"}])
def test_a_final_snapshot_that_says_the_wrong_thing_is_found(change: dict[str, str]) -> None:
    """All is well in the end, and the ticks were no live ones."""
    assert not checker.final_levels({"A": FIELDS}, {"A": FIELDS | change}).holds


@pytest.mark.parametrize(
    "found", [{}, {"A": ("1.0000", 6)}, {"A": ("1.0001", 5)}, {"A": ("1.0000", 5), "B": ("1", 5)}]
)
def test_a_wrong_mirrored_price_is_found(found: dict[str, tuple[str, int]]) -> None:
    """A price or time that is not the last one, a symbol too few or too many."""
    expected = {"A": ("1.0000", 5)}
    assert checker.prices(expected, dict(expected)).holds
    assert not checker.prices(expected, found).holds


@pytest.mark.parametrize(
    ("account", "sums", "drift"),
    [
        (AccountOf("w", 10, 7, {"older": 2, "malformed": 1}, 0), True, True),
        (AccountOf("w", 10, 8, {"older": 2, "malformed": 1}, 0), False, True),
        (AccountOf("w", 10, 7, {"older": 2}, 0), False, True),
        (AccountOf("w", 10, 10, {}, 1), True, False),
    ],
)
def test_an_account_that_does_not_add_up_is_found(
    account: AccountOf,
    sums: bool,  # noqa: FBT001
    drift: bool,  # noqa: FBT001
) -> None:
    """One too many, one too few, and integers that have drifted."""
    laws = Accounts()
    laws.observe(account)

    assert (laws.sums.holds, laws.drift.holds) == (sums, drift)


def test_dead_letters_that_are_missing_or_not_expected_are_found() -> None:
    """Twice is as good as once: a tick may be read again."""
    one, other = Letter("malformed", 0, 5), Letter("malformed", 0, 6)

    assert checker.dead_letters([one], [one, one]).holds
    assert not checker.dead_letters([one, other], [one]).holds
    assert not checker.dead_letters([one], [one, other]).holds


def test_a_stream_out_of_order_is_found() -> None:
    """An entry that is not newer than the one before it."""
    assert checker.streams({"A": [(1, 1), (1, 2), (2, 1)]}).holds
    assert not checker.streams({"A": [(1, 1), (1, 1)]}).holds
    assert not checker.streams({"A": [(2, 1), (1, 2)]}).holds


@pytest.mark.parametrize(
    ("life", "may_end", "holds"),
    [
        (Ended("w", asked=True, status=0, said=""), False, True),
        (Ended("w", asked=True, status=-9, said=""), True, False),
        (Ended("w", asked=False, status=1, said="gone"), True, True),
        (Ended("w", asked=False, status=1, said="gone"), False, False),
    ],
)
def test_an_end_without_a_reason_is_found(life: Ended, may_end: bool, holds: bool) -> None:  # noqa: FBT001
    """One that was asked for must be a clean one."""
    assert checker.endings([life], may_end=may_end).holds == holds


def test_what_workers_said_last_is_counted_whatever_its_numbers() -> None:
    """Epochs and addresses differ, the reason does not."""
    lives = [
        Ended("a", asked=False, status=1, said="epoch 7 after 3"),
        Ended("b", asked=False, status=1, said="epoch 12 after 8"),
        Ended("c", asked=True, status=0, said=""),
    ]
    assert checker.by_reason(lives) == {"epoch N after N": 2}


def test_a_law_counts_all_and_lists_some() -> None:
    """A run of hours may break a law a million times."""
    law = Law("")
    for n in range(100):
        law.expect(n % 2 == 0, str(n))

    assert (law.checked, law.n_broken, law.holds) == (100, 50, False)
    assert law.broken == ["1", "3", "5", "7", "9", "11", "13", "15", "17", "19"]


# ---- the record ----------------------------------------------------------------------------------


def offsets_of(history: History) -> list[Offsets]:
    """Two records of another kind, then single ticks in batches of 100, a control record before each."""
    found = []
    for partition in history.partitions:
        offsets, left = Offsets(), len(partition.position)
        base = 2
        while left:
            n = min(left, 100)
            offsets.add(base, [1] * n)
            base, left = base + n + 1, left - n
        found.append(offsets)
    return found


def record(
    history: History,
    n_ticks: tuple[int, int],
    *,
    epoch: int = 1,
    seq: int = 1,
    code: str = ALL,
) -> dict[str, Any]:
    index = history.indexes[code]
    gain = sum(history.partitions[p].gain_of(code, n) for p, n in enumerate(n_ticks))
    return {
        "code": code,
        "epoch": epoch,
        "seq": seq,
        "level": f"{level(index, gain):.8f}",
        "market_value": market_value(index, gain),
        "offsets": {str(p): 2 + n + (n - 1) // 100 for p, n in enumerate(n_ticks)},
    }


def test_offsets_and_ticks_are_each_other_s(history: History) -> None:
    """Whatever stands between them."""
    offsets = offsets_of(history)[0]
    n = len(history.partitions[0].position)

    for tick in range(n):
        at = offsets.offset_of(tick)
        assert offsets.ticks_before(at) == tick
        assert offsets.ticks_before(at + 1) == tick + 1
    assert offsets.ticks_before(0) == 0
    assert offsets.ticks_before(10 * n) == n
    assert offsets.end == offsets.offset_of(n - 1) + 1


def test_offsets_of_frames_hold_many_ticks() -> None:
    """All ticks of a frame stand at its offset, or none do."""
    offsets = Offsets()
    offsets.add(5, [50, 1, 49])

    assert [offsets.ticks_before(at) for at in (5, 6, 7, 8)] == [0, 50, 51, 100]
    assert [offsets.offset_of(tick) for tick in (0, 49, 50, 51, 99)] == [5, 5, 6, 7, 7]


def test_a_record_that_is_not_what_the_log_says_is_found(history: History) -> None:
    """Offsets of one moment, a level of another."""
    audit = Audit(history, offsets_of(history))
    right, other = record(history, (150, 250)), record(history, (151, 250), seq=2)
    audit.observe(right)
    assert broken(audit.levels, audit.order, audit.straight) == []

    audit.observe(other | {"offsets": right["offsets"]})
    assert broken(audit.levels, audit.order) == [audit.levels.name]


def test_a_record_out_of_order_is_found(history: History) -> None:
    """One that is older than one before it, in its own epoch or in all."""
    laws = Audit(history, offsets_of(history))
    laws.observe(record(history, (151, 250), epoch=2, seq=2))
    laws.observe(record(history, (150, 250), epoch=1, seq=9))
    assert broken(laws.levels, laws.order, laws.straight) == [laws.straight.name]

    laws.observe(record(history, (150, 250), epoch=2))
    assert broken(laws.levels, laws.order) == [laws.order.name]


def test_a_record_that_comes_twice_is_found(history: History) -> None:
    """It may where its writing was not confirmed, but not with other contents."""
    laws = Audit(history, offsets_of(history))
    laws.observe(record(history, (150, 250)))
    laws.observe(record(history, (150, 250)))
    assert broken(laws.levels, laws.order, laws.straight) == [laws.straight.name]

    laws.observe(record(history, (151, 250)))
    assert broken(laws.levels, laws.order) == [laws.order.name]


def test_a_record_that_ends_before_the_log_is_found(history: History) -> None:
    """By the last tick that was applied, of any index that is followed."""
    codes = (ALL, own_index(0), own_index(1))
    whole = [len(one.position) for one in history.partitions]
    applied = history.partitions[0].gain[ALL]
    short = max(n for n in range(whole[0]) if applied[n] != applied[-1])
    for n, code_of_short, expected in ((whole[0], ALL, 0), (short, ALL, 1), (short, codes[1], 1)):
        audit = Audit(history, offsets_of(history))
        for code in codes:
            ends = (n if code == code_of_short else whole[0], whole[1])
            audit.observe(record(history, ends, code=code))
        assert audit.levels.holds
        assert audit.end().n_broken == expected
    assert Audit(history, offsets_of(history)).end().n_broken == len(codes)


def test_partials_that_end_before_the_log_are_found() -> None:
    """Of any partition, and by one record; control records may follow the ticks."""
    assert checker.told({0: 5, 1: 7}, {0: 5, 1: 6}).holds
    assert not checker.told({0: 5, 1: 5}, {0: 5, 1: 6}).holds
    assert not checker.told({0: 5}, {0: 5, 1: 6}).holds


# ---- recoveries ----------------------------------------------------------------------------------

MARK = Mark(
    number=0,
    at=100.0,
    worker="w",
    way="restarted",
    partitions=frozenset((0,)),
    publisher=False,
    known={0: 50},
    disturbed=False,
    alone_s=20.0,
)
SEEN = [Sight(99.0, 40, 40, ""), Sight(100.2, 50, 50, ""), Sight(102.0, 51, 51, "")]


def measured(mark: Mark, *sights: list[Sight]) -> tuple[float | None, float | None] | None:
    one = recovery(mark, sights, lambda _, offset: offset, until=1_000.0)
    return None if one is None else (one.seconds, one.stale_after_s)


def test_a_recovery_ends_with_what_the_worker_cannot_have_told() -> None:
    """What it had told of is published after it has gone, too; that proves nothing."""
    assert measured(MARK, SEEN) == (2.0, None)


def test_a_sight_that_may_be_old_proves_nothing() -> None:
    """Where several prefixes look alike, the shortest one counts."""
    assert measured(MARK, [Sight(101.0, 50, 60, ""), Sight(103.0, 51, 60, "")]) == (3.0, None)


def test_a_recovery_takes_as_long_as_its_slowest_partition() -> None:
    """All that the worker had must go on."""
    mark = MARK._replace(partitions=frozenset((0, 1)), known={0: 50, 1: 50})
    assert measured(mark, SEEN, [Sight(107.0, 51, 51, "")]) == (7.0, None)


def test_what_was_stale_before_it_recovered_has_said_so() -> None:
    """Not what was so afterwards."""
    stale = [Sight(103.5, 50, 50, "stale"), Sight(109.0, 51, 51, "stale")]
    assert measured(MARK, stale) == (9.0, 3.5)
    assert measured(MARK, [*SEEN, Sight(103.0, 52, 52, "stale")]) == (2.0, None)


def test_what_never_recovers_is_told_from_what_cannot_be_measured() -> None:
    """A worker that held nothing has lost nothing; a log that ends proves nothing any more."""
    assert measured(MARK, SEEN[:2]) == (None, None)
    assert measured(MARK._replace(partitions=frozenset()), SEEN) is None
    assert measured(MARK._replace(known=None), SEEN) is None
    assert recovery(MARK, [SEEN[:2]], lambda _, offset: offset, until=99.0) is None


@pytest.mark.parametrize(
    ("way", "seconds", "holds"),
    [
        ("restarted", 4.9, True),
        ("restarted", 5.1, False),
        ("taken over", 8.9, True),
        ("taken over", 9.1, False),
        ("woken", 9.1, False),
        ("cut off", 30.0, True),
        ("restarted", None, False),
    ],
)
def test_a_recovery_that_takes_too_long_is_found(way: Any, seconds: Any, holds: bool) -> None:  # noqa: FBT001
    """5 s for a worker that comes back, the session timeout and 3 s for another one."""
    one = of(MARK._replace(way=way), seconds=seconds)
    assert bounds([one], session_timeout_s=6.0).holds == holds
    for change in ({"disturbed": True}, {"alone_s": 4.0}):
        disturbed = replace(one, mark=one.mark._replace(**change))
        assert bounds([disturbed], session_timeout_s=6.0).holds


def test_a_recovery_is_disturbed_by_what_came_before_its_end() -> None:
    """A fault that is not over, a recovery that is not, or the next fault."""
    assert not of(MARK, seconds=6.0).disturbed
    assert of(MARK, seconds=20.1).disturbed
    assert of(MARK._replace(disturbed=True), seconds=6.0).disturbed

    marks = [MARK, MARK._replace(at=101.0), MARK._replace(at=103.0, known={0: 51})]
    sights = [[*SEEN, Sight(104.0, 52, 52, "")]]
    first, second, third = recoveries_of(marks, sights, lambda _, at: at, until=1_000.0)
    assert (first.seconds, second.seconds, third.seconds) == (2.0, 1.0, 1.0)
    assert [one.disturbed for one in (first, second, third)] == [False, True, False]


def of(mark: Mark, *, seconds: float | None = 6.0, stale_after_s: float | None = None) -> Recovery:
    return Recovery(mark, seconds, stale_after_s)


@pytest.mark.parametrize(
    ("seconds", "stale_after_s", "publisher", "holds"),
    [
        (8.0, 3.4, False, True),
        (8.0, None, False, False),
        (8.0, 5.5, False, False),
        (3.0, None, False, True),
        (8.0, None, True, True),
    ],
)
def test_an_index_that_does_not_say_that_it_is_stale_is_found(
    seconds: float,
    stale_after_s: float | None,
    publisher: bool,  # noqa: FBT001
    holds: bool,  # noqa: FBT001
) -> None:
    """Unless it was over soon, or the one who would say it had gone himself."""
    one = of(MARK._replace(publisher=publisher), seconds=seconds, stale_after_s=stale_after_s)
    assert staleness([one], within_s=5.0).holds == holds


def test_figures_and_histogram_are_those_of_the_times() -> None:
    """Nine tenths of the times are at most the p90."""
    seconds = [float(n) for n in range(1, 11)]
    assert figures(seconds) == (10, 5.5, 9.0, 10.0)
    assert figures([3.0]) == (1, 3.0, 3.0, 3.0)

    lines = histogram([1.2, 1.4, 1.4, 2.6, 99.0])
    assert lines[0].split() == ["1.5", "s", "#" * 40, "3"]
    assert lines[3].split() == ["3", "s", "#" * 14, "1"]
    assert lines[-1].split() == ["more", "#" * 14, "1"]
    assert histogram([]) == []
