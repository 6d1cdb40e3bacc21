"""One history from its seed: played, replayed, and cut down to what it takes to break a law."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from simulation.cluster import Cluster
from simulation.happenings import Happenings
from simulation.laws import BrokenLawError
from simulation.rest import Rest
from simulation.scheduler import Scheduler
from simulation.steps import Plan, Step, draw

#: Histories that are tried while one is cut down.
TRIES = 300


@dataclass(frozen=True)
class Outcome:
    """What became of a history.

    Attributes
    ----------
    seed
        Of the history.
    kept
        Positions of the steps that were played.
    broken
        The law that was broken, and how; None where none was.
    happened, checked
        How often what has happened, and was compared.
    """

    seed: int
    kept: tuple[int, ...]
    broken: BrokenLawError | None
    happened: Counter[str]
    checked: Counter[str]

    @property
    def command(self) -> str:
        """What replays it."""
        kept = ",".join(map(str, self.kept))
        return f"PYTHONPATH=tests python -m simulation --replay {self.seed} --keep {kept}"


def play(
    seed: int,
    *,
    kept: Sequence[int] | None = None,
    trace: Callable[[str], None] | None = None,
) -> Outcome:
    """Play a history, or some of its steps.

    Parameters
    ----------
    seed
        Of the history.
    kept
        Positions of the steps to play; None for all.
    trace
        Takes a line for everything that happens.
    """
    plan, steps = draw(seed)
    kept = tuple(range(len(steps)) if kept is None else kept)
    cluster = Cluster(plan, trace)
    broken = None
    try:
        _play(cluster, plan, [(i, steps[i]) for i in kept])
    except BrokenLawError as error:
        broken = error
    finally:
        cluster.end()
    return Outcome(seed, kept, broken, cluster.happened, cluster.laws.checked)


def _play(cluster: Cluster, plan: Plan, steps: Sequence[tuple[int, Step]]) -> None:
    scheduler = Scheduler(cluster)
    happenings = Happenings(cluster, scheduler)
    for i, step in steps:
        cluster.say("-- {}: {}", i, step)
        happenings.do(step)
    cluster.say("-- rest")
    Rest(cluster, scheduler).come(random.Random(plan.rest))
    cluster.happened["histories"] += 1
    cluster.happened["events"] += scheduler.events


def shrink(outcome: Outcome) -> Outcome:
    """Leave out steps of a history for as long as it breaks the same law: halves first, single ones in the end."""
    assert outcome.broken is not None
    size, tries = max(len(outcome.kept) // 2, 1), TRIES
    while tries > 0:
        smaller = None
        for first in range(0, len(outcome.kept), size):
            tries -= 1
            kept = outcome.kept[:first] + outcome.kept[first + size :]
            tried = play(outcome.seed, kept=kept)
            if tried.broken is not None and tried.broken.law == outcome.broken.law:
                smaller = tried
                break
        if smaller is not None:
            outcome = smaller
        elif size == 1:
            break
        else:
            size //= 2
    return outcome


#: Routine that a report leaves out.
_ROUTINE = (": ends of", ": beat at epoch", ": commit", "dead-letters")


def report(outcome: Outcome, *, all_of_it: bool = False) -> str:
    """Tell of a broken law: the seed, the law, the world, what has happened, and how to see it again.

    Parameters
    ----------
    outcome
        Of a history, shrunk or not.
    all_of_it
        Whether to tell of routine, too.
    """
    lines: list[str] = []
    again = play(outcome.seed, kept=outcome.kept, trace=lines.append)
    plan, steps = draw(outcome.seed)
    told = [
        line
        for line in lines
        if all_of_it or not (line.endswith("-- go") or any(word in line for word in _ROUTINE))
    ]
    return "\n".join(
        (
            f"seed {outcome.seed}: {again.broken or 'every law held'}",
            f"world: {replace(plan, rest=0)}",
            f"steps: {len(outcome.kept)} of {len(steps)}",
            *told,
            f"again: {outcome.command}",
        )
    )
