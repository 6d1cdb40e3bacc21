"""``capstream replay``: recorded trades into Kafka."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from stream.cli.common import load_settings, print_json
from stream.cli.simulate import add_format, add_speed, moment
from stream.feed.console import run_feed
from stream.feed.run import FeedSummary, OnProgress, replay

_EPILOG = """\
examples:
  capstream replay trades.csv.gz                      as it happened
  capstream replay trades.csv.gz --speed 60           a minute of it a second
  capstream replay trades.csv.gz --from 15:55 --to 16:05   ten minutes of it, round the close
  capstream replay trades.csv.gz --speed max --format frame --json

TIME is ISO 8601, or HH:MM[:SS] on the tape's first day; without an offset it is New York's. The end is not included.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "replay",
        help="write recorded trades to Kafka",
        description=(
            "Write the trades of a file to the ticks topic: CSV, plain or gzipped, with the columns "
            "ts,symbol,price,size,venue,cond. Lines that hold no trade are counted and left out."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the recorded trades")
    parser.add_argument(
        "--from", type=moment, metavar="TIME", dest="start", help="leave out what is older"
    )
    parser.add_argument(
        "--to", type=moment, metavar="TIME", dest="end", help="leave out what is not older"
    )
    add_speed(parser, help="times as fast as it happened, or max (default: %(default)g)")
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the feed that the arguments describe.

    Raises
    ------
    SetupError
        Settings or the file cannot be used.
    ServiceError
        Kafka cannot be reached or does not take the ticks.
    """
    settings = load_settings()
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def start(stop: asyncio.Event, on_progress: OnProgress) -> Awaitable[FeedSummary]:
        return replay(
            settings,
            args.file,
            start=args.start,
            end=args.end,
            speed=args.speed,
            format=args.format,
            frame_size=args.frame_size,
            stop=stop,
            on_progress=on_progress,
            say=console.print,
        )

    speed = "as fast as possible" if args.speed is None else f"at {args.speed:g} times its speed"
    summary = run_feed(
        start,
        console=console,
        title=f"Replaying {args.file} {speed} into {settings.ticks_topic} at {settings.kafka_url}",
    )
    if args.json:
        print_json(asdict(summary))
    return 0
