"""The command line of the benchmarks: starts what they need, runs them in turn, prints the table."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from benchmarks import engine, ingest, latency, memory, night, scaleout, silence
from benchmarks.contenders import Servers, pinned
from benchmarks.processes import RunFailedError
from benchmarks.report import Report, describe_machine
from benchmarks.workload import Format
from stream.errors import CapstreamError
from stream.files import load_composition
from stream.services import KAFKA_VERSION, EmbeddedKafka, EmbeddedRedis

#: Columns of a table that goes to a file.
PAPER_WIDTH = 120

WORKLOADS = ("ingest", "latency", "memory", "scaleout", "silence", "night", "engine")

EPILOG = """\
examples:
  python -m benchmarks                                  all of it, an hour and a half
  python -m benchmarks --quick                          all of it, small: does it work, are the answers right?
  python -m benchmarks ingest --forms json --json figures.json

It exits with 1 where an answer is wrong, never because something is slow.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `--quick` changes the defaults only."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Workloads with permanent names, fixed seeds and asserted answers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*WORKLOADS, "all"])
    parser.add_argument("--quick", action="store_true", help="small sizes, one repetition")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="all figures as JSON; - for the output"
    )
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="Kafka; default: its own")
    parser.add_argument("--redis", metavar="URL", help="Redis; default: its own")
    parser.add_argument("--repetitions", type=int, metavar="N", help="of each contender (5)")
    forms = get_args(Format)
    parser.add_argument("--forms", nargs="+", choices=forms, default=forms, help="ingest: which")
    parser.add_argument("--json-ticks", type=int, metavar="N", help="ingest (2000000)")
    parser.add_argument("--frame64-ticks", type=int, metavar="N", help="ingest (10000000)")
    parser.add_argument("--frame1000-ticks", type=int, metavar="N", help="ingest (20000000)")
    parser.add_argument("--no-bytewax", action="store_true", help="leave this contender out")
    parser.add_argument("--rate", type=int, default=20_000, metavar="R", help="latency (20000)")
    parser.add_argument("--seconds", type=float, metavar="N", help="latency (10)")
    parser.add_argument("--backlog-ticks", type=int, metavar="N", help="memory (10000000)")
    parser.add_argument("--scaleout-ticks", type=int, metavar="N", help="scaleout (5000000)")
    parser.add_argument("--minutes", type=float, metavar="N", help="silence (60), night (10)")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="scaleout (1 2 4)"
    )
    parser.add_argument("--engine-ticks", type=int, metavar="N", help="engine (2000000)")
    args = parser.parse_args(arguments)
    args.night_minutes = args.minutes
    million = 1_000_000
    full = {
        "repetitions": (5, 1),
        "json_ticks": (2 * million, 100_000),
        "frame64_ticks": (10 * million, million),
        "frame1000_ticks": (20 * million, million),
        "seconds": (10.0, 2.0),
        "backlog_ticks": (10 * million, 100_000),
        "minutes": (60.0, 0.5),
        "night_minutes": (10.0, 0.5),
        "scaleout_ticks": (5 * million, 200_000),
        "engine_ticks": (2 * million, 200_000),
    }
    for name, (usual, quick) in full.items():
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else usual)
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where an answer is wrong."""
    args = parse(arguments)
    chosen = WORKLOADS if args.what == "all" else (args.what,)
    console = Console(highlight=False, stderr=args.json == "-")
    if not console.is_terminal:
        console = Console(highlight=False, stderr=args.json == "-", width=PAPER_WIDTH)
    report = Report(console)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="capstream-bench-")))
        machine = describe_machine(**pinned())
        try:
            servers = _servers(args, folder, stack, needs_kafka=chosen != ("engine",))
            machine["Kafka"] = "given" if args.bootstrap else KAFKA_VERSION
            asyncio.run(_run(report, servers, args, chosen))
        except (CapstreamError, RunFailedError) as error:
            report.check(False, str(error))  # noqa: FBT003
        except KeyboardInterrupt:
            report.note("interrupted")
    report.show(machine)
    if args.json:
        text = json.dumps(report.as_dict(machine), indent=2) + "\n"
        if args.json == "-":
            sys.stdout.write(text)
        else:
            Path(args.json).write_text(text)
    return 1 if report.wrong else 0


def _servers(
    args: argparse.Namespace, folder: Path, stack: contextlib.ExitStack, *, needs_kafka: bool
) -> Servers:
    kafka_url, redis_url = args.bootstrap or "", args.redis or ""
    if not redis_url:
        redis_url = stack.enter_context(EmbeddedRedis(folder / "redis")).url
    if needs_kafka and not kafka_url:
        kafka_url = stack.enter_context(EmbeddedKafka(folder / "kafka")).url
    work = folder / "work"
    work.mkdir()
    return Servers(kafka_url, redis_url, work)


async def _run(
    report: Report, servers: Servers, args: argparse.Namespace, chosen: Sequence[str]
) -> None:
    composition = load_composition()
    if "engine" in chosen:
        ticks, repetitions = args.engine_ticks, args.repetitions
        await engine.measure(report, servers, composition, ticks=ticks, repetitions=repetitions)
    if "ingest" in chosen:
        for form in args.forms:
            await ingest.measure(
                report,
                servers,
                composition,
                form=form,
                ticks=getattr(args, f"{form}_ticks"),
                repetitions=args.repetitions,
                with_bytewax=not args.no_bytewax,
            )
    if "latency" in chosen:
        latency.measure(
            report, servers, rate=args.rate, seconds=args.seconds, repetitions=args.repetitions
        )
    if "memory" in chosen:
        await memory.measure(report, servers, composition, ticks=args.backlog_ticks)
    if "scaleout" in chosen:
        ticks, workers = args.scaleout_ticks, args.workers
        await scaleout.measure(report, servers, composition, ticks=ticks, workers=workers)
    if "silence" in chosen:
        await silence.measure(report, servers, composition, minutes=args.minutes)
    if "night" in chosen:
        await night.measure(report, servers, minutes=args.night_minutes)


if __name__ == "__main__":
    sys.exit(main())
