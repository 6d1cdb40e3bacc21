"""Laws broken on purpose: what the simulation must catch, or it would not be worth its time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partialmethod
from typing import Any
from unittest import mock

import numpy as np

from simulation.market import LAYOUTS, releases
from simulation.redis import Redis
from stream.index.aggregate import Aggregator
from stream.index.book import _PLACE, Book, BookState
from stream.index.control import Roll
from stream.index.divisor import Divisor
from stream.index.layer import Layer
from stream.index.partial import VALUE, Partial
from stream.index.snapshot import Extremes, Snapshot
from stream.index.ticks import Verdict
from stream.pipeline.checkpoints import Checkpoints
from stream.pipeline.control_writer import ControlWriter, Owed
from stream.pipeline.intake import Intake
from stream.pipeline.publishing import Publishing
from stream.pipeline.schemas import Partials
from stream.pipeline.worker import Worker
from stream.publish import publisher as publisher_module
from stream.publish import redis as redis_module
from stream.publish.publisher import Publisher
from stream.publish.record import Record
from stream.publish.redis import Message
from stream.wire.checkpoints import Checkpoint
from stream.wire.checkpoints import decode as decode_checkpoint
from stream.wire.decoded import Decoded

#: Where, what, and by what it is replaced.
_Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Mutant:
    """One law, broken.

    Attributes
    ----------
    name
        What is done wrong.
    laws
        The checks that may see it first.
    patches
        How.
    seed
        Of a history that has shown it once, which saves a search as long as histories are drawn as they were then.
    """

    name: str
    laws: frozenset[str]
    patches: tuple[_Patch, ...]
    seed: int = 1

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Break the law for a while."""
        for n_symbols, variant in LAYOUTS:
            # What a world is made of must not be made by what is broken.
            releases(n_symbols, variant)
        with ExitStack() as stack:
            for place, name, value in self.patches:
                stack.enter_context(mock.patch.object(place, name, value))
            yield


# ---- law 1: exact, 2: incremental equals recomputed -------------------------------------------------


def _level_rounded_down(self: Divisor, market_value: int) -> int:
    return market_value * self._numerator // self._denominator


_value_marked = Book._value_marked


def _adds_instead_of_sets(self: Book) -> None:
    """Add a price's whole gain at every print, not what is new of it."""
    rows = np.flatnonzero(self.layer.moved | self.layer.changed)
    self._facts[_PLACE[VALUE], rows] = 0
    _value_marked(self)


def _roll_without_a_fresh_sum(self: Book, roll: Roll) -> bool:
    with mock.patch.object(Book, "_sum_up", return_value=None):
        return _roll(self, roll)


_roll = Book._roll


# ---- law 3: log order, then event time --------------------------------------------------------------

_order = Layer._order


def _last_come_wins(self: Layer, tick: Any, detail: Any, last_ts: int, last_seq: int) -> Verdict:
    """Take a tick whatever its time."""
    verdict = _order(self, tick, detail, last_ts, last_seq)
    return Verdict.APPLIED if verdict is Verdict.OLDER else verdict


def _nothing_is_plain(self: Layer, row: int) -> None:
    """Have every tick looked at by itself."""
    del self, row


# ---- law 4: a worker resumes from its checkpoint ----------------------------------------------------

_state = Book.state


def _checkpoint_one_ahead(self: Book) -> BookState:
    return replace(_state(self), offset=self.offset + 1)


def _checkpoint_without_waiting_prints(self: Book) -> BookState:
    state = _state(self)
    none = np.zeros(0, np.int64)
    return replace(
        state,
        next_rows=none,
        next_prints=self.layer.prints.at(none),
        next_details=state.next_details[none],
        next_kept=state.next_kept[none],
    )


_write = Checkpoints._write


async def _buries_its_own(self: Checkpoints, book: Book) -> None:
    """Drop what was found at a newer claim after a write that began before it."""
    await _write(self, book)
    await self._bury(book.partition)


def _written_last(self: Checkpoints, partition: int, records: Sequence[Any]) -> Checkpoint | None:
    """Take the checkpoint that was written last, whatever offset it stands for."""
    self._older[partition] = set()
    books = [r for r in records if (r.key or b"").startswith(b"book/") and r.value is not None]
    return decode_checkpoint(books[-1].value) if books else None


