"""`capstream check`: settings, files and connections: what is wrong, and how to mend it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable

from stream.cli.common import load_settings
from stream.errors import CapstreamError
from stream.files import load_composition
from stream.publish.redis import RedisSink
from stream.settings import Settings, mask_password
from stream.topics import count_partitions

FAILED = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="what is wrong with the set-up, and how to mend it",
        description="Check the settings, the files and the connections; changes nothing.",
        epilog="examples:\n  capstream check\n  CAPSTREAM_CONSTITUENTS=mine.csv capstream check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Check everything, and give 1 where something is wrong."""
    settings = load_settings()
    checks: dict[str, Callable[[Settings], str]] = {
        "files": _files,
        "hours": _hours,
        "kafka": _kafka,
        "redis": _redis,
    }
    failed = False
    for name, check in checks.items():
        try:
            sys.stdout.write(f"ok      {name:<6} {check(settings)}\n")
        except CapstreamError as error:
            failed = True
            sys.stdout.write(f"failed  {name:<6} {error}\n")
    return FAILED if failed else 0


def _files(settings: Settings) -> str:
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    left_out = f"; left out: {', '.join(composition.left_out)}" if composition.left_out else ""
    return (
        f"{len(composition.indexes)} indexes of {len(composition.universe)} constituents, "
        f"composition {composition.id}{left_out}"
    )


def _hours(settings: Settings) -> str:
    calendar, now_ns = settings.trading_calendar, time.time_ns()
    here = calendar.stretch(now_ns)
    phase, cash_phase = (one.name.lower().replace("_", "-") for one in here[:2])
    source = settings.calendar or "bundled calendar"
    return f"{source}: session {calendar.session_at(now_ns).name}, {phase} (cash: {cash_phase})"


def _kafka(settings: Settings) -> str:
    partitions = asyncio.run(count_partitions(settings.kafka_url, settings.ticks_topic))
    state = f"{partitions} partitions" if partitions else "not there yet; a worker creates it"
    return f"{settings.kafka_url}, topic {settings.ticks_topic}: {state}"


def _redis(settings: Settings) -> str:
    return (
        f"{mask_password(settings.redis_url)}, newest epoch {asyncio.run(_newest_epoch(settings))}"
    )


async def _newest_epoch(settings: Settings) -> int:
    sink = RedisSink(
        settings.redis_url, names=settings.redis_names, stream_length=settings.stream_length
    )
    try:
        return await sink.newest_epoch()
    finally:
        await sink.close()
