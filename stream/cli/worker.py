"""`capstream worker`: the calculator, from Kafka to Redis."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import signal
import sys

from stream.cli.common import add_files, load_settings, run_loop
from stream.files import load_composition
from stream.gateway.health import HealthServer
from stream.gateway.metrics import WorkerMetrics
from stream.index.composition import Composition
from stream.pipeline.process import tune_collector
from stream.pipeline.worker import Worker
from stream.settings import Settings

EPILOG = """\
examples:
  capstream worker                          one worker, against the services that are up
  capstream worker --id a --metrics-port 0  a static member: restarted, it gets its partitions back at once
  CAPSTREAM_PARTIALS=topic capstream worker one of many: start as many as you like

Prints where its metrics are; /livez and /readyz stand beside them. Ctrl-C ends it cleanly.
"""

LIBRARIES = ("faust", "aiokafka", "mode")
SAY_AGAIN_S = 10.0
LONGEST_TEMPLATE = 80
MOST_TEMPLATES = 1_000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "worker",
        help="calculate levels: Kafka to Redis",
        description="Read ticks from Kafka, keep exact index levels, publish them to Redis.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--id", metavar="NAME", help="name of a static member of the group")
    parser.add_argument(
        "--metrics-port", type=int, metavar="P", help="port of the metrics; 0 takes a free one"
    )
    parser.add_argument(
        "--cadence-ms", type=int, metavar="MS", help="least time between two publications"
    )
    add_files(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a worker until it is told to stop."""
    settings = load_settings(
        metrics_port=args.metrics_port,
        cadence_ms=args.cadence_ms,
        constituents=args.constituents,
        indexes=args.indexes,
    )
    configure_logging(settings.log_level)
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    for code in composition.left_out:
        sys.stderr.write(f"left out: {code} selects none of the constituents\n")
    tune_collector()
    run_loop(_serve(settings, composition, args.id))
    return 0


def configure_logging(level: str) -> None:
    """Write events to standard error; those of libraries only from warnings on."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(Seldom())
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # Faust's services log under the module of their class: these are ours by name, but its by voice.
    for module in ("stream.pipeline.app", "stream.pipeline.transport"):
        logging.getLogger(module).setLevel(logging.WARNING)


class Seldom(logging.Filter):
    """Lets a library say the same once in a while: while a broker is away, aiokafka says so hundreds of times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be written."""
        if record.name.partition(".")[0] not in LIBRARIES:
            return True
        # Its template and not its text, so that there are not more of them than lines in the libraries.
        about = f"{record.name} {record.msg}"[:LONGEST_TEMPLATE]
        if record.created - self._said.get(about, -math.inf) < SAY_AGAIN_S:
            return False
        if len(self._said) >= MOST_TEMPLATES:
            self._said.clear()
        self._said[about] = record.created
        return True


async def _serve(settings: Settings, composition: Composition, worker_id: str | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    metrics = WorkerMetrics()
    worker = Worker(
        settings, composition, worker_id=worker_id, observe_delay=metrics.publication_delay.observe
    )
    metrics.watch(worker)
    host, port = settings.metrics_host, settings.metrics_port
    async with HealthServer(worker, metrics.registry, host=host, port=port) as server:
        sys.stderr.write(
            f"{len(composition.indexes)} indexes of {len(composition.universe)} stocks\n"
        )
        sys.stderr.write(f"metrics: {server.url}/metrics\n")
        await worker.run(stop)