# ---- law 5: a partial is a function of its partition's log up to an offset ---------------------------


def _lower_offsets_too(self: Aggregator, partial: Partial) -> bool:
    ((partition, _),) = partial.offsets.items()
    self._by_partition.pop(partition, None)
    return _add(self, partial)


_add = Aggregator.add
_add_up = Aggregator._add_up


def _sessions_do_not_matter(self: Aggregator) -> None:
    newest = max((each.session for each in self._by_partition.values()), default="")
    real = self._by_partition
    self._by_partition = {p: replace(each, session=newest) for p, each in real.items()}
    _add_up(self)
    self._by_partition = real


_owed = ControlWriter.owed


def _skips_a_partition(self: ControlWriter, *args: Any, **kwargs: Any) -> Iterator[Owed]:
    return (owed for owed in _owed(self, *args, **kwargs) if owed.partition != 1)


def _in_another_order(self: ControlWriter, *args: Any, **kwargs: Any) -> Iterator[Owed]:
    for owed in _owed(self, *args, **kwargs):
        yield Owed(owed.partition, owed.records[::-1])


_obey = Book.obey


def _rolls_with_every_copy(self: Book, control: Any, **kwargs: Any) -> bool:
    if isinstance(control, Roll) and control.session == self.session:
        self.session = ""
        self.control = min(self.control, max(control.number - 1, 0))
    return _obey(self, control, **kwargs)


# ---- law 6: a late writer cannot win ----------------------------------------------------------------


def _without(line: str, *, script: str) -> _Patch:
    """Leave a line out of a script."""
    assert line in script, line
    return (Redis, "run", partialmethod(_other_script, script, script.replace(line, "")))


def _other_script(
    self: Redis, was: str, becomes: str, script: str, keys: Sequence[str], args: Sequence[Any]
) -> Any:
    return _run(self, script.replace(was, becomes), keys, args)


_run = Redis.run


class _NeverError(Exception):
    """What Redis refuses is told apart from other failures by its error; this one never comes."""


async def _same_epoch_for_all(_: Publishing) -> int:
    return 1


def _seq_stands_still(self: Publisher, one: Snapshot, published_ns: int) -> Message:
    self._seq[one.code] = 0
    return _message(self, one, published_ns)


_message = Publisher._message


# ---- law 7: one symbol, one partition ---------------------------------------------------------------


def _contests_nothing(self: Aggregator) -> None:
    self.contested = np.zeros(0, np.int64)
    self._doubts = None


def _never_settles(self: Book, row: int, *, home: int) -> None:
    """Do nothing where an operator lets a symbol go."""


# ---- law 9: everything is accounted for -------------------------------------------------------------

_count = Intake._count


def _older_ones_do_not_count(self: Intake, decoded: Decoded, verdict: Any) -> bool:
    return _count(self, decoded, verdict[verdict != Verdict.OLDER])


def _everything_was_applied(self: Intake, decoded: Decoded, verdict: Any) -> bool:
    return _count(self, decoded, np.zeros_like(verdict))


# ---- open, high and low -----------------------------------------------------------------------------


def _begins_anew(self: Extremes, code: str, session: str, level: int) -> tuple[int, int, int]:
    del self, code, session
    return level, level, level


async def _forgets_at_a_take_over(self: Publishing, state: Any) -> Extremes:
    del self, state
    return Extremes()


_on_partials = Worker._on_partials


def _goes_on_after_a_hand_over(self: Worker, partials: Partials, offset: int) -> None:
    """Take sums that come after what was handed over."""
    settled, self._settled = self._settled, self._revocations
    _on_partials(self, partials, offset)
    self._settled = settled


_positions = Worker._positions


async def _forgets_a_rebalance(self: Worker, logs: Any) -> Any:
    """Take a rebalance that began while one ended for part of that."""
    positions = await _positions(self, logs)
    self._settled = self._revocations
    return positions


_take = Record.take


