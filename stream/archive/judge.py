"""The judgement of one published level after another: against what it is when computed again, and against those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stream.archive.arithmetic import mismatches
from stream.archive.outcome import Difference, Outcome
from stream.archive.published import (
    EXTREMES,
    PUBLISHERS_OWN,
    Audit,
    points,
    recomputed_fields,
)
from stream.archive.recompute import Recomputed
from stream.index.composition import Index
from stream.index.snapshot import Extremes, Snapshot

#: A writer that was not answered writes what it has in hand once more: so many levels of an index at most.
MOST_COPIED = 1_000

#: A publisher that was held up writes after so many others at most.
MOST_EPOCHS = 1_000

#: A held level repeats the last good one but for these.
OF_THE_MOMENT = frozenset(
    (
        *("phase", "cash_phase", "status", "age_s", "oldest_age_s", "last", "change", "change_pct"),
        *("indicative", "indicative_method", "indicative_age_s", "indicative_coverage"),
    )
)

#: These tell most, so they are named first.
FIRST = ("session", "composition", "level")

#: A field, what was published, and what it should have been.
_Fault = tuple[str, bytes, bytes]
_Fields = Mapping[str, bytes]

_ABSENT = b"nothing"


@dataclass(slots=True)
class _Line:
    """What is remembered of one index: its newest level, the last number of each epoch, and what was written lately."""

    epoch: int = -1
    fields: _Fields = field(default_factory=dict)
    seqs: dict[int, int] = field(default_factory=dict)
    recent: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=MOST_COPIED))


class Judge:
    """Compares levels with what they are when computed again, and counts.

    Parameters
    ----------
    outcome
        Takes the counts.
    index
        Gives an index by the composition's id and its code; None where it was not met.
    on_difference
        Hears of each difference.
    """

    def __init__(
        self,
        outcome: Outcome,
        *,
        index: Callable[[str, str], Index | None],
        on_difference: Callable[[Difference], object],
    ) -> None:
        self._outcome = outcome
        self._index = index
        self._on_difference = on_difference
        self._lines: dict[str, _Line] = {}
        self._extremes = Extremes()
        self._first_epoch: int | None = None

    def judge(self, one: Recomputed) -> None:
        """Take the next record of the topic."""
        outcome = self._outcome
        outcome.records += 1
        if one.published is None:
            code = one.key.decode(errors="replace")
            fault = "record", one.why.encode(), b"a level"
            self._differ(one.offset, Audit(code, 0, 0, 0, {}, ""), [fault])
            return
        audit = one.published.audit
        outcome.code_versions[audit.code_version] += 1
        outcome.epochs[audit.epoch] += 1
        line = self._lines.setdefault(audit.code, _Line())
        mark = audit.epoch, audit.seq, hash(one.published.value)
        if mark in line.recent:
            outcome.copies += 1
            return
        line.recent.append(mark)
        fields = one.published.fields()
        late = audit.epoch < line.epoch
        counted, faults = (
            self._compare_late(one, audit, fields)
            if late
            else self._compare(one, audit, fields, line)
        )
        faults = [*_order(audit, line), *faults]
        if faults:
            self._differ(one.offset, audit, faults)
        else:
            setattr(outcome, counted, getattr(outcome, counted) + 1)
        line.seqs[audit.epoch] = audit.seq
        if len(line.seqs) > MOST_EPOCHS:
            del line.seqs[min(line.seqs)]
        if late:
            outcome.late += 1
        else:
            line.epoch, line.fields = audit.epoch, fields

    def _differ(self, offset: int, audit: Audit, faults: Sequence[_Fault]) -> None:
        self._outcome.different += 1
        for name, published, recomputed in faults:
            difference = Difference(
                offset,
                audit.code,
                audit.epoch,
                audit.seq,
                name,
                published.decode(errors="replace"),
                recomputed.decode(errors="replace"),
                audit.offsets,
            )
            self._outcome.differences += 1
            self._outcome.first = self._outcome.first or difference
            self._on_difference(difference)

    def _compare(
        self, one: Recomputed, audit: Audit, fields: _Fields, line: _Line
    ) -> tuple[str, list[_Fault]]:
        """Say how a level counts, and what is wrong with it."""
        if audit.held:
            return self._compare_held(one, audit, fields, line)
        if one.snapshot is not None:
            snapshot = self._with_extremes(one.snapshot, audit, fields, line)
            expected = recomputed_fields(snapshot)
            unknown = fields.keys() - PUBLISHERS_OWN - set(EXTREMES) - expected.keys()
            self._outcome.not_checked.update(unknown)
            return "verified", _faults(fields, expected)
        if one.why:
            return "verified", [_out_of_reach(audit, one.why)]
        self._trust(audit, fields)
        return "missing", []

    def _compare_late(
        self, one: Recomputed, audit: Audit, fields: _Fields
    ) -> tuple[str, list[_Fault]]:
        """Judge a level that a publisher had waiting when it was paused or cut off, and wrote after its successor's first.

        What it knew of open, high and low is not what its successor knew.
        """
        own = {name: text for name, text in fields.items() if name not in EXTREMES}
        if one.snapshot is not None and not audit.held:
            return "verified", _faults(own, recomputed_fields(one.snapshot))
        if one.why:
            return "verified", [_out_of_reach(audit, one.why)]
        index = self._index(audit.composition, audit.code)
        if index is None:
            return "missing", []
        return "arithmetic", list(mismatches(fields, index))

    def _compare_held(
        self, one: Recomputed, audit: Audit, fields: _Fields, line: _Line
    ) -> tuple[str, list[_Fault]]:
        mine = _of_prices(fields)
        if line.fields and not _faults(mine, _of_prices(line.fields)):
            return "held", []
        if one.snapshot is not None:
            extremes = self._extremes.by_code.get(audit.code, ("", 0, 0, 0))
            again = one.snapshot
            if again.session == extremes[0]:
                again = again._replace(open=extremes[1], high=extremes[2], low=extremes[3])
            if not _faults(mine, _of_prices(recomputed_fields(again))):
                return "held", []
        index = self._index(audit.composition, audit.code)
        if index is None:
            return "missing", []
        return "arithmetic", list(mismatches(fields, index))

    # ---- open, high and low ----------------------------------------------------------------------

    def _with_extremes(
        self, snapshot: Snapshot, audit: Audit, fields: _Fields, line: _Line
    ) -> Snapshot:
        """Add the open, high and low of the levels so far."""
        if snapshot.session is None:
            return snapshot
        if self._first_epoch is None:
            self._first_epoch = audit.epoch
        code, session, level = snapshot.code, snapshot.session, snapshot.level
        if line.epoch != audit.epoch != self._first_epoch:
            self._carry_over(snapshot, fields)
        opened, high, low = self._extremes.take(code, session, level)
        return snapshot._replace(open=opened, high=high, low=low)

    def _carry_over(self, snapshot: Snapshot, fields: _Fields) -> None:
        """Believe a new publisher that the one before it had published more than was kept: it may have died meanwhile."""
        said = [points(fields.get(name)) for name in EXTREMES]
        known = self._extremes.by_code.get(snapshot.code)
        if None in said or snapshot.session is None:
            return
        opened, high, low = (one or 0 for one in said)
        if known is None or known[0] != snapshot.session:
            wider = low <= min(opened, snapshot.level) and max(opened, snapshot.level) <= high
            same = opened == high == low == snapshot.level
        else:
            wider = opened == known[1] and high >= known[2] and low <= known[3]
            same = (high, low) == (max(known[2], snapshot.level), min(known[3], snapshot.level))
        if wider and not same:
            self._outcome.carried += 1
            self._extremes.by_code[snapshot.code] = (snapshot.session, opened, high, low)

    def _trust(self, audit: Audit, fields: _Fields) -> None:
        """Go on from the open, high and low of a level that cannot be computed."""
        opened, high, low = (points(fields.get(name)) for name in EXTREMES)
        if audit.session and opened is not None and high is not None and low is not None:
            self._extremes.by_code[audit.code] = (audit.session, opened, high, low)


def _order(audit: Audit, line: _Line) -> Iterator[_Fault]:
    """Of one index, seq never goes back within an epoch."""
    last = line.seqs.get(audit.epoch, 0)
    if audit.seq <= last:
        yield "seq", str(audit.seq).encode(), f"more than {last}, which came before".encode()


def _out_of_reach(audit: Audit, why: str) -> _Fault:
    offsets = ", ".join(f"{p}: {offset}" for p, offset in sorted(audit.offsets.items()))
    return "offsets", offsets.encode(), why.encode()


def _faults(fields: _Fields, expected: _Fields) -> list[_Fault]:
    names = dict.fromkeys((*FIRST, *expected, *EXTREMES))
    return [
        (name, fields.get(name, _ABSENT), expected.get(name, _ABSENT))
        for name in names
        if fields.get(name) != expected.get(name)
    ]


def _of_prices(fields: _Fields) -> dict[str, bytes]:
    """Leave out what a held level says of its own moment, and of its publisher."""
    apart = PUBLISHERS_OWN | OF_THE_MOMENT
    return {name: text for name, text in fields.items() if name not in apart}
