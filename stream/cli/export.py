"""`capstream export`: a session's ticks, control records, compositions and levels in Parquet files."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from stream.archive.console import Bar, open_bar
from stream.archive.extra import require_pyarrow
from stream.archive.kafka import KafkaSource
from stream.archive.sessions import choose, find_sessions
from stream.cli.common import load_settings, print_json, run_loop
from stream.errors import FileError
from stream.pipeline.process import tune_collector

if TYPE_CHECKING:
    from stream.archive.export import Progress
    from stream.archive.folder import FolderSource
    from stream.archive.manifest import Manifest

EPILOG = """\
examples:
  capstream export exports/2026-07-17 --session 2026-07-17
  capstream export exports/2026-07-20 --after exports/2026-07-17   goes on from the books of the day before
  capstream export everything --all --decoded

An export stands alone: it holds the books at its first offsets, all records from there on, and what they were computed with.
`capstream verify --from DIR` computes its levels again, without Kafka. Needs the extra `archive`.
"""

_INCOMPLETE = (
    "the log has lost its beginning, so the books at the start may lack prices: "
    "export every session, each --after the last"
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="a session's ticks and levels in files, to be kept and verified",
        description="Write all that a session's levels are a function of to Parquet files, for those who must keep it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to; it must not be there")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--session", metavar="DATE", help="trade date, YYYY-MM-DD; default: the newest"
    )
    what.add_argument("--all", action="store_true", help="everything that the topics still hold")
    parser.add_argument(
        "--after",
        type=Path,
        metavar="DIR",
        help="an export of an earlier session: begin with its books instead of reading the log from its start",
    )
    parser.add_argument(
        "--decoded", action="store_true", help="write ticks and levels as columns, too"
    )
    parser.add_argument("--force", action="store_true", help="replace an export that is there")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write an export."""
    require_pyarrow()
    tune_collector()
    started = time.monotonic()
    with open_bar(Console(stderr=True)) as bar:
        manifest = run_loop(_export(args, bar))
    seconds = time.monotonic() - started
    rows: Counter[str] = Counter()
    for file in manifest.records:
        rows[file.log] += file.rows
    size = sum(path.stat().st_size for path in args.folder.iterdir())
    what = f"session {manifest.session}" if manifest.session else "all that is kept"
    counted = ", ".join(f"{log} {n:,}" for log, n in rows.items())
    out = sys.stdout
    out.write(f"exported  {what} to {args.folder}: {size / 1e6:,.1f} MB in {seconds:.1f} s\n")
    out.write(f"records   {counted}\n")
    if manifest.incomplete:
        out.write(f"note      {_INCOMPLETE}\n")
    out.write(f"next      capstream verify --from {args.folder}\n")
    if args.json:
        fields = msgspec.to_builtins(manifest)
        print_json({"folder": str(args.folder), "bytes": size, "seconds": seconds, **fields})
    return 0


async def _export(args: argparse.Namespace, bar: Bar) -> Manifest:
    from stream.archive.export import check_target, export  # noqa: PLC0415 (an optional extra)

    check_target(args.folder, force=args.force)
    after = _after(args.after, bar) if args.after is not None else None
    settings = load_settings()
    source = (
        KafkaSource(settings, states=after.ends, incomplete=after.incomplete)
        if after is not None
        else KafkaSource(settings)
    )
    extent = None
    if not args.all:
        extents = await find_sessions(source, lambda n, of: bar.show("looking for sessions", n, of))
        extent = choose(extents, args.session, name=source.name)

    def show(progress: Progress) -> None:
        bar.show(f"{progress.rows:,} records of ticks", progress.passed, progress.of)

    return await export(
        source,
        extent,
        args.folder,
        after=after,
        decoded=args.decoded,
        force=args.force,
        now_ns=time.time_ns(),
        on_progress=show,
    )


def _after(folder: Path, bar: Bar) -> FolderSource:
    from stream.archive.folder import FolderSource  # noqa: PLC0415 (an optional extra)

    after = FolderSource(folder)
    for line in after.altered(lambda n, of: bar.show("checking files", n, of)):
        raise FileError(line)
    return after
