"""``capstream simulate``: a simulated market into Kafka."""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Awaitable
from dataclasses import asdict
from datetime import datetime, time

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
from stream.feed.start import START_PHASES, Moment

FULL_SPEED = "max"

_LONGEST_TIME_OF_DAY = len("HH:MM:SS")

_EPILOG = """\
examples:
  capstream simulate                                  the market as it is at this moment, until Ctrl-C
  capstream simulate --rate 20000 --seconds 60        for a minute
  capstream simulate --phase opening                  from half a minute before the opening auction
  capstream simulate --from 15:59 --to 16:05          the last close
  capstream simulate --phase overnight --speed 60     a minute of the night a second
  capstream simulate --from 2026-11-22T18:00 --to 2026-11-27T20:00 --rate 5 --speed max
  capstream simulate --rate max --ticks 1000000 --format frame --json

TIME is ISO 8601, or HH:MM[:SS]; without an offset it is New York's. The end is not included.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "simulate",
        help="write a simulated market to Kafka",
        description=(
            "Write the trades of a simulated market to the ticks topic: prices that move together "
            "by market, size and sector, from a seed, through all phases of the week: auctions, "
            "extended hours, futures around the clock, and an incident now and then."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rate",
        type=positive_or_max,
        default=DEFAULT_RATE,
        metavar="R",
        help="trades of shares a second in regular hours, or max; other phases have their part of it "
        "(default: %(default)g)",
    )
    add_start(parser)
    parser.add_argument(
        "--to", type=moment, metavar="TIME", dest="end", help="end of simulated time"
    )
    add_speed(parser, help="simulated seconds a second, or max (default: %(default)g)")
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


def add_start(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where simulated time begins."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--phase",
        choices=START_PHASES,
        help="begin in the newest one of the past; default: in that of this moment",
    )
    start.add_argument(
        "--from", type=moment, metavar="TIME", dest="start", help="begin at this time"
    )


def add_speed(parser: argparse.ArgumentParser, *, help: str) -> None:  # noqa: A002
    """Add the option that says how fast time passes."""
    parser.add_argument("--speed", type=positive_or_max, default=1.0, metavar="X", help=help)


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
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def start(stop: asyncio.Event, on_progress: OnProgress) -> Awaitable[FeedSummary]:
        return simulate(
            settings,
            rate=args.rate,
            seconds=args.seconds,
            n_ticks=args.ticks,
            seed=args.seed,
            phase=args.phase,
            start=args.start,
            end=args.end,
            speed=args.speed,
            format=args.format,
            frame_size=args.frame_size,
            stop=stop,
            on_progress=on_progress,
            say=console.print,
        )

    def done(progress: Progress) -> float:
        by_time = progress.seconds / args.seconds if args.seconds else 0.0
        by_ticks = progress.ticks / args.ticks if args.ticks else 0.0
        return max(by_time, by_ticks)

    rate = "as many ticks as possible" if args.rate is None else f"{args.rate:,.10g} ticks a second"
    summary = run_feed(
        start,
        console=console,
        title=f"Simulating {rate} into {settings.ticks_topic} at {settings.kafka_url}",
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


def moment(text: str) -> Moment:
    """Read a time: ISO 8601, or HH:MM[:SS].

    Examples
    --------
    >>> moment("15:59"), moment("2026-11-22T18:00-05:00").isoformat()
    (datetime.time(15, 59), '2026-11-22T18:00:00-05:00')
    """
    try:
        if len(text) <= _LONGEST_TIME_OF_DAY:
            of_day = time.fromisoformat(text)
            if ":" in text:
                return of_day
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected ISO 8601 or HH:MM[:SS], found {text!r}"
        ) from error


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
