"""`capstream bench`: this machine's figures."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from pathlib import Path

import msgspec
import orjson
from rich.console import Console

from stream.bench.engine import measure_engine
from stream.bench.ingest import measure_ingest
from stream.bench.latency import measure_latency
from stream.cli.common import add_files, load_settings, print_json, run_loop
from stream.cli.worker import configure_logging
from stream.errors import SettingsError
from stream.files import load_composition
from stream.pipeline.process import tune_collector
from stream.services import EmbeddedRedis, embedded
from stream.settings import Settings

EPILOG = """\
examples:
  capstream bench engine                                          the engine alone, no servers
  capstream bench ingest --bootstrap HOST:PORT --topic ticks --ticks 2000000 --json
  capstream bench latency --rate 20000                            produce time to Redis message, cadence 0

`ingest` reads an existing topic from its start through the whole pipeline to Redis: the one that the settings name, or an
embedded one. Its keys begin with idx:bench: so that nothing that people watch is touched.
"""


ENGINE_TICKS = 2_000_000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="this machine's figures",
        description="Measure the engine, the whole pipeline, or its latency.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["ingest", "engine", "latency"])
    parser.add_argument(
        "--bootstrap", metavar="HOST:PORT", help="ingest: Kafka; default: the one the settings name"
    )
    parser.add_argument("--topic", metavar="T", help="ingest: topic of ticks")
    parser.add_argument("--ticks", type=int, metavar="N", help="ingest, engine: how many ticks")
    parser.add_argument(
        "--cadence-ms", type=int, metavar="MS", help="ingest: least time between publications (100)"
    )
    parser.add_argument(
        "--rate", type=int, default=20_000, metavar="R", help="latency: ticks a second (20000)"
    )
    parser.add_argument(
        "--seconds", type=float, default=10, metavar="N", help="latency: for how long (10)"
    )
    parser.add_argument(
        "--idle-s",
        type=float,
        default=30,
        metavar="N",
        help="ingest: give up after so long without a tick (30)",
    )
    add_files(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, and print what came of it."""
    settings = load_settings(
        find_services=False,
        kafka_url=args.bootstrap,
        ticks_topic=args.topic,
        cadence_ms=args.cadence_ms,
        constituents=args.constituents,
        indexes=args.indexes,
    )
    configure_logging("CRITICAL")
    measure = {"ingest": _ingest, "engine": _engine, "latency": _latency}[args.what]
    figures = measure(args, settings)
    if args.json:
        print_json(orjson.dumps(figures))
        return 0
    console = Console(highlight=False)
    for name, value in figures.items():
        if not isinstance(value, dict):
            console.print(
                f"{name:<14} {value:,}" if isinstance(value, int) else f"{name:<14} {value:,.6g}"
            )
    return 0


Figures = dict[str, float | int | dict[str, orjson.Fragment]]


def _ingest(args: argparse.Namespace, settings: Settings) -> Figures:
    if not args.bootstrap or not args.topic or not args.ticks:
        raise SettingsError("bench ingest needs --bootstrap, --topic and --ticks")
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    with contextlib.ExitStack() as stack:
        if not settings.redis_url:
            redis = stack.enter_context(EmbeddedRedis(_folder(stack)))
            settings = msgspec.structs.replace(settings, redis_url=redis.url)
        tune_collector()
        measured = run_loop(
            measure_ingest(settings, composition, ticks=args.ticks, idle_s=args.idle_s)
        )
    return {
        "ticks": measured.ticks,
        "applied": measured.applied,
        "seconds": measured.seconds,
        "ticks_per_s": measured.ticks_per_s,
        "published": measured.published,
        "levels": {
            code: orjson.Fragment(str(level).encode()) for code, level in measured.levels.items()
        },
    }


def _engine(args: argparse.Namespace, settings: Settings) -> Figures:
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    ticks = args.ticks or ENGINE_TICKS
    return {
        **measure_engine(composition, settings.trading_calendar, settings.price_rules, ticks=ticks)
    }


def _latency(args: argparse.Namespace, settings: Settings) -> Figures:
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    with contextlib.ExitStack() as stack:
        if not (settings.kafka_url and settings.redis_url):
            up = stack.enter_context(embedded(_folder(stack)))
            settings = msgspec.structs.replace(
                settings, kafka_url=up.kafka_url, redis_url=up.redis_url
            )
        tune_collector()
        measured = run_loop(
            measure_latency(settings, composition, rate=args.rate, seconds=args.seconds)
        )
    return {**measured}


def _folder(stack: contextlib.ExitStack) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="capstream-bench-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder
