"""What happens in a history: drawn beforehand, so that steps can be left out while the others stay."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, NamedTuple

from simulation.market import LAYOUTS, SYMBOLS
from simulation.redis import MOST_BEHIND

Kind = Literal[
    "go",
    "wait",
    "morning",
    "tick",
    "again",
    "rubbish",
    "feed",
    "start",
    "crash",
    "stop",
    "pause",
    "resume",
    "rebalance",
    "flush",
    "failover",
    "redis",
    "choke",
    "compact",
    "forget",
    "operator",
]


class Step(NamedTuple):
    """One thing that happens from outside.

    Attributes
    ----------
    kind
        What.
    chance
        Seed of whatever is left to chance in it.
    number, text, amount
        What else it takes, by kind.
    """

    kind: Kind
    chance: int
    number: int = 0
    text: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        words = [self.kind, self.text, f"{self.number}", f"{self.amount:g}"]
        return " ".join(word for word in words if word not in ("", "0"))


@dataclass(frozen=True)
class Plan:
    """How a world is laid out.

    Attributes
    ----------
    partitions, workers, n_symbols, variant
        Tick partitions, worker processes at most, instruments and which compositions.
    partials
        How partials travel.
    origin
        Of the ticks.
    trouble
        Share of operations that fail, or of which the asker is told so.
    checkpoint_s, cadence_ms, packed_above
        Settings of the workers.
    astray
        Share of ticks that come on a wrong partition.
    begun
        Records that each log has lost already when the first worker comes.
    old_epoch
        That Redis remembers from before.
    rest
        Seed of how it comes to rest.
    """

    partitions: int
    workers: int
    n_symbols: int
    variant: int
    partials: Literal["memory", "topic"]
    origin: Literal["live", "simulated"]
    trouble: float
    checkpoint_s: float
    cadence_ms: int
    packed_above: int
    astray: float
    begun: int
    old_epoch: int
    rest: int


def draw(seed: int) -> tuple[Plan, list[Step]]:
    """Draw a world and what happens in it."""
    chance = random.Random(seed)
    partials: Literal["memory", "topic"] = "topic" if chance.random() < 0.75 else "memory"
    n_symbols, variant = chance.choice(LAYOUTS)
    plan = Plan(
        partitions=chance.choice((1, 2, 2, 3)),
        workers=chance.choice((1, 2, 2, 3)) if partials == "topic" else chance.choice((1, 2)),
        n_symbols=n_symbols,
        variant=variant,
        partials=partials,
        origin="live" if chance.random() < 0.8 else "simulated",
        trouble=chance.choice((0.0, 0.0, 0.03, 0.1)),
        checkpoint_s=chance.choice((0.5, 2.0, 5.0)),
        cadence_ms=chance.choice((0, 100, 100, 500)),
        packed_above=chance.choice((500, 500, 2, 1)),
        astray=chance.choice((0.0, 0.0, 0.0, 0.1)),
        begun=chance.choice((0, 0, 3)),
        old_epoch=chance.choice((0, 0, 0, 7)),
        rest=chance.getrandbits(32),
    )
    return plan, _steps(plan, chance)


#: How often each kind of step comes, besides the `go` after nearly each.
_WEIGHTS: dict[Kind, float] = {
    "wait": 5,
    "morning": 2,
    "tick": 22,
    "again": 2,
    "rubbish": 1,
    "feed": 0.5,
    "start": 3,
    "crash": 3,
    "stop": 1,
    "pause": 4,
    "resume": 1,
    "rebalance": 2,
    "flush": 1,
    "failover": 1,
    "redis": 1.5,
    "choke": 0.5,
    "compact": 3,
    "forget": 0.5,
    "operator": 2,
}


def _steps(plan: Plan, chance: random.Random) -> list[Step]:
    steps = []
    if plan.origin == "simulated":
        steps.append(Step("feed", chance.getrandbits(32)))
    steps += [Step("start", chance.getrandbits(32)) for _ in range(plan.workers)]
    kinds = list(_WEIGHTS)
    for kind in chance.choices(kinds, list(_WEIGHTS.values()), k=chance.randrange(5, 30)):
        if kind == "pause":
            steps += _lapse(plan, chance)
        else:
            steps += _and_then([_step(kind, plan, chance)], chance, often=0.8)
    return steps


def _lapse(plan: Plan, chance: random.Random) -> list[Step]:
    """Pause a process while others go on; it wakes up after some time, or not at all."""
    steps = _and_then([_step("pause", plan, chance)], chance, often=0.8, far=True)
    for kind in chance.choices(
        ("tick", "tick", "wait", "flush", "operator"), k=chance.randrange(4)
    ):
        steps += _and_then([_step(kind, plan, chance)], chance, often=0.8, far=True)
    if chance.random() < 0.8:
        steps += _and_then([_step("resume", plan, chance)], chance, often=0.9)
    return steps


def _and_then(
    steps: list[Step], chance: random.Random, *, often: float, far: bool = False
) -> list[Step]:
    """Let things go on after a step, or not."""
    if chance.random() < often:
        number = chance.choice((15, 40, 80) if far else (2, 5, 15, 40))
        return [*steps, Step("go", chance.getrandbits(32), number=number)]
    return steps


def _step(kind: Kind, plan: Plan, chance: random.Random) -> Step:
    own = chance.getrandbits(32)
    number = chance.randrange(plan.workers)
    match kind:
        case "wait":
            return Step(kind, own, amount=chance.choice((0.2, 1.0, 3.0, 8.0)))
        case "tick":
            return Step(kind, own, number=chance.randrange(1, 4), text=chance.choice(SYMBOLS))
        case "failover":
            number = chance.randrange(1, MOST_BEHIND + 1)
        case "start":
            return Step(kind, own, number=chance.choice((0, 0, 0, 1, 2)))
        case "operator":
            action = chance.choice(("price", "bound", "exclude", "include"))
            return Step(kind, own, number=chance.randrange(plan.n_symbols), text=action)
        case "compact":
            return Step(kind, own, text=chance.choice(("partials", "checkpoints", "compositions")))
    return Step(kind, own, number=number)
