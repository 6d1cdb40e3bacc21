"""The baseline in bytewax, a process of its own in an environment of its own (`requirements.txt`).

    python bytewax_level.py --bootstrap HOST:PORT --topic T --ticks N --index FILE

The dataflow is the shortest that does the work: bytewax's own Kafka source, one step that takes whole batches (the fastest
kind of step that it has), one level in floating point at most every 100 ms, a sink that keeps them. It ends by itself at the
end of the topic. The last line of the output is a JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
import orjson
from bytewax.connectors.kafka import KafkaSource  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.testing import TestingSink, run_main  # type: ignore[import-not-found]

CADENCE_S = 0.1


class Level:
    """Last prices in a dictionary, a running market value."""

    def __init__(self, index: dict[str, Any]) -> None:
        self.ticks = 0
        self.first_at = self.last_at = 0.0
        self._shares: dict[str, float] = index["shares"]
        self._last: dict[str, float] = index["price"]
        self._divisor: float = index["divisor"]
        self._value: float = index["value"]
        self._due = 0.0

    def take(self, messages: list[Any]) -> Iterator[float]:
        """Take a batch; give a level where one is due."""
        if not messages:
            return
        self.first_at = self.first_at or time.perf_counter()
        loads, last, shares = orjson.loads, self._last, self._shares
        value = self._value
        for message in messages:
            tick = loads(message.value)
            symbol, price = tick["symbol"], tick["price"]
            value += (price - last[symbol]) * shares[symbol]
            last[symbol] = price
        self._value = value
        self.ticks += len(messages)
        self.last_at = time.perf_counter()
        if self.last_at >= self._due:
            self._due = self.last_at + CADENCE_S
            yield self.level()

    def level(self) -> float:
        return self._value / self._divisor


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--ticks", type=int, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=10_000)
    args = parser.parse_args()
    level = Level(json.loads(args.index.read_text()))
    published: list[float] = []
    flow = Dataflow("level")
    source = KafkaSource([args.bootstrap], [args.topic], tail=False, batch_size=args.batch)
    ticks = op.input("ticks", flow, source)
    levels = op.flat_map_batch("level", ticks, level.take)
    op.output("published", levels, TestingSink(published))
    # As the product does.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    run_main(flow)
    seconds = level.last_at - level.first_at
    figures = {
        "ticks": level.ticks,
        "seconds": seconds,
        "ticks_per_s": level.ticks / seconds,
        "published": len(published),
        "level": level.level(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
