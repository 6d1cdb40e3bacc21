"""The nemesis' schedule follows from its seed, and holds what was asked for."""

from __future__ import annotations

import pytest

from chaos.__main__ import parse, plan_of, replay
from chaos.nemesis import alone_s, disturbed
from chaos.schedule import (
    ACTED,
    EVERYONE,
    KINDS,
    PUBLISHER,
    SESSION_TIMEOUT_S,
    Fault,
    end_s,
    make_schedule,
    read_schedule,
    write_schedule,
)


def test_a_seed_makes_one_schedule() -> None:
    """And another one another."""
    one, again, other = (
        make_schedule(seed=seed, kinds=KINDS, workers=3, seconds=300) for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_is_what_was_asked_for(seed: int) -> None:
    """In order of time, over in time, on workers that there are, every kind before any comes again."""
    faults = make_schedule(seed=seed, kinds=KINDS, workers=3, seconds=600)

    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert end_s(faults) <= 600
    assert {fault.worker for fault in faults} <= {EVERYONE, 0, 1, 2}
    assert {fault.kind for fault in faults[: len(ACTED) + 1]} == set(ACTED)
    for fault in faults:
        if fault.kind == "pause" or fault.how == "take-over":
            assert fault.for_s > SESSION_TIMEOUT_S


def test_a_schedule_ends_with_its_last_kill() -> None:
    """However long that takes; some workers come back at once, others stay away."""
    faults = make_schedule(seed=5, kinds=["kill"], workers=3, kills=100)

    assert len(faults) == 100
    assert {fault.how for fault in faults} == {"restart", "take-over"}


def test_one_worker_is_never_away_for_long() -> None:
    """Nobody could take over from it."""
    faults = make_schedule(seed=5, kinds=["kill", "rebalance"], workers=1, kills=50)

    assert {fault.how for fault in faults} == {"restart", "join"}


def test_a_schedule_can_be_written_and_read() -> None:
    """As lines that can be edited."""
    faults = make_schedule(seed=9, kinds=KINDS, workers=2, seconds=300)

    text = write_schedule(faults)

    assert len(text.splitlines()) == len(faults)
    assert read_schedule(text + "\n") == faults
    assert [str(Fault(1.0, "pause", worker, 8.0))[12:] for worker in (1, EVERYONE, PUBLISHER)] == [
        "pause worker 1, 8.00 s",
        "pause, 8.00 s",
        "pause publisher, 8.00 s",
    ]


def test_a_fault_is_disturbed_by_what_is_not_over() -> None:
    """A flush needs 2 s to be made up for."""
    kill = Fault(10.0, "kill", 0, 0.1, "restart")
    for before, expected in (
        (Fault(7.9, "redis-flush"), False),
        (Fault(8.1, "redis-flush"), True),
        (Fault(1.0, "redis-restart", for_s=9.5), True),
    ):
        assert disturbed([before, kill], 1) == expected
        assert not disturbed([before, kill], 0)


def test_a_fault_is_alone_until_the_next_one() -> None:
    """The last one for ever."""
    faults = [Fault(at_s, "redis-flush") for at_s in (1.0, 4.0)]
    assert [alone_s(faults, number) for number in (0, 1)] == [3.0, float("inf")]


@pytest.mark.parametrize(
    "options",
    [
        "--seed 7",
        "--seed 7 --faults kill --kills 3 --ticks 1000 --workers 2 --partitions 3 --form json",
        "--minutes 1.5 --faults pause,kill --backlog 0.25 --live --untimed",
    ],
)
def test_the_command_that_is_printed_does_the_same_again(options: str) -> None:
    """Also where the seed was drawn."""
    args = parse(options.split())

    command = replay(args)

    again = command.partition('"')[2].rstrip('"')
    assert plan_of(parse(again.split())) == plan_of(args)


@pytest.mark.parametrize("options", ["--faults fire", "--faults pause --kills 3", "--backlog 2"])
def test_options_that_make_no_sense_are_refused(options: str) -> None:
    """With status 2, before anything is started."""
    with pytest.raises(SystemExit, match="2"):
        parse(options.split())
