"""Metrics by themselves: the histogram of ages, and names that a worker without news exposes."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream.gateway.metrics import WorkerMetrics
from stream.pipeline.intake import AGE_BOUNDS_S, AgeHistogram

S = 1_000_000_000


def test_an_age_counts_in_the_first_bucket_that_holds_it() -> None:
    """A bound belongs to its bucket, as Prometheus has it (`le`); beyond the last there is one more."""
    for position, bound in enumerate(AGE_BOUNDS_S):
        ages = AgeHistogram()
        ages.observe(np.array([round(bound * S)], np.int64))
        ages.observe(np.array([round(bound * S) + 1], np.int64))
        expected = np.zeros(len(AGE_BOUNDS_S) + 1, np.int64)
        expected[[position, position + 1]] += 1
        assert ages.counts.tolist() == expected.tolist()


@pytest.mark.parametrize("age_ns", [0, -1, -5 * S])
def test_an_age_below_zero_counts_as_none(age_ns: int) -> None:
    """Clocks differ: a tick from the near future is young."""
    ages = AgeHistogram()
    ages.observe(np.array([age_ns], np.int64))

    assert ages.counts[0] == ages.counts.sum() == 1


def test_ages_add_up() -> None:
    """Count and sum are those of all observations."""
    ages = AgeHistogram()
    ages.observe(np.array([S, 2 * S, 100 * S], np.int64))
    ages.observe(np.array([], np.int64))
    ages.observe(np.array([S // 2], np.int64))

    assert ages.counts.sum() == 4
    assert ages.counts[-1] == 1
    assert ages.sum_s == pytest.approx(103.5)


def test_metrics_without_a_worker_can_be_read() -> None:
    """The port answers before the worker does."""
    metrics = WorkerMetrics()
    metrics.publication_delay.observe(0.003)

    text = generate_latest(metrics.registry).decode()

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) >= {"capstream_publication_delay_seconds", "capstream_build_info"}
    samples = {
        sample.labels["le"]: sample.value
        for sample in families["capstream_publication_delay_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert (samples["0.002"], samples["0.005"], samples["+Inf"]) == (0, 1, 1)
