"""The end of a history: all faults are over, one worker is left, and everything must come to what the logs say."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from simulation.cluster import Cluster
from simulation.laws import BrokenLawError, demand
from simulation.process import Process
from simulation.scheduler import Scheduler
from simulation.truth import NS, shared
from stream.pipeline.worker import Worker
from stream.wire.names import RedisNames

#: Virtual seconds within which it must come to rest, and looks in a row that must find it so.
WITHIN_S = 90
LOOKS = 3
BETWEEN_S = 0.7


class Rest:
    """Brings a cluster to rest.

    Parameters
    ----------
    cluster, scheduler
        The cluster, and who lets it go on.
    """

    def __init__(self, cluster: Cluster, scheduler: Scheduler) -> None:
        self._cluster = cluster
        self._scheduler = scheduler
        self._ordered: dict[str, float] = {}

    def come(self, chance: random.Random) -> None:
        """Let everything settle, and compare what stands in Redis with the logs.

        Raises
        ------
        BrokenLawError
            Where it does not come to that.
        """
        self._mend(chance)
        self._leave_one(chance)
        clock, calm = self._cluster.clock, 0
        until = clock.monotonic() + WITHIN_S
        while calm < LOOKS:
            self._scheduler.settle(chance)
            broken = self._look()
            calm = 0 if broken else calm + 1
            if broken is not None and clock.monotonic() > until:
                raise broken
            clock.advance(BETWEEN_S)

    def _mend(self, chance: random.Random) -> None:
        """End all faults, and let those who were paused act once more."""
        self._cluster.trouble, self._cluster.redis.up = 0.0, True
        for process in self._cluster.processes:
            process.choked = False
            if process.paused and chance.random() < 0.7:
                process.paused = False
        # One that has just begun to act again may be ended in the midst of it.
        for _ in range(chance.choice((15, 30, 60))):
            self._scheduler.event(chance)

    def _leave_one(self, chance: random.Random) -> None:
        processes = self._cluster.processes
        stays = chance.choice([*processes, None])
        for process in list(processes):
            if process is not stays and process in processes:
                self._end(process, chance)
        for process in processes:
            process.paused = False

    def _end(self, process: Process, chance: random.Random) -> None:
        if not process.paused and chance.random() < 0.5:
            self._cluster.counted("stops", "{} is asked to stop", process.name)
            process.ask_to_stop()
            self._scheduler.settle(chance)
        if process in self._cluster.processes:
            self._cluster.crash(process, chance)

    # ---- looking -----------------------------------------------------------------------------------

    def _look(self) -> BrokenLawError | None:
        """Tell what is not as it must be in the end."""
        worker = self._cluster.processes[0].worker
        try:
            demand(worker is not None and worker.publisher is not None, "rest", "nobody publishes")
            assert worker is not None
            self._all_read(worker)
            self._none_contested()
            demand(not worker.not_ready(), "rest", "{}", worker.not_ready())
            self._levels_agree()
            self._prices_agree()
            self._nothing_drifts(worker)
        except BrokenLawError as broken:
            return broken
        return None

    def _all_read(self, worker: Worker) -> None:
        """Nothing of any log is left out (laws 4 and 5)."""
        broker, settings = self._cluster.broker, self._cluster.settings
        listed = broker.end(settings.control_topic)
        for partition in self._cluster.partitions:
            end = broker.end(settings.ticks_topic, partition)
            book = worker.intake.books.get(partition)
            at = None if book is None else book.offset
            demand(at == end, "4", "partition {} is read to {} of {}", partition, at, end)
            obeyed = self._cluster.ledgers[partition].states[-1].control
            demand(obeyed == listed, "5", "partition {} obeys {} of {}", partition, obeyed, listed)

    def _none_contested(self) -> None:
        """Let an operator decide: a symbol on two partitions is refused by all until then (law 7)."""
        states = [ledger.states[-1] for ledger in self._cluster.ledgers]
        contested = shared(states).union(*(state.refused for state in states))
        now = self._cluster.clock.monotonic()
        for symbol in sorted(contested):
            refused = all(symbol in state.refused for state in states)
            if refused and now > self._ordered.get(symbol, 0.0) + 10.0:
                self._ordered[symbol] = now
                self._cluster.order(symbol, "include")
        demand(not contested, "7", "{} are on two partitions", sorted(contested))

    def _levels_agree(self) -> None:
        """Levels in Redis are those of the whole logs, digit for digit, whatever has happened (laws 1, 4 and 10)."""
        states = [ledger.states[-1] for ledger in self._cluster.ledgers]
        for sheet in states[0].world.sheets:
            data = self._cluster.redis.keys.get(RedisNames().snap(sheet.code))
            demand(data is not None, "10", "{} is not in Redis", sheet.code)
            found = json.loads(data or b"", parse_float=Decimal)
            # One symbol may have gone on while the others were silent: then it says so, and is right.
            silent = 2 * found["stale"] > found["constituents"] or self._has_been_silent(found)
            doubtful = found["status"] == "held" or (found["status"] == "stale" and not silent)
            demand(not doubtful, "10", "{} is {}", sheet.code, found["status"])
            self._cluster.laws.compare(found, states, f"{sheet.code} at rest")

    def _has_been_silent(self, found: Mapping[str, Any]) -> bool:
        """Tell whether no tick of an index has come for longer than a feed may be silent."""
        patience_ns = int(self._cluster.settings.feed_silent_s * NS)
        since = found["event_ns"]
        return since is None or bool(self._cluster.clock.now_ns - since > patience_ns)

    def _prices_agree(self) -> None:
        """Prices in Redis are those of the books (law 10)."""
        prices = self._cluster.redis.hashes.get(RedisNames().prices, {})
        for ledger in self._cluster.ledgers:
            state = ledger.states[-1]
            for symbol in sorted(state.touched):
                entry = json.loads(prices.get(symbol, b"{}"), parse_float=Decimal)
                shown = int(entry.get("price", 0) * 10_000), entry.get("ts")
                ts, _, price = state.newest[symbol]
                demand(shown == (price, ts), "10", "{} is {}, not {}", symbol, shown, (price, ts))

    def _nothing_drifts(self, worker: Worker) -> None:
        """Compare running integers with a fresh sum (law 2)."""
        for partition, book in worker.intake.books.items():
            same = book.partial().same_values(book.recomputed())
            demand(same, "2", "partition {} drifts", partition)
