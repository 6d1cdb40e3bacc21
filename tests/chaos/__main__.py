"""The command line of the fault tests."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec
from rich.console import Console

from chaos.feed import Form
from chaos.report import as_dict, show
from chaos.run import Outcome, Plan, run
from chaos.schedule import KINDS, Fault, Kind, make_schedule, read_schedule, write_schedule
from stream.errors import CapstreamError

MINUTES = 3.0
SEEDS = 1_000_000
#: Columns of a table that goes to a file.
PAPER_WIDTH = 140

EPILOG = f"""\
faults: {", ".join(KINDS)}

examples:
  make chaos                                             three minutes of everything, with a seed of its own
  make chaos ARGS="--seed 7"                             the same again: what is broken, and when, follows from the options
  make chaos ARGS="--faults kill --kills 100 --ticks 5000000 --json kills.json"
  make chaos ARGS="--faults kill,pause,broker --minutes 10 --workers 2"
  make chaos ARGS="--seed 7 --show" > schedule.jsonl     what would be done; edit it, and then
  make chaos ARGS="--seed 7 --schedule schedule.jsonl"   do that

It exits with 1 where a law is broken, and then prints the command that does the same again.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Break what a fleet of workers stands on, and check every level that it publishes meanwhile.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, metavar="S", help="default: a new one, printed first")
    parser.add_argument("--ticks", type=int, default=500_000, metavar="N", help="500000")
    parser.add_argument("--workers", type=int, default=3, metavar="N", help="3")
    parser.add_argument("--partitions", type=int, default=6, metavar="N", help="6")
    parser.add_argument(
        "--faults", type=_faults, default=KINDS, metavar="A,B", help="default: all of them"
    )
    parser.add_argument("--kills", type=int, metavar="N", help="end after so many kills")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="end after so long (3, without --kills)"
    )
    parser.add_argument(
        "--schedule", type=Path, metavar="FILE", help="faults as JSON lines, instead of the seed's"
    )
    parser.add_argument("--show", action="store_true", help="print the schedule, and do nothing")
    parser.add_argument("--form", choices=get_args(Form), default="mixed", help="of the messages")
    parser.add_argument(
        "--backlog",
        type=float,
        default=0.5,
        metavar="X",
        help="share of the ticks that is there before the first worker (0.5)",
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="everything as JSON; - for the output"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="publish nothing of a backlog, as in production; then no level may go back in time",
    )
    parser.add_argument(
        "--untimed", action="store_true", help="on a slow machine: measure, but accept any time"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of logs and data")
    args = parser.parse_args(arguments)
    if args.seed is None:
        args.seed = secrets.randbelow(SEEDS)
    if args.kills is None and args.minutes is None:
        args.minutes = MINUTES
    if args.kills is not None and "kill" not in args.faults:
        parser.error("--kills: there is no kill among the faults")
    if not 0 <= args.backlog <= 1:
        parser.error("--backlog: expected 0 to 1")
    return args


def _faults(text: str) -> tuple[Kind, ...]:
    chosen = text.split(",")
    unknown = [kind for kind in chosen if kind not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: expected some of {', '.join(KINDS)}"
        )
    return tuple(kind for kind in KINDS if kind in chosen)


def plan_of(args: argparse.Namespace) -> Plan:
    """Make the plan of a command line."""
    return Plan(
        seed=args.seed,
        ticks=args.ticks,
        n_partitions=args.partitions,
        workers=args.workers,
        backlog=args.backlog,
        form=args.form,
        clock="clock" in args.faults,
        schedule=_schedule(args),
        live=args.live,
        timed=not args.untimed,
    )


def _schedule(args: argparse.Namespace) -> tuple[Fault, ...]:
    if args.schedule is not None:
        return read_schedule(args.schedule.read_text("utf-8"))
    return make_schedule(
        seed=args.seed,
        kinds=args.faults,
        workers=args.workers,
        kills=args.kills,
        seconds=None if args.minutes is None else args.minutes * 60,
    )


def replay(args: argparse.Namespace) -> str:
    """Write the command that does the same again."""
    options = [f"--seed {args.seed}", f"--ticks {args.ticks}", f"--workers {args.workers}"]
    options += [f"--partitions {args.partitions}", f"--faults {','.join(args.faults)}"]
    options += [f"--form {args.form}", f"--backlog {args.backlog:g}"]
    for name in ("kills", "minutes", "schedule"):
        if getattr(args, name) is not None:
            options.append(f"--{name} {getattr(args, name)}")
    options += [f"--{name}" for name in ("live", "untimed") if getattr(args, name)]
    return f'make chaos ARGS="{" ".join(options)}"'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 1 where a law is broken."""
    args = parse(arguments)
    try:
        plan = plan_of(args)
    except (OSError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"{args.schedule}: {error}\n")
        return 2
    if args.show:
        sys.stdout.write(write_schedule(plan.schedule))
        return 0
    console = Console(highlight=False, stderr=args.json == "-", soft_wrap=True)
    if not console.is_terminal:
        console = Console(highlight=False, stderr=args.json == "-", width=PAPER_WIDTH)
    console.print(f"seed {args.seed}; {len(plan.schedule)} faults; again: {replay(args)}")
    folder = Path(tempfile.mkdtemp(prefix="capstream-chaos-"))
    # What libraries complain of while all is broken fills no terminal.
    logging.basicConfig(filename=folder / "harness.log", level=logging.WARNING)
    outcome: Outcome | None = None
    try:
        outcome = asyncio.run(
            run(plan, folder=folder, say=lambda text: console.print(text, markup=False))
        )
    except CapstreamError as error:
        console.print(str(error), style="red", markup=False)
    finally:
        right = outcome is not None and not outcome.wrong
        _tidy(folder, console, keep=args.keep, right=right)
    if outcome is not None:
        show(outcome, console)
        _write_json(args.json, plan, outcome)
    if not right:
        console.print(f"seed {args.seed} failed; again: {replay(args)}", style="red", markup=False)
    return 0 if right else 1


def _write_json(where: str | None, plan: Plan, outcome: Outcome) -> None:
    text = json.dumps(as_dict(plan, outcome)) + "\n"
    if where == "-":
        sys.stdout.write(text)
    elif where is not None:
        Path(where).write_text(text)


def _tidy(folder: Path, console: Console, *, keep: bool, right: bool) -> None:
    if right and not keep:
        shutil.rmtree(folder)
        return
    if not keep:
        # What remains of a run that went wrong are its logs.
        shutil.rmtree(folder / "kafka" / "data", ignore_errors=True)
    console.print(f"logs: {folder}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
