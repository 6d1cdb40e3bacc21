"""The record of publications: what of them is kept for Kafka, in which order, and how much at most."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import __version__
from stream.index.aggregate import Doubt
from stream.index.partial import Origin
from stream.index.snapshot import Snapshot
from stream.index.status import Status
from stream.publish import record as record_module
from stream.publish.record import Entry, Record, with_audit
from stream.publish.redis import Message
from stream.session.calendar import CashPhase, Phase
from stream.wire.snapshots import encode_published

S = 1_000_000_000
T0 = 1_784_304_000 * S


@dataclass(frozen=True)
class Shot:
    """One index of a publication; open, high and low are those that its publisher would say."""

    code: str
    session: str | None
    high: int | None
    low: int | None
    doubt: Doubt = Doubt.NONE


def snapshot_of(shot: Shot) -> Snapshot:
    return Snapshot(
        code=shot.code,
        name=shot.code,
        composition="2026-07-17-abc",
        session=shot.session,
        phase=Phase.REGULAR,
        cash_phase=CashPhase.REGULAR,
        status=Status.FIRM,
        origin=Origin.REPLAY,
        event_ns=T0,
        level=5,
        indicative=None,
        indicative_method=None,
        indicative_age_s=None,
        indicative_coverage=None,
        last=5,
        open=shot.low,
        high=shot.high,
        low=shot.low,
        previous_close=5,
        change=0,
        change_pct=0,
        market_value="1.0000",
        divisor="1",
        constituents=1,
        priced=1,
        stale=0,
        coverage=1,
        age_s=0,
        oldest_age_s=0,
        up=0,
        down=0,
        unchanged=1,
        doubt=shot.doubt,
    )


def publish(record: Record, at: int, *shots: Shot, seq: int = 1) -> list[bytes]:
    """Publish some indexes, and give what their entries should hold."""
    snapshots = [snapshot_of(shot) for shot in shots]
    messages = [
        Message(one.code, seq, encode_published(one, epoch=2, seq=seq, published_ns=at))
        for one in snapshots
    ]
    record.take(snapshots, messages, offsets={10: seq, 2: 7}, published_ns=at)
    return [message.data for message in messages]


def kept(record: Record) -> list[tuple[str, int]]:
    """Give code and `seq` of what waits."""
    return [(entry.code, json.loads(entry.data)["seq"]) for entry in record.waiting]


DAY = "2026-07-17"


def test_the_last_of_each_second_is_kept_once_the_second_is_over() -> None:
    """Between two extremes: of three in one second the last."""
    record = Record()
    publish(record, T0, Shot("X", DAY, 9, 1), seq=1)
    for seq, at in ((2, T0 + S), (3, T0 + S + 5), (4, T0 + 2 * S - 1)):
        publish(record, at, Shot("X", DAY, 9, 1), seq=seq)

    assert kept(record) == [("X", 1)]
    record.end_second(T0 + 2 * S - 1)
    assert kept(record) == [("X", 1)]
    record.end_second(T0 + 2 * S)
    assert kept(record) == [("X", 1), ("X", 4)]
    record.end_second(T0 + 3 * S)
    assert kept(record) == [("X", 1), ("X", 4)]


@pytest.mark.parametrize(
    "shot",
    [Shot("X", DAY, 10, 1), Shot("X", DAY, 9, 0), Shot("X", "2026-07-18", 9, 1)],
    ids=["high", "low", "open"],
)
def test_what_sets_an_extreme_is_kept_at_once(shot: Shot) -> None:
    """A new high, a new low, the open of a session; what it replaces within the second is not."""
    record = Record()
    publish(record, T0, Shot("X", DAY, 9, 1), seq=1)
    publish(record, T0 + 1, Shot("X", DAY, 9, 1), seq=2)

    publish(record, T0 + 2, shot, seq=3)

    assert kept(record) == [("X", 1), ("X", 3)]
    record.end_second(T0 + S)
    assert kept(record) == [("X", 1), ("X", 3)]


def test_a_held_level_leaves_the_last_good_one_of_its_second() -> None:
    """It repeats that one, which would prove it."""
    record = Record()
    for seq in (1, 2, 3):
        publish(record, T0 + seq, Shot("X", DAY, 9, 1), seq=seq)
    publish(record, T0 + 4, Shot("X", DAY, 9, 1, Doubt.HELD), seq=4)

    assert kept(record) == [("X", 1), ("X", 3)]
    record.end_second(T0 + S)
    assert kept(record) == [("X", 1), ("X", 3), ("X", 4)]


def test_nothing_waits_for_its_second_when_there_are_no_more() -> None:
    """A publisher that ends keeps what it published last."""
    record = Record()
    publish(record, T0, Shot("X", DAY, 9, 1), seq=1)
    publish(record, T0 + 1, Shot("X", DAY, 9, 1), seq=2)

    record.end()
    record.end()

    assert kept(record) == [("X", 1), ("X", 2)]


def test_an_entry_is_the_published_snapshot_with_what_it_takes_to_compute_it_again() -> None:
    """The offsets of every partition, in order, and the version of the program."""
    record = Record()
    [data] = publish(record, T0 + 3, Shot("X", DAY, 9, 1), seq=4)

    [entry] = record.waiting

    assert entry == Entry("X", entry.data, T0 + 3)
    fields = json.loads(entry.data, parse_float=Decimal)
    assert fields == json.loads(data, parse_float=Decimal) | {
        "offsets": {"2": 7, "10": 4},
        "code_version": __version__,
    }
    assert list(fields["offsets"]) == ["2", "10"]
    assert entry.data.startswith(data[:-1])
    assert with_audit(b'{"seq":1}', {}) == (
        b'{"seq":1,"offsets":{},"code_version":"' + __version__.encode() + b'"}'
    )


def test_too_many_waiting_drop_the_oldest_and_count_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka may be away for long: memory is bounded, the newest counts."""
    monkeypatch.setattr(record_module, "MOST_WAITING", 3)
    record = Record()
    for seq in range(1, 6):
        publish(record, T0 + seq, Shot("X", DAY, seq, 0), seq=seq)

    assert kept(record) == [("X", 3), ("X", 4), ("X", 5)]
    assert record.dropped == 2
    record.waiting.clear()
    publish(record, T0 + 9, Shot("X", DAY, 9, 0), seq=9)
    assert (kept(record), record.dropped) == ([("X", 9)], 2)