def _older_offsets(
    self: Record,
    snapshots: Sequence[Snapshot],
    messages: Sequence[Message],
    *,
    offsets: Mapping[int, int],
    published_ns: int,
) -> None:
    """Name offsets that the levels were not made of."""
    offsets = {p: max(offset - 1, 0) for p, offset in offsets.items()}
    _take(self, snapshots, messages, offsets=offsets, published_ns=published_ns)


def _mutant(name: str, laws: str, *patches: _Patch, seed: int = 1) -> Mutant:
    return Mutant(name, frozenset(laws.split()), patches, seed)


MUTANTS = (
    _mutant("levels are rounded down", "1", (Divisor, "level", _level_rounded_down)),
    _mutant("a book adds instead of sets", "2", (Book, "_value_marked", _adds_instead_of_sets)),
    _mutant("a roll makes no fresh sum", "2 5", (Book, "_roll", _roll_without_a_fresh_sum), seed=8),
    _mutant(
        "the last come wins",
        "9 4 3 2",
        (Layer, "_order", _last_come_wins),
        (Layer, "settle", _nothing_is_plain),
        seed=8,
    ),
    _mutant("a checkpoint is one ahead", "4", (Book, "state", _checkpoint_one_ahead)),
    _mutant(
        "a checkpoint leaves out prints that wait",
        "4",
        (Book, "state", _checkpoint_without_waiting_prints),
        seed=79,
    ),
    _mutant(
        "the only checkpoint is dropped", "4", (Checkpoints, "_write", _buries_its_own), seed=47
    ),
    _mutant("the checkpoint written last", "4", (Checkpoints, "_newest", _written_last), seed=125),
    _mutant("the aggregator goes back", "5", (Aggregator, "add", _lower_offsets_too), seed=151),
    _mutant("sessions are added up", "5", (Aggregator, "_add_up", _sessions_do_not_matter), seed=8),
    _mutant("the writer skips a partition", "5", (ControlWriter, "owed", _skips_a_partition)),
    _mutant("the writer turns the order round", "5", (ControlWriter, "owed", _in_another_order)),
    _mutant("every copy rolls", "2 4 5", (Book, "obey", _rolls_with_every_copy), seed=20),
    _mutant("levels name other offsets", "1 5", (Record, "take", _older_offsets)),
    _mutant(
        "no fence in Redis",
        "6",
        _without("if newest > epoch then return newest end", script=redis_module._BEGIN),
        seed=24,
    ),
    _mutant(
        "a heartbeat does not look what is left",
        "1 10",
        _without("if seen < tonumber(ARGV[2]) then return -1 end", script=redis_module._BEAT),
        seed=5786,
    ),
    _mutant(
        "what was refused is on record",
        "6",
        (publisher_module, "FencedError", _NeverError),
        seed=24,
    ),
    _mutant("all publishers have one epoch", "6", (Publishing, "_claim", _same_epoch_for_all)),
    _mutant("numbers stand still", "6", (Publisher, "_message", _seq_stands_still)),
    _mutant(
        "nothing is contested", "7", (Aggregator, "_find_contested", _contests_nothing), seed=3
    ),
    _mutant("a contest never ends", "4 5 7", (Book, "_settle_contest", _never_settles), seed=3),
    _mutant("older ticks do not count", "9", (Intake, "_count", _older_ones_do_not_count), seed=3),
    _mutant("all ticks count as applied", "9", (Intake, "_count", _everything_was_applied)),
    _mutant(
        "what Redis lost is not missed",
        "10",
        _without("if seen < tonumber(ARGV[2]) then return -1 end", script=redis_module._BEGIN),
        seed=44,
    ),
    _mutant("every level opens", "open/high/low", (Extremes, "take", _begins_anew), seed=3),
    _mutant(
        "a take-over forgets open, high and low",
        "open/high/low",
        (Publishing, "_last_extremes", _forgets_at_a_take_over),
    ),
    _mutant(
        "sums go on after a hand-over",
        "open/high/low",
        (Worker, "_on_partials", _goes_on_after_a_hand_over),
        seed=152,
    ),
    _mutant(
        "a rebalance is forgotten while one ends",
        "open/high/low",
        (Worker, "_positions", _forgets_a_rebalance),
        seed=32,
    ),
)
