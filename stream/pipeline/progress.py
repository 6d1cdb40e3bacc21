"""The progress watchdog: a worker that is alive but deaf must not stay so (lesson of many consumers that hang unnoticed)."""

from __future__ import annotations

from collections.abc import Mapping


class Progress:
    """Tells which partitions hold records that are not read, and since when.

    Attributes
    ----------
    stalled
        For each such partition: since when, on the caller's clock, and how many records wait.
    """

    def __init__(self) -> None:
        self.stalled: dict[int, tuple[float, int]] = {}
        self._seen: dict[int, int] = {}

    def observe(
        self, positions: Mapping[int, int], ends: Mapping[int, int], *, now_s: float
    ) -> None:
        """Take positions and ends of the logs of all owned partitions.

        Parameters
        ----------
        positions
            Offset up to which each log has been applied.
        ends
            End of each log, as the brokers told apart from any fetch.
        now_s
            A steady clock, seconds.
        """
        stalled: dict[int, tuple[float, int]] = {}
        for partition, position in positions.items():
            waiting = ends.get(partition, position) - position
            moved = self._seen.get(partition) != position
            if waiting > 0:
                since, _ = self.stalled.get(partition, (now_s, 0))
                stalled[partition] = (now_s if moved else since, waiting)
        self.stalled = stalled
        self._seen = dict(positions)

    def forget(self) -> None:
        """Begin anew: nothing can be told of a time in which the brokers did not answer."""
        self.stalled = {}
        self._seen = {}

    def worst(self, *, now_s: float) -> tuple[float, int, int]:
        """Give how long the longest stall has lasted, its partition and how many records wait there; else (0, -1, 0)."""
        return max(
            ((now_s - since, partition, n) for partition, (since, n) in self.stalled.items()),
            default=(0.0, -1, 0),
        )
