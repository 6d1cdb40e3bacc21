"""The command line: `python -m week`, all of the weeks or some, and what was compared (`docs/overnight.md`)."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections import Counter
from typing import get_args

from stream.feed.producer import Format
from week.days import WEEKS
from week.run import Outcome, Plan, play


def main() -> int:
    """Play, and give the exit code: 1 where something published contradicts the market."""
    args = _parser().parse_args()
    compared, happened = Counter[str](), Counter[str]()
    for number, name in enumerate(args.weeks):
        plan = Plan(
            name,
            seed=args.seed,
            rate=args.rate,
            stocks=args.stocks,
            # Both ways of writing ticks take their turns.
            form=args.form or get_args(Format)[number % 2],
            every_s=args.every,
        )
        started = time.monotonic()
        outcome = play(plan, _say)
        compared += outcome.compared
        happened += outcome.happened
        _say(f"{name}: {_told(outcome)} in {time.monotonic() - started:.0f} s")
        if outcome.contradiction is not None:
            _say(outcome.contradiction)
            _say(f"again: {_command(plan)}")
            return 1
    _say(f"happened: {_shown(happened)}")
    _say(f"compared: {_shown(compared)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m week", description=__doc__)
    parser.add_argument("--weeks", nargs="+", choices=list(WEEKS), default=list(WEEKS))
    parser.add_argument("--seed", type=int, default=1, help="of the market (1)")
    parser.add_argument("--rate", type=float, default=2.0, help="trades of shares a second (2)")
    parser.add_argument("--stocks", type=int, default=90, help="how many (90)")
    parser.add_argument("--form", choices=get_args(Format), help="how ticks are written: by turns")
    parser.add_argument(
        "--every",
        type=float,
        metavar="S",
        help="simulated seconds between publications (a minute, less where much happens)",
    )
    return parser


def _command(plan: Plan) -> str:
    every = [] if plan.every_s is None else ["--every", f"{plan.every_s:g}"]
    market = ["--seed", f"{plan.seed}", "--rate", f"{plan.rate:g}", "--stocks", f"{plan.stocks}"]
    words = ["--weeks", plan.name, *market, "--form", plan.form, *every]
    return f'make weeks ARGS="{shlex.join(words)}"'


def _told(outcome: Outcome) -> str:
    verdict = "no contradiction" if outcome.contradiction is None else "CONTRADICTION"
    return (
        f"{verdict}: {outcome.happened['ticks']} ticks, {outcome.compared['moments']} publications, "
        f"{outcome.compared['snapshots']} snapshots"
    )


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.most_common())


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
