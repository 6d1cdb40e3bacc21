"""Who is next: one thing after another of all that could happen now, by chance."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from simulation.cluster import Cluster
from simulation.laws import BrokenLawError
from simulation.process import Process

#: One thing that could happen, and how much it wants to.
_Move = tuple[float, Callable[[], None]]

#: As many things without any time passing are taken for a loop.
MOST_AT_ONCE = 3_000


class Scheduler:
    """Lets a cluster go on.

    Parameters
    ----------
    cluster
        What goes on.

    Attributes
    ----------
    events
        How many things it has let happen.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.events = 0
        self._cluster = cluster

    def event(self, chance: random.Random) -> bool:
        """Let one thing happen; tell whether anything did."""
        moves = self._moves(chance)
        group = self._cluster.group
        if group.gathering and not group.gathered:
            # Who does not come in time is left out.
            moves.append((0.1, partial(self._share, chance)))
        until = self._next_timer()
        if until is not None:
            moves.append((0.7, partial(self._pass, until, chance)))
        return self._make_one(moves, chance)

    def settle(self, chance: random.Random) -> None:
        """Let everything happen that needs no time."""
        for _ in range(MOST_AT_ONCE):
            if not self._cluster.processes:
                self._cluster.start()
            if not self._make_one(self._moves(chance), chance):
                return
        raise BrokenLawError("rest", "something goes on without end")

    def _make_one(self, moves: list[_Move], chance: random.Random) -> bool:
        if not moves:
            return False
        self.events += 1
        chance.choices(moves, [weight for weight, _ in moves])[0][1]()
        self._cluster.look()
        return True

    def _moves(self, chance: random.Random) -> list[_Move]:
        moves: list[_Move] = []
        operate = self._cluster.operate
        for process in self._cluster.processes:
            if not process.paused:
                self._own_moves(process, chance, moves)
            weight = 0.3 if process.paused else 3.0
            moves.extend((weight, partial(operate, process, op, chance)) for op in process.able())
        group = self._cluster.group
        if group.restless:
            moves.append((1.0, self.gather))
        if group.gathered:
            moves.append((2.0, partial(self._share, chance)))
        return moves

    def _own_moves(self, process: Process, chance: random.Random, moves: list[_Move]) -> None:
        if process.loop.due:
            moves.append((6.0, process.loop.turn))
        app = process.app
        if app is None:
            return
        if app.coming is not None:
            moves.append((2.0, partial(self._assign, process)))
        if app.expelled:
            moves.append((1.0, partial(self._rejoin, process)))
        if hungry := app.hungry():
            some = chance.sample(hungry, chance.randint(1, len(hungry)))
            moves.append((4.0, partial(app.fetch, some, chance)))

    # ---- the group ---------------------------------------------------------------------------------

    def gather(self) -> None:
        """Begin a rebalance."""
        self._cluster.counted("rebalances", "partitions are given up")
        self._cluster.group.gather()

    def _share(self, chance: random.Random) -> None:
        group = self._cluster.group
        group.share(chance)
        shares = {app.process.name: sorted(app.coming or ()) for app in group.members}
        text = {name: [f"{t}/{p}" for t, p in tps] for name, tps in shares.items()}
        self._cluster.say("partitions are shared out: {}", text)

    def _assign(self, process: Process) -> None:
        assert process.app is not None
        self._cluster.say("{} hears of its partitions", process.name)
        process.app.assign()

    def _rejoin(self, process: Process) -> None:
        """Let a process that was paused hear that the group went on without it."""
        assert process.app is not None
        self._cluster.counted("zombies", "{} joins again", process.name)
        process.app.expelled = False
        process.app.revoke()
        self._cluster.group.join(process.app)

    # ---- time --------------------------------------------------------------------------------------

    def _next_timer(self) -> float | None:
        times = [each.loop.next_s for each in self._cluster.processes if not each.paused]
        return min((at for at in times if at is not None), default=None)

    def _pass(self, until: float, chance: random.Random) -> None:
        self._cluster.clock.advance_to(until)
        if chance.random() < 0.4:
            self._cluster.clock.advance(chance.choice((0.01, 0.1, 0.4, 1.0)))
