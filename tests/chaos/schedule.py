"""The schedule: which fault comes when, all of it drawn from a seed before anything runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import msgspec

Kind = Literal[
    "kill",
    "pause",
    "broker",
    "redis-flush",
    "redis-restart",
    "net-kafka",
    "net-redis",
    "clock",
    "rebalance",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The nemesis does these; a clock is wrong on the tape itself.
ACTED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "clock")

#: Faults that hit what every worker needs, not one of them.
EVERYONE = -1
#: Whoever publishes when the fault comes: for schedules written by hand.
PUBLISHER = -2

#: Of a worker, in seconds: the default of the product.
SESSION_TIMEOUT_S = 6.0

#: Share of the kills after which the worker stays away until the others have taken over.
TAKE_OVERS = 0.3
#: Share of the faults that come while the last one still hurts.
RECKLESS = 0.15
#: Share of the network faults that hit all workers at once.
COMMON = 0.3

FIRST_AT_S = 2.0
#: What the product may need to be itself again after a fault.
SETTLE_S: dict[Kind, float] = {
    "kill": 5.0,
    "pause": 6.0,
    # Started after a kill, a broker waits for the session of its former self to run out.
    "broker": 20.0,
    "redis-flush": 2.0,
    "redis-restart": 3.0,
    "net-kafka": 8.0,
    "net-redis": 4.0,
    "rebalance": 6.0,
}
PAUSE_S = 1.5

TROUBLES = ("refuse", "cut", "delay", "throttle", "half-open")


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One act of the nemesis.

    Attributes
    ----------
    at_s
        When, from the start of the schedule.
    kind
        What.
    worker
        Number of the worker that it hits, or EVERYONE, or PUBLISHER.
    for_s
        How long what is broken stays so: a worker away or paused, a service down, a link troubled, a guest there.
    how
        Of `kill`: `restart` or `take-over`; of a network fault: the proxy's mode; of `rebalance`: `join` or `leave`.
    amount
        Of `delay`, ms; of `throttle`, bytes/s.
    """

    at_s: float
    kind: Kind
    worker: int = EVERYONE
    for_s: float = 0.0
    how: str = ""
    amount: float = 0.0

    @property
    def over_s(self) -> float:
        """When nothing is broken any more, from the start of the schedule."""
        return self.at_s + self.for_s

    def __str__(self) -> str:
        whom = f" worker {self.worker}" if self.worker >= 0 else ""
        whom = " publisher" if self.worker == PUBLISHER else whom
        how = f" {self.how}" if self.how else ""
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.at_s:8.2f} s  {self.kind}{whom}{how}{amount}, {self.for_s:.2f} s"


def make_schedule(
    *,
    seed: int,
    kinds: Sequence[Kind],
    workers: int,
    kills: int | None = None,
    seconds: float | None = None,
) -> tuple[Fault, ...]:
    """Draw a schedule.

    Parameters
    ----------
    seed
        Everything follows from it.
    kinds
        What may happen; each kind comes once before any comes again, the kills twice.
    workers
        How many there are to be hit.
    kills
        End after so many kills.
    seconds
        End after so much time, whatever is still missing.

    Returns
    -------
    tuple of Fault
        In order of time.
    """
    chance = random.Random(seed)
    faults: list[Fault] = []
    acted = [kind for kind in kinds if kind in ACTED]
    at_s, n_kills = FIRST_AT_S, 0
    for kind in _rounds(chance, acted):
        fault = _draw(chance, kind, at_s=round(at_s, 2), workers=workers)
        if seconds is not None and fault.over_s > seconds:
            break
        faults.append(fault)
        n_kills += kind == "kill"
        if kills is not None and n_kills >= kills:
            break
        if chance.random() < RECKLESS:
            at_s += chance.uniform(0.2, PAUSE_S)
        else:
            at_s += fault.for_s + SETTLE_S[kind] + chance.expovariate(1 / PAUSE_S)
    return tuple(faults)


def _rounds(chance: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    while kinds:
        one_round = [*kinds, *(kind for kind in kinds if kind == "kill")]
        chance.shuffle(one_round)
        yield from one_round


def _draw(chance: random.Random, kind: Kind, *, at_s: float, workers: int) -> Fault:
    worker = chance.randrange(workers)
    if kind == "kill":
        taken_over = workers > 1 and chance.random() < TAKE_OVERS
        return Fault(
            at_s,
            kind,
            worker,
            for_s=round(SESSION_TIMEOUT_S + chance.uniform(4, 8), 2) if taken_over else 0.1,
            how="take-over" if taken_over else "restart",
        )
    if kind == "pause":
        return Fault(at_s, kind, worker, for_s=round(SESSION_TIMEOUT_S + chance.uniform(2, 6), 2))
    if kind in ("net-kafka", "net-redis"):
        return _draw_trouble(chance, kind, at_s, worker)
    if kind == "rebalance":
        how = chance.choice(("join", "leave") if workers > 1 else ("join",))
        return Fault(at_s, kind, worker, for_s=round(chance.uniform(6, 12), 2), how=how)
    longest = {"broker": 8.0, "redis-restart": 4.0}.get(kind, 0.0)
    return Fault(at_s, kind, for_s=round(chance.uniform(longest / 8, longest), 2))


def _draw_trouble(chance: random.Random, kind: Kind, at_s: float, worker: int) -> Fault:
    how = chance.choice(TROUBLES)
    amount = {
        "delay": chance.choice((20.0, 200.0, 1_000.0)),
        "throttle": chance.choice((20_000.0, 200_000.0)),
    }.get(how, 0.0)
    hit = EVERYONE if chance.random() < COMMON else worker
    for_s = 0.0 if how == "cut" else round(chance.uniform(2, 14), 2)
    return Fault(at_s, kind, hit, for_s, how, amount)


def write_schedule(faults: Sequence[Fault]) -> str:
    """Write a schedule as JSON lines."""
    return "".join(msgspec.json.encode(fault).decode() + "\n" for fault in faults)


def read_schedule(text: str) -> tuple[Fault, ...]:
    """Read a schedule from JSON lines; a line that is none raises `msgspec.ValidationError`."""
    lines = [line for line in text.splitlines() if line.strip()]
    return tuple(msgspec.json.decode(line, type=Fault) for line in lines)


def end_s(faults: Sequence[Fault]) -> float:
    """Tell when the last fault is over."""
    return max((fault.over_s for fault in faults), default=0.0)
