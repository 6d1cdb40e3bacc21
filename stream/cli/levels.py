"""`capstream levels`: trades in, levels out, with no server at all."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import orjson
from rich.console import Console

from stream.cli.common import add_files, load_settings, print_json
from stream.cli.ticker import read_fields, table
from stream.errors import SettingsError
from stream.feed.sessions import by_session
from stream.feed.tape import read_tape
from stream.feed.trades import tape_ticks
from stream.files import load_composition
from stream.index.book import Book
from stream.index.control import Roll
from stream.index.partial import Origin
from stream.index.snapshot import Snapshot, moment_of, snapshots
from stream.index.ticks import Verdict
from stream.index.units import NS_PER_S
from stream.session.calendar import Calendar, Session
from stream.wire.snapshots import snapshot_fields
from stream.wire.symbols import SymbolTable

EPILOG = """\
examples:
  capstream levels                                        levels at the prices of the bundled constituents
  capstream levels trades.csv.gz --constituents three.csv
  capstream levels trades.csv.gz --constituents three.csv --at 15:59 --json

TIME is ISO 8601 with offset, or HH:MM[:SS] in New York on the tape's day; trades up to and including it count.
"""

MALFORMED = "malformed"


@dataclass(slots=True)
class Account:
    """What became of the trades, up to a moment: applied + refused = ticks."""

    ticks: int
    applied: int
    refused: Counter[str]
    limit_ns: int | None


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "levels",
        help="levels of trades in files, with no server",
        description="Run the engine on files: recorded trades in, index levels out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="*", type=Path, help="trades (CSV, gz allowed), in order"
    )
    add_files(parser)
    parser.add_argument(
        "--at", metavar="TIME", help="stop at this moment; default: the end of the files"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the levels."""
    settings = load_settings(constituents=args.constituents, indexes=args.indexes)
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    calendar = settings.trading_calendar
    book = Book(composition, calendar=calendar, rules=settings.price_rules, partition=0)
    book.origin = Origin.REPLAY if args.files else Origin.LIVE
    account = _apply(book, args.files, args.at, calendar)
    if composition.left_out:
        left_out = ", ".join(composition.left_out)
        sys.stderr.write(f"left out, since they select no constituent: {left_out}\n")
    total = book.partial()
    if account.limit_ns is not None:
        total = replace(total, clock_ns=account.limit_ns)
    newest = snapshots(
        composition,
        list(range(len(composition.indexes))),
        total,
        moment=moment_of(calendar, total, time.time_ns()),
        soq=bool(args.files),
    )
    if args.json:
        print_json(_report(newest, account))
    else:
        _print_table(newest, account)
    return 0


def _apply(book: Book, files: Iterable[Path], at: str | None, calendar: Calendar) -> Account:
    symbols = SymbolTable(book.composition.symbols)
    counts = np.zeros(len(Verdict), np.int64)
    n_bad = 0
    limit: int | None = None
    session: Session | None = None
    for path in files:
        tape = read_tape(path)
        for trades in tape:
            if at is not None and limit is None:
                limit = parse_time(at, tape_ts=int(trades.ts[0]), zone=calendar.zone)
            for part, reached in by_session(trades, session, calendar):
                if limit is not None and reached.starts_ns > limit:
                    continue
                if reached != session:
                    session = reached
                    book.obey(Roll(*session))
                ticks = tape_ticks(part, symbols)
                if limit is not None:
                    ticks = ticks.take(ticks.ts <= limit)
                counts += np.bincount(book.apply(ticks), minlength=len(Verdict))
        n_bad += tape.n_bad
        for message in tape.errors:
            sys.stderr.write(f"{message}\n")
    refused = Counter(
        {verdict.reason: int(counts[verdict]) for verdict in Verdict if verdict and counts[verdict]}
    )
    if n_bad:
        refused[MALFORMED] = n_bad
    return Account(int(counts.sum()) + n_bad, int(counts[Verdict.APPLIED]), refused, limit)


def parse_time(text: str, *, tape_ts: int, zone: ZoneInfo) -> int:
    """Read a moment given on the command line.

    Parameters
    ----------
    text
        ISO 8601 with offset, or HH:MM[:SS] in the zone on the tape's day.
    tape_ts
        A moment of that day, ns since 1970 UTC.
    zone
        Where the day is counted.

    Returns
    -------
    int
        ns since 1970 UTC.

    Raises
    ------
    SettingsError
        Where the text is neither.

    Examples
    --------
    >>> parse_time("15:59", tape_ts=1381132800614000000, zone=ZoneInfo("America/New_York"))
    1381175940000000000
    """
    day = datetime.fromtimestamp(tape_ts // NS_PER_S, zone).date()
    try:
        if "T" in text or " " in text:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise ValueError
        else:
            moment = datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=zone)
    except ValueError as error:
        raise SettingsError(
            f"time {text!r}: expected ISO 8601 with offset, or HH:MM[:SS] in {zone.key}"
        ) from error
    return int(moment.timestamp()) * NS_PER_S + moment.microsecond * 1000


def _report(newest: Iterable[Snapshot], account: Account) -> bytes:
    return orjson.dumps(
        {
            "levels": {one.code: snapshot_fields(one) for one in newest},
            "ticks": account.ticks,
            "applied": account.applied,
            "refused": dict(account.refused),
        }
    )


def _print_table(newest: Iterable[Snapshot], account: Account) -> None:
    console = Console()
    console.print(table([read_fields(orjson.dumps(snapshot_fields(one))) for one in newest]))
    if account.ticks:
        reasons = ", ".join(
            f"{count:,} {reason}" for reason, count in account.refused.most_common()
        )
        console.print(
            f"{account.ticks:,} trades: {account.applied:,} applied; refused: {reasons or 'none'}"
        )
