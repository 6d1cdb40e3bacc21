"""The bounded part of the fault tests: a few faults, and every law but those of time (`make chaos` is the whole)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.run import Plan, run
from chaos.schedule import EVERYONE, PUBLISHER, Fault

#: A worker is killed, Redis lost in three ways, and the publisher stopped until another one has taken over: when it wakes,
#: it still has something to say, and must not be heard.
SCHEDULE = (
    Fault(0.5, "kill", 0, 0.1, "restart"),
    Fault(1.0, "net-redis", EVERYONE, 0.0, "cut"),
    Fault(2.0, "redis-restart", for_s=0.5),
    Fault(6.0, "redis-flush"),
    Fault(8.0, "pause", PUBLISHER, 8.5),
)


@pytest.mark.parametrize("seed", [20240306])
async def test_levels_are_right_whatever_breaks(seed: int, tmp_path: Path) -> None:
    """Workers killed and paused, Redis cut off, emptied and restarted: every law of the checker holds."""
    plan = Plan(
        seed=seed,
        ticks=60_000,
        n_partitions=4,
        workers=2,
        backlog=0.5,
        form="mixed",
        clock=True,
        schedule=SCHEDULE,
        tail_s=5.0,
        # Whoever runs the tests may have a slow machine.
        timed=False,
    )

    outcome = await run(plan, folder=tmp_path, say=print)

    assert {law.name: law.broken for law in outcome.wrong} == {}
    assert all(law.checked for law in outcome.laws if "ends when it is asked" not in law.name)
    assert outcome.recoveries