PUBLICATIONS = st.lists(
    st.tuples(
        st.sampled_from((0, 0, 1, 10**8, 10**9, 3 * 10**9)),
        st.lists(
            st.builds(
                Shot,
                st.sampled_from("XYZ"),
                st.sampled_from((DAY, DAY, "2026-07-18", None)),
                st.sampled_from((5, 5, 6, None)),
                st.sampled_from((3, 3, 2)),
            ),
            max_size=3,
            unique_by=lambda shot: shot.code,
        ),
    ),
    max_size=25,
)


@given(PUBLICATIONS, st.integers(1, 40))
def test_of_any_publications_the_last_of_each_second_and_all_extremes_are_kept(
    publications: list[tuple[int, list[Shot]]], most: int
) -> None:
    """Those and no others, each once; in order for every code; of too many the newest, and the rest is counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_module, "MOST_WAITING", most)
        record, now = Record(), T0
        told: dict[str, list[tuple[int, int, Shot]]] = {}
        for seq, (pause, shots) in enumerate(publications):
            now += pause
            publish(record, now, *shots, seq=seq)
            for shot in shots:
                told.setdefault(shot.code, []).append((seq, now, shot))
        record.end_second(now + S)

    expected = {code: wanted(history) for code, history in told.items()}
    n = sum(map(len, expected.values()))
    found = kept(record)
    assert len(found) == min(n, most)
    assert record.dropped == n - len(found)
    for code, seqs in expected.items():
        own = [seq for c, seq in found if c == code]
        assert own == seqs[len(seqs) - len(own) :]


def wanted(history: list[tuple[int, int, Shot]]) -> list[int]:
    """Give which publications of one code are to be kept."""
    seqs = []
    for i, (seq, at, shot) in enumerate(history):
        before = history[i - 1][2] if i else None
        sets = before is None or (shot.session, shot.high, shot.low) != (
            before.session,
            before.high,
            before.low,
        )
        last = i + 1 == len(history) or history[i + 1][1] // S != at // S
        if sets or last:
            seqs.append(seq)
    return seqs
