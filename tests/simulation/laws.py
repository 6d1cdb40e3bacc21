"""The laws of the design, stated on everything that anybody writes (`design.md`; numbers as there)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import orjson

from simulation.kafka import Record
from simulation.truth import ORIGINS, Ledger, Level, State, level_of, shared
from stream.index.book import Book
from stream.index.partial import (
    CLOSE,
    COVERED_CLOSE,
    DOWN,
    PRICED,
    PRICED_CLOSE,
    UP,
    VALUE,
    Partial,
)
from stream.pipeline.intake import Intake
from stream.publish.redis import Message
from stream.wire import checkpoints, partials
from stream.wire.checkpoints import AggregatorState

_P = ParamSpec("_P")

#: Those that a history without extended hours, halts and official prices moves.
_COLUMNS = (VALUE, PRICED, UP, DOWN, PRICED_CLOSE, COVERED_CLOSE, CLOSE)

#: Fields that a held index keeps.
_HELD = ("level", "previous_close", "market_value", "event_ns", "session", "priced")

#: Session, open, high and low of an index.
Range = tuple[str, int, int, int]


class BrokenLawError(Exception):
    """A law does not hold.

    Attributes
    ----------
    law
        Its number, or what is expected of any program: `crash`, `rest`.
    """

    def __init__(self, law: str, text: str) -> None:
        super().__init__(law, text)
        self.law = law
        self.text = text

    def __str__(self) -> str:
        return f"law {self.law}: {self.text}"


def demand(holds: bool, law: str, text: str, *found: object) -> None:  # noqa: FBT001 - as assert
    """Raise where a law does not hold."""
    if not holds:
        raise BrokenLawError(law, text.format(*found))


def _remembered(
    method: Callable[Concatenate[Laws, _P], None],
) -> Callable[Concatenate[Laws, _P], None]:
    """Remember a broken law, too: the worker in whose midst it is found may take the error for one of its own."""

    def remembering(self: Laws, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except BrokenLawError as error:
            self.broken = self.broken or error
            raise

    return wraps(method)(remembering)  # type: ignore[return-value]  # it takes what the other took


class Laws:
    """Hears of everything that lands, and compares it with the logs.

    Parameters
    ----------
    ledgers
        Of the tick partitions.

    Attributes
    ----------
    broken
        The first law that was found broken inside a worker.
    checked
        How often each kind of thing was compared.
    """

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        self.ledgers = ledgers
        self.broken: BrokenLawError | None = None
        self.checked: Counter[str] = Counter()
        self._made: dict[tuple[int, str, int], set[bytes]] = {}
        self._forgotten = False
        self._claims: dict[tuple[Hashable, int], int] = {}
        self._unheld: dict[tuple[int, str], set[tuple[object, ...]]] = {}
        self._cuts: dict[int, dict[int, int]] = {}
        self._newest_epoch = 0
        self._newest: dict[tuple[str, str], tuple[int, int]] = {}
        self._ranges: dict[int, dict[str, Range]] = {}
        self._handed_over: set[int] = set()
        self._refused: set[tuple[int, str, int]] = set()
        self._states: dict[int, AggregatorState] = {}
        # What a publisher that takes over would find, and the ranges of all recorded levels; in their order.
        self._left: list[AggregatorState | None] = [None]
        self._levels: list[tuple[str, Range] | None] = []
        self._recorded: set[tuple[int, str, int]] = set()

    # ---- logs ------------------------------------------------------------------------------------

    def tick(self, partition: int, record: Record) -> None:
        """Hear of a record of a tick partition."""
        ledger = self.ledgers[partition]
        before = len(ledger.obeyed)
        ledger.append(record.value, record.timestamp * 1_000_000)
        if len(ledger.obeyed) > before:
            self._control(partition, ledger.obeyed[-1])

    def _control(self, partition: int, control: Mapping[str, Any]) -> None:
        """Every partition obeys the same control records, in the order of the list, and leaves none out (law 5)."""
        place = len(self.ledgers[partition].obeyed)
        demand(
            control["number"] == place,
            "5",
            "partition {} obeys control record {} where {} is due",
            *(partition, control["number"], place),
        )
        for other in self.ledgers:
            if len(other.obeyed) >= place:
                demand(
                    other.obeyed[place - 1] == control,
                    "5",
                    "partitions obey different records: {} and {}",
                    *(other.obeyed[place - 1], control),
                )
        self.checked["control records"] += 1

    def checkpoint(self, partition: int, record: Record) -> None:
        """See that a checkpoint is the book at its offset, whoever writes it (law 4)."""
        key = (record.key or b"").decode()
        kind, _, epoch = key.partition("/")
        if kind == "aggregator":
            self._hear_state(int(epoch), record.value)
        if kind != "book" or record.value is None:
            return
        found = checkpoints.decode(record.value).state
        demand(found.partition == partition, "4", "a checkpoint of partition {}", found.partition)
        state = self._state("4", partition, found.offset)
        symbols = list(state.world.price)
        fields = {
            "composition": (found.composition, state.world.id),
            "session": (found.session, state.session),
            "hours": ((found.starts_ns, found.ends_ns), (state.starts, state.ends)),
            "control": (found.control, state.control),
            "origin": (int(found.origin), state.origin),
        }
        _same("4", f"the checkpoint of partition {partition} at {found.offset}", fields)
        rows = [symbols[row] for row in found.rows.tolist()]
        prints = _prints(rows, found.prints)
        close = dict(zip(rows, found.close.tolist(), strict=True))
        details: dict[str, tuple[object, object]] = {}
        for symbol in symbols:
            kept = prints.get(symbol, (-1, 0, state.world.price[symbol]))
            expected = state.newest.get(symbol, (-1, 0, state.world.price[symbol]))
            details[f"print of {symbol}"] = (kept, expected)
            previous = close.get(symbol, state.world.price[symbol])
            details[f"close of {symbol}"] = (previous, state.previous(symbol))
        waiting = _prints([symbols[row] for row in found.next_rows.tolist()], found.next_prints)
        bounds = zip(found.bound_rows.tolist(), found.bounds.tolist(), strict=True)
        details |= {
            "waiting": (waiting, state.waiting),
            "excluded": (_names(symbols, found.excluded), state.excluded),
            "refused": (_names(symbols, found.refused), state.refused),
            "bounds": ({symbols[row]: price for row, price in bounds}, state.bound),
        }
        _same("4", f"the checkpoint of partition {partition} at {found.offset}", details)
        self.checked["checkpoints"] += 1

    def claimed(self, owner: Hashable, partition: int, records: Sequence[Record]) -> None:
        """Hear of a claim to a partition: whoever makes it will read at least what stands there from now on."""
        self._claims[owner, partition] = self.newest_checkpoint(records) or 0

    def buried(self, partition: int, records: Sequence[Record]) -> None:
        """Hear of a tombstone: of two that have claimed a partition, the newer drops the other's, which may be further."""
        left = self.newest_checkpoint(records)
        demand(left is not None, "4", "no checkpoint of partition {} is left", partition)
        for claim, least in self._claims.items():
            if claim[1] == partition:
                self._claims[claim] = min(least, left or 0)

    @_remembered
    def resumed(self, owner: Hashable, positions: Mapping[int, int]) -> None:
        """See that a worker goes on from the highest offset that was written down, whoever wrote last (laws 4, 6)."""
        for partition, at in positions.items():
            least = self._claims.get((owner, partition), 0)
            demand(at >= least, "4", "partition {} goes on at {} of {}", partition, at, least)

    @staticmethod
    def newest_checkpoint(records: Sequence[Record]) -> int | None:
        """Give the highest offset that any book's checkpoint stands for, None where there is none."""
        books = {record.key: record.value for record in records if record.key != b"claim"}
        found = [
            checkpoints.decode(value).state.offset
            for key, value in books.items()
            if value is not None and (key or b"").startswith(b"book/")
        ]
        return max(found, default=None)

    def _hear_state(self, epoch: int, value: bytes | None) -> None:
        if value is None:
            self._states.pop(epoch, None)
        else:
            self._states[epoch] = checkpoints.decode_aggregator(value)
        demand(bool(self._states), "4", "no memory of the aggregator is left")
        self._left.append(self._states[max(self._states)] if self._states else None)

    def partials(self, record: Record) -> None:
        """Hear of a record of the partials topic."""
        if record.value is not None and record.key != b"claim":
            self.partial(partials.decode(record.value))

    @_remembered
    def partial(self, found: Partial) -> None:
        """See that a partial is a function of its partition's log up to an offset (law 5)."""
        ((partition, offset),) = found.offsets.items()
        state = self._state("5", partition, offset)
        what = f"the partial of partition {partition} at {offset}"
        symbols = list(state.world.price)
        touched = [s for i, s in enumerate(symbols) if found.touched[i // 8] & (128 >> i % 8)]
        fields: dict[str, tuple[object, object]] = {
            "standing": (found.standing, state.standing),
            "control": (found.control, state.control),
            "origin": (int(found.origin), state.origin),
            "touched": (frozenset(touched), state.touched),
        }
        _same("5", what, fields)
        columns, events = found.columns.T.tolist(), found.event_ns.tolist()
        # The columns that a book keeps up to date are compared with sums made afresh (law 2).
        for sheet, row, event_ns in zip(state.world.sheets, columns, events, strict=True):
            sums = state.sums(sheet.code)
            expected = [
                sums.value,
                sums.priced,
                sums.up,
                sums.down,
                sums.priced_close,
                sums.priced_close,
                sums.close,
                sums.event_ns,
            ]
            _same("2", what, {sheet.code: ([*(row[i] for i in _COLUMNS), event_ns], expected)})
        self.checked["partials"] += 1

    def _state(self, law: str, partition: int, offset: int) -> State:
        states = self.ledgers[partition].states
        demand(
            0 <= offset < len(states),
            law,
            "partition {} ends at {}, and somebody is at {}",
            *(partition, len(states) - 1, offset),
        )
        return states[offset]

    # ---- accounts --------------------------------------------------------------------------------

    @_remembered
    def account(
        self,
        intake: Intake,
        expected: Counter[str],
        before: Mapping[int, int],
        books: Mapping[int, Book],
    ) -> None:
        """Every tick counts once, with its reason (law 9)."""
        for partition, book in books.items():
            counts = self.ledgers[partition].counts
            new = counts[book.offset].copy()
            new.subtract(counts[before[partition]])
            expected.update(new)
        account = intake.account
        refused = {reason: n for reason, n in expected.items() if reason != "applied" and n}
        _same(
            "9",
            "the account",
            {
                "applied": (account.applied, expected["applied"]),
                "refused": (dict(account.refused), refused),
                "ticks": (account.ticks, expected.total()),
            },
        )
        self.checked["accounts"] += 1

    # ---- publications ----------------------------------------------------------------------------

    @_remembered
    def took(self, epoch: int, ranges: Mapping[str, Range], since: tuple[int, int]) -> None:
        """See that a publisher goes on with open, high and low as written down, and as the levels went on from there.

        Of several moments since its claim, any: it reads one after the other.
        """
        states, levels = since
        possible = [
            _recorded(state, self._levels[:upto])
            for state in self._left[states:]
            for upto in range(levels, len(self._levels) + 1)
        ]
        demand(
            dict(ranges) in possible,
            "open/high/low",
            "publisher {} begins with {}; written down was {}",
            *(epoch, ranges, possible[-1]),
        )
        self._ranges[epoch] = dict(ranges)

    def handed_over(self, epoch: int) -> None:
        """Hear that a publisher has written down what it knows, since another may have its role from here on."""
        self._handed_over.add(epoch)

    @property
    def moment(self) -> tuple[int, int]:
        """How much had been written down that a publisher which claims its role now will find."""
        return len(self._left) - 1, len(self._levels)

    @_remembered
    def made(self, messages: Sequence[Message], offsets: Mapping[int, int]) -> None:
        """Hear of a publication that is about to be tried."""
        for message in messages:
            found = json.loads(message.data, parse_float=Decimal)
            demand(found["code"] == message.code, "6", "{} for {}", found["code"], message.code)
            key = (found["epoch"], found["code"], found["seq"])
            made = self._made.setdefault(key, set())
            demand(not made or self._forgotten, "6", "{} is made twice", key)
            made.add(message.data)
            self._goes_on(found["epoch"], offsets)
            if found.get("status") == "held":
                self._held(found)
            else:
                self._published_value(found, offsets)
                shown = tuple(found[name] for name in _HELD)
                self._unheld.setdefault((found["epoch"], found["code"]), set()).add(shown)
            self.checked["snapshots"] += 1

    @_remembered
    def refused(self, messages: Sequence[Message], epoch: int) -> None:
        """Hear of a publication that Redis has refused: nobody has seen it, so it must not stand in the record."""
        for message in messages:
            key = epoch, message.code, message.seq
            demand(key not in self._recorded, "6", "{} is on record, and was refused", key)
            self._refused.add(key)

    def _goes_on(self, epoch: int, offsets: Mapping[int, int]) -> None:
        """Within a publisher's life, no partition goes back (law 5: the highest offset counts)."""
        last = self._cuts.get(epoch, {})
        for partition, offset in offsets.items():
            demand(
                offset >= last.get(partition, 0),
                "5",
                "publisher {} goes back from {} to {} on partition {}",
                *(epoch, last.get(partition), offset, partition),
            )
        self._cuts[epoch] = dict(offsets)

    def _held(self, found: Mapping[str, Any]) -> None:
        """See that a held level is one that this publisher made, or that of the reference prices (law 5)."""
        shown = tuple(found[name] for name in _HELD)
        made = self._unheld.get((found["epoch"], found["code"]), set())
        demand(
            shown in made or (found["priced"] == 0 and found["event_ns"] is None),
            "5",
            "held {}: {} was never its level",
            *(found["code"], shown),
        )

    def _published_value(self, found: Mapping[str, Any], offsets: Mapping[int, int]) -> None:
        """See that a level is that of one composition and session at the offsets that it names (laws 1, 5, 7)."""
        demand(
            set(offsets) == set(range(len(self.ledgers))),
            "5",
            "published from partitions {} alone",
            sorted(offsets),
        )
        states = [self._state("5", p, offset) for p, offset in sorted(offsets.items())]
        self.compare(found, states, f"{found['code']} at {dict(sorted(offsets.items()))}")
        self._range(found)

    def compare(self, found: Mapping[str, Any], states: Sequence[State], what: str) -> None:
        """Compare a snapshot with states that it was made of."""
        standings = {state.standing for state in states}
        demand(len(standings) == 1, "5", "{} adds up {}", what, sorted(standings))
        world, session = states[0].world, states[0].session
        code = found["code"]
        members = world.sheet(code).shares.keys()
        twice = shared(states) & members
        demand(not twice, "7", "{} counts {} twice", what, sorted(twice))
        expected: Level = level_of(states, code)
        sums = expected.sums
        fields: dict[str, tuple[object, object]] = {
            "composition": (found["composition"], world.id),
            "session": (found["session"], session or None),
            "origin": (ORIGINS.index(found["origin"]), max(state.origin for state in states)),
            "event_ns": (found["event_ns"], None if sums.event_ns < 0 else sums.event_ns),
            "level": (_units(found["level"], 8), expected.level),
            "previous_close": (_units(found["previous_close"], 8), expected.previous_close),
            "change": (_units(found["change"], 8), expected.level - expected.previous_close),
            "change_pct": (_units(found["change_pct"], 2), expected.change_pct),
            "market_value": (_units(found["market_value"], 4), expected.market_value),
            "priced": (found["priced"], sums.priced),
            "up": (found["up"], sums.up),
            "down": (found["down"], sums.down),
            "unchanged": (found["unchanged"], sums.priced - sums.up - sums.down),
            "coverage": (_units(found["coverage"], 6), expected.coverage),
            "constituents": (found["constituents"], len(members)),
        }
        _same("1", what, fields)

    def _range(self, found: Mapping[str, Any]) -> None:
        """Open, high and low are those of the session's levels in this publisher's life, and as it found them."""
        epoch, code, session = found["epoch"], found["code"], found["session"]
        if session is None:
            demand("open" not in found, "open/high/low", "{} has an open outside a session", code)
            return
        level, ranges = _units(found["level"], 8), self._ranges[epoch]
        known = ranges.get(code)
        if epoch in self._handed_over:
            demand(
                known is not None and known[0] == session and known[3] <= level <= known[2],
                "open/high/low",
                "{} is {} after publisher {} has handed over {}",
                *(code, level, epoch, known),
            )
        if known is None or known[0] != session:
            known = (session, level, level, level)
        ranges[code] = (session, known[1], max(known[2], level), min(known[3], level))
        _same("open/high/low", code, {"range": (_range(found), ranges[code])})

    def published(self, channel: str, message: bytes) -> None:
        """(epoch, seq) never goes back on a channel, and no old epoch writes after a newer one (law 6)."""
        if channel.endswith("heartbeat"):
            return
        found = orjson.loads(message)
        entries = found if isinstance(found, list) else [found]
        keys = [(entry["epoch"], entry["code"], entry["seq"]) for entry in entries]
        made = [self._made.get(key, set()) for key in keys]
        demand(all(made), "6", "published what nobody made: {}", message)
        if all(len(each) == 1 for each in made):
            text = b",".join(data for (data,) in made)
            same = message == (b"[" + text + b"]" if isinstance(found, list) else text)
            demand(same, "6", "published other than was made: {}", message)
        for epoch, code, seq in keys:
            self._goes_forward(channel, epoch, code, seq)
        self.checked["messages"] += 1

    @property
    def newest_epoch(self) -> int:
        """Of the publisher that has written last."""
        return self._newest_epoch

    @property
    def made_by_newest(self) -> list[str]:
        """Codes that the newest publisher has tried to publish."""
        return [code for epoch, code in self._unheld if epoch == self._newest_epoch]

    def _goes_forward(self, channel: str, epoch: int, code: str, seq: int) -> None:
        newest = self._newest_epoch
        demand(epoch >= newest, "6", "epoch {} publishes {} after {}", epoch, code, newest)
        self._newest_epoch = epoch
        last = self._newest.get((channel, code), (0, 0))
        demand((epoch, seq) > last, "6", "{} goes back from {} to {}", code, last, (epoch, seq))
        self._newest[channel, code] = (epoch, seq)

    def forget(self) -> None:
        """Hear that Redis has lost its memory, and the fence: an older publisher may write before a newer one does."""
        self._forgotten = True
        self._newest_epoch = 0
        self._newest.clear()

    def level(self, record: Record) -> None:
        """See that what stands on the topic of levels was made, and names the offsets that it was made of."""
        found = json.loads(record.value or b"", parse_float=Decimal)
        key = found["epoch"], found["code"], found["seq"]
        demand(key not in self._refused, "6", "{} was refused, and is on record", key)
        self._recorded.add(key)
        made = self._made.get(key, ())
        originals = [json.loads(data, parse_float=Decimal) for data in made]
        demand(
            any(each.items() <= found.items() for each in originals),
            "1",
            "recorded what nobody made: {}",
            found,
        )
        self._levels.append((found["code"], _range(found)) if "open" in found else None)
        if found.get("status") != "held":
            offsets = {int(p): offset for p, offset in found["offsets"].items()}
            states = [self._state("5", p, offset) for p, offset in sorted(offsets.items())]
            self.compare(found, states, f"recorded {found['code']} at {offsets}")
        self.checked["levels"] += 1


def _range(found: Mapping[str, Any]) -> Range:
    opened, high, low = (_units(found[name], 8) for name in ("open", "high", "low"))
    return found["session"], opened, high, low


def _recorded(
    state: AggregatorState | None, levels: Sequence[tuple[str, Range] | None]
) -> dict[str, Range]:
    """Work out open, high and low as one who takes over must find them; without a state nothing is known."""
    if state is None:
        return {}
    ranges = dict(state.extremes)
    for level in filter(None, levels[state.levels_offset :]):
        code, (session, opened, high, low) = level
        known = ranges.get(code)
        if known is None or known[0] < session:
            ranges[code] = (session, opened, high, low)
        elif known[0] == session:
            ranges[code] = (session, known[1], max(known[2], high), min(known[3], low))
    return ranges


def _same(law: str, what: str, fields: Mapping[str, tuple[object, object]]) -> None:
    for name, (found, expected) in fields.items():
        if found != expected:
            raise BrokenLawError(law, f"{what}: {name} is {found}, and must be {expected}")


def _prints(symbols: Sequence[str], prints: Any) -> dict[str, tuple[int, int, int]]:
    columns = (prints.ts.tolist(), prints.seq.tolist(), prints.price.tolist())
    return dict(zip(symbols, zip(*columns, strict=True), strict=True))


def _names(symbols: Sequence[str], rows: Any) -> frozenset[str]:
    return frozenset(symbols[row] for row in rows.tolist())


def _units(value: Any, decimals: int) -> int:
    scaled = Decimal(value) * 10**decimals
    demand(scaled == int(scaled), "1", "{} has more than {} decimals", value, decimals)
    return int(scaled)
