"""Settings of the whole process that a worker needs; for commands to call, not for libraries."""

from __future__ import annotations

import gc

#: Young objects that may pile up before the collector looks for cycles.
GC_THRESHOLD = 200_000


def tune_collector() -> None:
    """Make the garbage collector look for cycles rarely.

    A fetch holds thousands of records, which the collector would walk again and again without finding anything: half of the
    time of a worker that eats a backlog of single JSON ticks (`docs/performance.md`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
