"""Prometheus metrics of a worker, read off its own counters when they are asked for: the tick's road pays nothing."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from stream import __version__
from stream.index.aggregate import Doubt
from stream.index.lines import MAX_LINES
from stream.index.status import Status
from stream.index.units import LEVEL_SCALE
from stream.pipeline.intake import AGE_BOUNDS_S, OTHER
from stream.pipeline.worker import Worker

#: Upper bounds of the publication delay, seconds.
DELAY_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class WorkerMetrics(Collector):
    """All metrics of one worker, in a registry of their own.

    Attributes
    ----------
    registry
        To expose.
    publication_delay
        Histogram to observe, in seconds: from the first change that a publication carries to Redis' confirmation.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.publication_delay = Histogram(
            "capstream_publication_delay_seconds",
            "From the first change that a publication carries to Redis' confirmation.",
            buckets=DELAY_BOUNDS_S,
            registry=self.registry,
        )
        self._worker: Worker | None = None
        self.registry.register(self)

    def watch(self, worker: Worker) -> None:
        """Read the metrics off this worker from now on."""
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Give the metrics as they are at this moment."""
        yield InfoMetricFamily(
            "capstream_build",
            "Version of the program.",
            value={"version": __version__, "python": platform.python_version()},
        )
        if self._worker is not None:
            yield from _ticks(self._worker)
            yield from _lines(self._worker)
            yield from _partitions(self._worker)
            yield from _publications(self._worker)


def _ticks(worker: Worker) -> Iterator[Metric]:
    account, age = worker.intake.account, worker.intake.age
    yield CounterMetricFamily("capstream_ticks", "Ticks read.", value=account.ticks)
    yield CounterMetricFamily("capstream_ticks_applied", "Ticks applied.", value=account.applied)
    refused = CounterMetricFamily(
        "capstream_ticks_refused", "Ticks refused, by reason.", labels=["reason"]
    )
    for reason, count in account.refused.items():
        refused.add_metric([reason], count)
    yield refused
    unknown = CounterMetricFamily(
        "capstream_unknown_conditions",
        "Sale conditions that are not in the table.",
        labels=["letter"],
    )
    for letter, count in account.unknown_conditions.items():
        unknown.add_metric([letter], count)
    yield unknown
    buckets, running = [], 0
    for bound, count in zip((*AGE_BOUNDS_S, "+Inf"), age.counts.tolist(), strict=True):
        running += count
        buckets.append((str(bound), running))
    yield HistogramMetricFamily(
        "capstream_tick_age_seconds",
        "Age of ticks when they are applied, of a sample of each fetch: since their event time, or where the market is "
        "replayed or simulated, since the timestamp of their Kafka record.",
        buckets=buckets,
        sum_value=age.sum_s,
    )
    yield CounterMetricFamily(
        "capstream_dead_letters_dropped",
        "Dead letters that were only counted, because of the rate limit.",
        value=worker.dead_letters.dropped,
    )
    yield CounterMetricFamily(
        "capstream_suspects_confirmed",
        "Prints that were held back as suspects until another confirmed them.",
        value=sum(book.confirmed for book in worker.intake.books.values()),
    )
    yield GaugeMetricFamily(
        "capstream_recompute_drift",
        "Books whose running integers differ from a fresh sum; must stay 0.",
        value=worker.drift,
    )


def _lines(worker: Worker) -> Iterator[Metric]:
    """Count gaps by feed: sources come from outside, but a book follows few of them."""
    frames = CounterMetricFamily(
        "capstream_line_frames_missing", "Frame numbers that a feed left out.", labels=["source"]
    )
    ticks = CounterMetricFamily(
        "capstream_line_ticks_missing",
        "Numbered ticks that another feed brought, and this one passed without.",
        labels=["source"],
    )
    lost: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for lines in worker.intake.lines.values():
        for source, counts in lines.counts.items():
            name = str(source) if str(source) in lost or len(lost) < MAX_LINES else OTHER
            lost[name] += counts.frames_missing
            passed[name] += counts.ticks_missing
    for label, count in lost.items():
        frames.add_metric([label], count)
        ticks.add_metric([label], passed[label])
    yield frames
    yield ticks
    yield CounterMetricFamily(
        "capstream_gaps",
        "Gaps in a feed that no other feed covered.",
        value=sum(lines.gaps for lines in worker.intake.lines.values()),
    )
    yield GaugeMetricFamily(
        "capstream_doubtful_symbols",
        "Symbols of which a print may be lost, until their next one.",
        value=sum(int(lines.doubtful.sum()) for lines in worker.intake.lines.values()),
    )


def _partitions(worker: Worker) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "capstream_lag_records", "Records that are not applied yet.", labels=["partition"]
    )
    for partition, records in worker.lag.items():
        lag.add_metric([str(partition)], records)
    yield lag
    checkpoints = worker.checkpoints
    if checkpoints is not None:
        behind = GaugeMetricFamily(
            "capstream_checkpoint_lag_records",
            "Records that would be read again after a crash.",
            labels=["partition"],
        )
        for partition, book in worker.intake.books.items():
            written = checkpoints.written.get(partition, 0)
            behind.add_metric([str(partition)], book.offset - written)
        yield behind
    yield GaugeMetricFamily(
        "capstream_ready",
        "1 where nothing speaks against relying on this worker.",
        value=0 if worker.not_ready() else 1,
    )
    yield GaugeMetricFamily(
        "capstream_standby",
        "1 where this worker has no partition, and waits to take over.",
        value=1 if worker.standby else 0,
    )
    seconds, _, _ = worker.progress.worst(now_s=time.monotonic())
    yield GaugeMetricFamily(
        "capstream_stalled_seconds",
        "How long records have waited of which none was read.",
        value=seconds,
    )
    failures = CounterMetricFamily(
        "capstream_failures", "Failed attempts, by what they are about.", labels=["about"]
    )
    for about, count in worker.troubles.failures.items():
        failures.add_metric([about], count)
    yield failures


def _publications(worker: Worker) -> Iterator[Metric]:
    publisher = worker.publisher
    if publisher is None:
        return
    published = publisher.published
    yield CounterMetricFamily(
        "capstream_publications", "Publications that Redis confirmed.", value=published.publications
    )
    yield CounterMetricFamily(
        "capstream_publications_failed", "Publications that failed.", value=published.failures
    )
    yield CounterMetricFamily(
        "capstream_snapshots", "Snapshots in the confirmed publications.", value=published.snapshots
    )
    yield GaugeMetricFamily("capstream_epoch", "Epoch of this publisher.", value=publisher.epoch)
    yield GaugeMetricFamily(
        "capstream_levels_waiting",
        "Levels that wait to be recorded in Kafka.",
        value=len(publisher.record.waiting),
    )
    yield CounterMetricFamily(
        "capstream_levels_dropped",
        "Levels that were not recorded in Kafka, because too many were waiting.",
        value=publisher.record.dropped,
    )
    aggregator = worker.aggregator
    if aggregator is not None:
        doubts = GaugeMetricFamily(
            "capstream_doubtful_indexes", "Indexes that are stale or held.", labels=["status"]
        )
        for doubt in (Doubt.STALE, Doubt.HELD):
            count = int((aggregator.doubts == doubt).sum())
            doubts.add_metric([doubt.name.lower()], count)
        yield doubts
    level = GaugeMetricFamily("capstream_level", "Last published level.", labels=["index"])
    last = GaugeMetricFamily(
        "capstream_last",
        "Last published value that screens show: the level, or its estimate outside regular hours.",
        labels=["index"],
    )
    statuses = GaugeMetricFamily(
        "capstream_indexes", "Indexes by the status of their last level.", labels=["status"]
    )
    for code, one in published.levels.items():
        level.add_metric([code], one.level / LEVEL_SCALE)
        last.add_metric([code], one.last / LEVEL_SCALE)
    standing = Counter(one.status for one in published.levels.values())
    for status in Status:
        statuses.add_metric([status], standing[status])
    yield level
    yield last
    yield statuses
    yield GaugeMetricFamily(
        "capstream_metrics_timestamp_seconds", "When these metrics were read.", value=time.time()
    )
