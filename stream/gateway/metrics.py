"""Prometheus metrics of a worker, read off its own counters when they are asked for: the tick's road pays nothing."""

from __future__ import annotations

import platform
import time
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
from stream.index.units import LEVEL_SCALE
from stream.pipeline.intake import AGE_BOUNDS_S
from stream.pipeline.worker import Worker

#: Upper bounds of the publication delay, seconds.
DELAY_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

#: Unknown sale conditions come from outside: beyond the printable letters they share one label.
OTHER = "other"


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
    for letter, count in _few_letters(account.unknown_conditions).items():
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
    yield GaugeMetricFamily(
        "capstream_recompute_drift",
        "Books whose running integers differ from a fresh sum; must stay 0.",
        value=worker.drift,
    )


def _few_letters(letters: dict[str, int]) -> dict[str, int]:
    few: dict[str, int] = {}
    for letter, count in letters.items():
        name = letter if letter.isascii() and letter.isprintable() else OTHER
        few[name] = few.get(name, 0) + count
    return few


def _partitions(worker: Worker) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "capstream_lag_records", "Records that are not applied yet.", labels=["partition"]
    )
    for partition, records in worker.lag.items():
        lag.add_metric([str(partition)], records)
    yield lag
    yield GaugeMetricFamily(
        "capstream_ready",
        "1 where nothing speaks against relying on this worker.",
        value=0 if worker.not_ready() else 1,
    )


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
    level = GaugeMetricFamily("capstream_level", "Last published level.", labels=["index"])
    for code, one in published.levels.items():
        level.add_metric([code], one.level / LEVEL_SCALE)
    yield level
    yield GaugeMetricFamily(
        "capstream_metrics_timestamp_seconds", "When these metrics were read.", value=time.time()
    )
