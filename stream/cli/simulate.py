"""``capstream simulate``: a simulated market into Kafka."""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Awaitable
from dataclasses import asdict

from rich.console import Console

from stream.cli.common import load_settings, print_json
from stream.feed.console import run_feed
from stream.feed.producer import LARGEST_FRAME
from stream.feed.run import (
    DEFAULT_FRAME_SIZE,
    DEFAULT_RATE,
    FeedSummary,
    OnProgress,
    Progress,
    simulate,
)

FULL_SPEED = "max"

_EPILOG = """\
examples:
  capstream simulate                                  5,000 ticks a second, until Ctrl-C
  capstream simulate --rate 20000 --seconds 60        for a minute
  capstream simulate --rate max --ticks 1000000 --format frame --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "simulate",
        help="write a simulated market to Kafka",
        description=(
            "Write the trades of a simulated market to the ticks topic: prices that move together "
            "by market, size and sector, from a seed."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rate",
        type=positive_or_max,
        default=DEFAULT_RATE,
        metavar="R",
        help="ticks a second, or max (default: %(default)g)",
    )
    parser.add_argument("--seconds", type=positive, metavar="N", help="end after so long")
    parser.add_argument("--ticks", type=count, metavar="N", help="end after so many ticks")
    parser.add_argument(
        "--seed",
        type=natural,
        default=1,
        metavar="S",
        help="makes the ticks (default: %(default)s)",
    )
    add_format(parser)
    parser.add_argument(
        "--constituents", metavar="FILE", help="constituents (CSV); default: the bundled ones"
    )
    parser.set_defaults(run=run)


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how ticks are written, and `--json`."""
    parser.add_argument(
        "--format",
        choices=["json", "frame"],
        default="json",
        help="one JSON message a tick, or binary frames of many (default: %(default)s)",
    )
    parser.add_argument(
        "--frame-size",
        type=frame_size,
        default=DEFAULT_FRAME_SIZE,
        metavar="N",
        help="most ticks of a frame (default: %(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on the last line"
    )


def run(args: argparse.Namespace) -> int:
    """Run the feed that the arguments describe.

    Raises
    ------
    SetupError
        Settings or constituents cannot be used.
    ServiceError
        Kafka cannot be reached or does not take the ticks.
    """
    settings = load_settings(constituents=args.constituents)

    def start(stop: asyncio.Event, on_progress: OnProgress) -> Awaitable[FeedSummary]:
        return simulate(
            settings,
            rate=args.rate,
            seconds=args.seconds,
            n_ticks=args.ticks,
            seed=args.seed,
            format=args.format,
            frame_size=args.frame_size,
            stop=stop,
            on_progress=on_progress,
        )

    def done(progress: Progress) -> float:
        by_time = progress.seconds / args.seconds if args.seconds else 0.0
        by_ticks = progress.ticks / args.ticks if args.ticks else 0.0
        return max(by_time, by_ticks)

    speed = (
        "as many ticks as possible" if args.rate is None else f"{args.rate:,.10g} ticks a second"
    )
    summary = run_feed(
        start,
        console=Console(stderr=True, highlight=False, markup=False, soft_wrap=True),
        title=f"Simulating {speed} into {settings.ticks_topic} at {settings.kafka_url}",
        done=done if args.seconds or args.ticks else None,
    )
    if args.json:
        print_json(asdict(summary))
    return 0


def positive(text: str) -> float:
    """Read an argument that must be more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def positive_or_max(text: str) -> float | None:
    """Read a speed: more than 0, or `max`, which is given as None."""
    return None if text == FULL_SPEED else positive(text)


def natural(text: str) -> int:
    """Read a whole number from 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def count(text: str) -> int:
    """Read a whole number from 1."""
    value = natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return value


def frame_size(text: str) -> int:
    """Read the number of ticks of a frame."""
    value = count(text)
    if value > LARGEST_FRAME:
        raise argparse.ArgumentTypeError(f"expected at most {LARGEST_FRAME}, found {text!r}")
    return value
