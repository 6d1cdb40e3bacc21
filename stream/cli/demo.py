"""`capstream demo`: everything on this machine, from nothing: a simulated market, real Kafka, real Redis, live levels."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from stream.cli.common import load_settings, run_loop
from stream.cli.simulate import add_speed, add_start
from stream.cli.ticker import LARGE, SMALL, grouped, percent, signed, spread_bp
from stream.cli.watch import Follower, show
from stream.cli.worker import configure_logging
from stream.errors import ServiceError
from stream.feed.run import FeedSummary, simulate
from stream.files import load_composition
from stream.gateway.health import HealthServer, is_taken
from stream.gateway.metrics import WorkerMetrics
from stream.index.composition import Composition
from stream.index.units import round_display
from stream.pipeline.process import tune_collector
from stream.pipeline.worker import Worker
from stream.services import Addresses, embedded
from stream.settings import Settings

EPILOG = """\
examples:
  capstream demo                  until Ctrl-C
  capstream demo --seconds 20     ends by itself, with a summary
  capstream demo --phase opening  from half a minute before the opening auction
  capstream demo --phase overnight --speed 60
  capstream demo --from 15:59     the last close

TIME is ISO 8601, or HH:MM[:SS]; without an offset it is New York's. By default the demo shows the phase of this moment.
Where CAPSTREAM_KAFKA_URL and CAPSTREAM_REDIS_URL name services of your own, none are started.
"""

READY_WITHIN_S = 60.0
LAST_LEVELS_WITHIN_S = 10.0
POLL_S = 0.05


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="a simulated market on real Kafka and Redis, live in this terminal",
        description="Start Kafka, Redis, a simulated market and a worker, and show the levels live.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="end after this long; default: until Ctrl-C"
    )
    parser.add_argument(
        "--rate",
        type=int,
        default=5_000,
        metavar="R",
        help="trades of shares a second in regular hours (default 5000)",
    )
    add_start(parser)
    add_speed(parser, help="simulated seconds a second, or max (default: %(default)g)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="of the simulated market (default 1)"
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="P",
        help="port of the metrics; default: 9108, or a free one where that is taken",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo until it is ended."""
    settings = load_settings(find_services=False, metrics_port=args.metrics_port)
    configure_logging("CRITICAL")
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        addresses = _addresses(stack, console, settings)
        settings = msgspec.structs.replace(
            settings, kafka_url=addresses.kafka_url, redis_url=addresses.redis_url
        )
        tune_collector()
        return run_loop(_demo(settings, composition, args, console))


def _addresses(stack: contextlib.ExitStack, console: Console, settings: Settings) -> Addresses:
    """Use the user's own services where both are named, else start some in a folder that goes with them."""
    if settings.kafka_url and settings.redis_url:
        return Addresses(settings.kafka_url, settings.redis_url)
    folder = Path(tempfile.mkdtemp(prefix="capstream-demo-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return stack.enter_context(embedded(folder, say=console.print))


async def _demo(
    settings: Settings, composition: Composition, args: argparse.Namespace, console: Console
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    metrics = WorkerMetrics()
    worker = Worker(settings, composition, observe_delay=metrics.publication_delay.observe)
    metrics.watch(worker)
    follower = Follower(settings)
    end_worker = asyncio.Event()
    host, port = settings.metrics_host, settings.metrics_port
    if args.metrics_port is None and is_taken(host, port):
        port = 0
    async with HealthServer(worker, metrics.registry, host=host, port=port) as server:
        working = asyncio.create_task(worker.run(end_worker))
        following = asyncio.create_task(follower.run())
        try:
            await _until(lambda: not worker.not_ready(), working, within_s=READY_WITHIN_S)
            places = _places(settings, server.url)
            for line in places:
                console.print(line, highlight=False, soft_wrap=True)
            feed = await _run_market(settings, args, worker, follower, working, stop, places)
            await _until(lambda: _done(worker, feed), working, within_s=LAST_LEVELS_WITHIN_S)
        finally:
            following.cancel()
            end_worker.set()
            await working
    _summary(worker, follower, feed)
    return 0


async def _run_market(
    settings: Settings,
    args: argparse.Namespace,
    worker: Worker,
    follower: Follower,
    working: asyncio.Task[None],
    stop: asyncio.Event,
    places: list[str],
) -> FeedSummary:
    market = asyncio.create_task(
        simulate(
            settings,
            rate=args.rate,
            seconds=args.seconds,
            seed=args.seed,
            phase=args.phase,
            start=args.start,
            speed=args.speed,
            stop=stop,
            say=places.append,
        )
    )
    over = asyncio.Event()
    for task in (market, working):
        task.add_done_callback(lambda _: over.set())
    await show(follower, over, ticks_per_s=_rate(worker), foot=places)
    stop.set()
    if working.done():
        market.cancel()
        await working
    return await market


def _places(settings: Settings, metrics_url: str) -> list[str]:
    """Where another terminal finds it all."""
    redis = urlsplit(settings.redis_url)
    return [
        f"levels   redis-cli -h {redis.hostname} -p {redis.port} PSUBSCRIBE '{settings.redis_names.every_level}'",
        f"metrics  curl {metrics_url}/metrics",
    ]


def _rate(worker: Worker) -> Callable[[], float]:
    """Give a function that tells the ticks per second since it was last asked, or longer where asked often."""
    moments: deque[tuple[float, int]] = deque(maxlen=8)

    def ticks_per_s() -> float:
        moments.append((time.monotonic(), worker.intake.account.ticks))
        (first, before), (last, now) = moments[0], moments[-1]
        return (now - before) / (last - first) if last > first else 0.0

    return ticks_per_s


def _done(worker: Worker, feed: FeedSummary) -> bool:
    return worker.intake.account.ticks >= feed.ticks and worker.idle


async def _until(
    condition: Callable[[], bool], working: asyncio.Task[None], *, within_s: float
) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        await asyncio.wait([working], timeout=POLL_S)
        if working.done():
            await working
            raise ServiceError("the worker ended by itself")
        if time.monotonic() > deadline:
            raise ServiceError(f"not ready after {within_s:g} s")


def _summary(worker: Worker, follower: Follower, feed: FeedSummary) -> None:
    account = worker.intake.account
    refused = ", ".join(f"{n:,} {reason}" for reason, n in account.refused.most_common()) or "none"
    out = Console(highlight=False)
    out.print(
        f"ticks          {account.ticks:,} in, {account.applied:,} applied; refused: {refused}"
    )
    out.print(
        f"publications   {follower.publications:,} seen in Redis, of {len(follower.snapshots)} indexes"
    )
    out.print(f"simulated      {feed.ticks:,} ticks, {feed.ticks_per_s:,.0f} a second")
    for code, name in ((LARGE, "large cap"), (SMALL, "small cap")):
        one = follower.snapshots.get(code)
        if one is not None:
            level, change = grouped(round_display(one["last"])), percent(one["change_pct"])
            out.print(f"{name:<14} {code} {level}  {change}  (simulated)")
    spread = spread_bp(follower.snapshots)
    if spread is not None:
        out.print(f"spread         {signed(Decimal(spread), 0)} bp, small minus large")
