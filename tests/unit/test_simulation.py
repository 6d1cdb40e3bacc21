"""The simulation in the normal suite: some histories, and every law broken on purpose (`docs/simulation.md`)."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from simulation.fakes import installed
from simulation.history import Outcome, play, report, shrink
from simulation.mutants import MUTANTS, Mutant

#: Histories of the normal suite; the command line plays as many as one has time for.
HISTORIES = range(1, 121)

#: A law that is broken on purpose must be caught within so many.
CAUGHT_WITHIN = 1_000

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    with installed():
        yield
    # What a killed process had not begun is not awaited; it must be found while that is known.
    gc.collect()


def test_every_law_holds_on_some_histories() -> None:
    """Whatever is delayed, repeated, lost, paused or killed: what is written is what the logs say."""
    for seed in HISTORIES:
        outcome = play(seed)
        if outcome.broken is not None:
            pytest.fail(report(shrink(outcome)))


def test_a_seed_tells_the_same_history_again() -> None:
    """A history is a function of its seed, down to every byte that is written."""
    first: list[str] = []
    second: list[str] = []
    for seed in range(1, 6):
        play(seed, trace=first.append)
        play(seed, trace=second.append)

    assert len(first) > 100
    assert first == second


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_law_that_is_broken_on_purpose_is_caught(mutant: Mutant) -> None:
    """For each law there is a fault, of the kind that might slip in, which some history shows."""
    outcome = _caught(mutant)

    assert outcome is not None, f"not caught within {CAUGHT_WITHIN} histories"
    assert outcome.broken is not None
    assert outcome.broken.law in mutant.laws, outcome.broken
    print(f"{mutant.name}: caught with seed {outcome.seed}: {outcome.broken}")  # noqa: T201


def _caught(mutant: Mutant) -> Outcome | None:
    with mutant.alive():
        for seed in (mutant.seed, *range(1, CAUGHT_WITHIN)):
            outcome = play(seed)
            if outcome.broken is not None:
                return outcome
    return None


def test_shrinking_leaves_the_steps_that_it_takes() -> None:
    """A shrunk history breaks the same law in fewer steps, and tells how to see it again."""
    (mutant,) = (each for each in MUTANTS if each.name == "the writer skips a partition")
    with mutant.alive():
        outcome = next(each for each in map(play, range(1, 50)) if each.broken is not None)
        shrunk = shrink(outcome)
        told = report(shrunk)

    assert shrunk.broken is not None
    assert shrunk.broken.law == "5"
    assert len(shrunk.kept) < len(outcome.kept)
    assert f"--replay {outcome.seed} --keep" in told
    assert str(shrunk.broken) in told
