"""`capstream verify`: published levels computed again from the logs, digit for digit."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from stream import __version__
from stream.archive.console import Bar, open_bar
from stream.archive.extra import require_pyarrow
from stream.archive.kafka import KafkaSource
from stream.archive.outcome import Difference, Outcome
from stream.archive.sessions import choose, find_sessions
from stream.archive.source import Source
from stream.archive.verify import Progress, verify
from stream.cli.common import load_settings, print_json, run_loop
from stream.errors import SettingsError
from stream.pipeline.process import tune_collector

EPILOG = """\
examples:
  capstream verify                              the newest session that was recorded
  capstream verify --session 2026-07-17
  capstream verify --codes US1000,US2000 --all-differences
  capstream verify --from exports/2026-07-17    from files, without Kafka

Status 0: every level is as it was published, to the last digit. Status 1: one is not, and is named; or some stand for ticks
that are not kept any more (--allow-missing lets these be). Status 2: there is nothing to verify, or something that is needed
was not kept.
"""

FAILED = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="compute published levels again from the log, and compare",
        description="Compute the published levels of a session again from the ticks, and compare them digit for digit.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--session", metavar="DATE", help="trade date, YYYY-MM-DD; default: the newest"
    )
    parser.add_argument(
        "--codes", metavar="CODE,...", default="", help="verify these indexes; default: all"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from", dest="folder", type=Path, metavar="DIR", help="verify an export, without Kafka"
    )
    source.add_argument(
        "--after",
        type=Path,
        metavar="DIR",
        help="begin with the books as an earlier session's export left them, where the log has lost its beginning",
    )
    parser.add_argument(
        "--all-differences", action="store_true", help="list all differences, not the first"
    )
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="pass although some levels stand for ticks that are not kept any more",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify, and give 1 where something is not as it was published."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    tune_collector()
    started = time.monotonic()
    with open_bar(console) as bar:
        source, altered = _source(args, bar)
        outcome = run_loop(_verify(source, args, bar)) if not altered else None
    seconds = time.monotonic() - started
    passed = outcome is not None and outcome.passed(allow_missing=args.allow_missing)
    for line in altered:
        sys.stdout.write(f"FAILED  {line}\n")
    if outcome is not None:
        _print(outcome, source, seconds=seconds, passed=passed, all_listed=args.all_differences)
    if args.json:
        report = outcome.report() if outcome is not None else {}
        print_json({"passed": passed, "altered_files": altered, **report, "seconds": seconds})
    return 0 if passed else FAILED


def _source(args: argparse.Namespace, bar: Bar) -> tuple[Source, list[str]]:
    """Give what to verify, and which of its files are not as they were written."""
    if args.folder is None and args.after is None:
        return KafkaSource(load_settings()), []
    require_pyarrow()
    from stream.archive.folder import FolderSource  # noqa: PLC0415 (an optional extra)

    folder = FolderSource(args.folder or args.after)
    altered = list(folder.altered(lambda n, of: bar.show("checking files", n, of)))
    if args.folder is not None or altered:
        return folder, altered
    return KafkaSource(load_settings(), states=folder.ends, incomplete=folder.incomplete), []


async def _verify(source: Source, args: argparse.Namespace, bar: Bar) -> Outcome:
    extents = await find_sessions(source, lambda n, of: bar.show("looking for sessions", n, of))
    extent = choose(extents, args.session, name=source.name)
    codes = [code.strip() for code in args.codes.split(",") if code.strip()]
    if args.codes and not codes:
        raise SettingsError("--codes: expected codes of indexes, separated by commas")

    def show(progress: Progress) -> None:
        words = f"{extent.session}: {progress.levels:,} of {progress.of_levels:,} levels"
        bar.show(words, progress.passed, progress.of)

    return await verify(
        source,
        extent,
        codes=codes,
        every=args.all_differences,
        on_difference=_print_difference if args.all_differences else lambda _: None,
        on_progress=show,
    )


def _print_difference(difference: Difference) -> None:
    sys.stdout.write(f"differs  {difference}\n")


def _print(
    outcome: Outcome, source: Source, *, seconds: float, passed: bool, all_listed: bool
) -> None:
    out = sys.stdout
    out.write(f"session   {outcome.session}, from {source.name}\n")
    out.write(f"levels    {outcome.records:,} looked at in {seconds:.1f} s\n")
    for n, words in (
        (outcome.verified, "the same to the last digit"),
        (outcome.held, "held, and the same as the level before"),
        (outcome.arithmetic, "held, and the same as no level kept; their fields agree"),
        (outcome.copies, "written twice"),
        (outcome.missing, "stand for ticks that are not kept (any more)"),
        (outcome.different, "different"),
    ):
        if n or words.startswith("the same"):
            out.write(f"          {n:,} {words}\n")
    for note in _notes(outcome):
        out.write(f"note      {note}\n")
    for partition in outcome.books_different:
        out.write(f"differs   the book of partition {partition} does not end as it was exported\n")
    if outcome.first is not None and not all_listed:
        out.write(f"differs   {outcome.first}\n")
    out.write("PASSED\n" if passed else "FAILED\n")


def _notes(outcome: Outcome) -> list[str]:
    notes = []
    if outcome.carried:
        notes.append(
            f"{outcome.carried} times a new publisher knew of a high or low that was not kept"
        )
    if outcome.late:
        notes.append(
            f"{outcome.late} levels of a publisher that was held up were written after its successor's first: with another "
            "open, high and low, perhaps, which are not compared"
        )
    if outcome.incomplete:
        where = ", ".join(f"{p} begins at {offset}" for p, offset in outcome.incomplete.items())
        notes.append(
            f"the log has lost its beginning (partition {where}): a level may differ for want of older prices; --after "
            "begins with the books of an export"
        )
    if outcome.not_checked:
        names = ", ".join(sorted(outcome.not_checked))
        notes.append(f"fields that this version does not compute: {names}")
    others = sorted(set(outcome.code_versions) - {__version__})
    if others:
        notes.append(f"published by version {', '.join(others)}, verified by {__version__}")
    return notes
