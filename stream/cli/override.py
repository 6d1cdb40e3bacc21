"""`capstream override`: an operator's decision about one instrument, through the log (`docs/control.md`)."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from decimal import Decimal, InvalidOperation

from stream.cli.common import load_settings
from stream.errors import SettingsError, WireError
from stream.files import load_composition
from stream.index.control import Override
from stream.index.units import decimal_text, price_units
from stream.pipeline.log import KafkaLog
from stream.settings import Settings
from stream.topics import CONTROL_CONFIG, ensure_topic
from stream.wire import control

EPILOG = """\
examples:
  capstream override AIG --price 48.73 --author jo --reason "feed down, price by phone from the floor"
  capstream override AIG --bound 5000 --author jo --reason "reverse split 1:20 not announced"
  capstream override AIG --exclude --author jo --reason "vendor sends another company's trades"
  capstream override AIG --include --author jo --reason "vendor has mended it"

A price holds until the next good print; a bound until the constituents change; an exclusion until --include. The worker that
publishes copies the decision into every tick partition within a second, and it is kept there with author and reason.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "override",
        help="set a price, lift a bound, exclude a stock: on the record",
        description="Decide about one instrument, with author and reason, through the log that all workers obey.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("symbol", metavar="SYMBOL")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--price", metavar="P", help="its last price, in dollars")
    action.add_argument("--bound", metavar="P", help="accept its prices up to this, in dollars")
    action.add_argument(
        "--exclude", action="store_true", help="keep its last price, whatever its feed says"
    )
    action.add_argument(
        "--include",
        action="store_true",
        help="end that, or the refusal of a symbol on two partitions",
    )
    parser.add_argument("--author", metavar="NAME", required=True, help="who decides")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why")
    parser.add_argument(
        "--constituents", metavar="FILE", help="constituents (CSV); default: the bundled ones"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the decision to the control list."""
    settings = load_settings(constituents=args.constituents)
    composition = load_composition(settings.constituents_path, None)
    if args.symbol not in composition.row_of:
        raise SettingsError(f"{args.symbol}: none of the {len(composition.row_of)} constituents")
    record = _override(args)
    try:
        # What the workers would refuse is refused here.
        control.decode(control.encode(record))
    except WireError as error:
        raise SettingsError(str(error)) from error
    number = asyncio.run(_append(settings, record))
    price = f" {decimal_text(record.price, 4)}" if record.price else ""
    sys.stdout.write(f"control record {number}: {record.action} {record.symbol}{price}\n")
    return 0


def _override(args: argparse.Namespace) -> Override:
    price = _price("--price", args.price) or _price("--bound", args.bound)
    if args.price is not None:
        return _of("price", args, price)
    if args.bound is not None:
        return _of("bound", args, price)
    return _of("exclude" if args.exclude else "include", args, 0)


def _of(action: str, args: argparse.Namespace, price: int) -> Override:
    return Override(
        symbol=args.symbol,
        action=action,  # type: ignore[arg-type]
        author=args.author,
        reason=args.reason,
        ts=time.time_ns(),
        price=price,
    )


def _price(option: str, text: str | None) -> int:
    if text is None:
        return 0
    try:
        price = price_units(Decimal(text))
    except InvalidOperation as error:
        raise SettingsError(f"{option} {text!r}: expected dollars") from error
    if price <= 0:
        raise SettingsError(f"{option} {text!r}: expected a price above 0")
    return price


async def _append(settings: Settings, record: Override) -> int:
    topic = settings.control_topic
    await ensure_topic(settings.kafka_url, topic, partitions=1, config=CONTROL_CONFIG)
    async with KafkaLog(settings) as kafka:
        return await kafka.append(topic, None, control.encode(record)) + 1
