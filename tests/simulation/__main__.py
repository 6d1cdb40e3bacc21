"""The command line: `python -m simulation --histories 100000`, and how a seed is seen again (`docs/simulation.md`)."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

from simulation.fakes import installed
from simulation.history import Outcome, play, report, shrink
from simulation.mutants import MUTANTS

#: Histories that a process plays before it says so.
PORTION = 50
SAY_EVERY_S = 10.0


def main() -> int:
    """Run, and give the exit code: 1 where a law was broken."""
    args = _parser().parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    with contextlib.ExitStack() as stack:
        stack.enter_context(installed())
        if args.mutant:
            (mutant,) = (each for each in MUTANTS if each.name == args.mutant)
            stack.enter_context(mutant.alive())
        if args.replay is not None:
            return _replay(args.replay, args.keep, shrinks=args.shrink, all_of_it=args.verbose)
        return _play(range(args.seed, args.seed + args.histories), jobs=args.jobs, most=args.most)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=1_000, help="how many (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first one (1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--most", type=int, default=3, help="stop after so many broken ones (3)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="tell one history")
    parser.add_argument("--keep", default="", metavar="I,J,...", help="only these steps of it")
    parser.add_argument("--shrink", action="store_true", help="leave out what it does not take")
    parser.add_argument("--verbose", action="store_true", help="tell of routine, too")
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("--mutant", choices=names, metavar="NAME", help=f"break a law: {names}")
    return parser


def _replay(seed: int, keep: str, *, shrinks: bool, all_of_it: bool) -> int:
    kept = [int(each) for each in keep.split(",")] if keep else None
    outcome = play(seed, kept=kept)
    if outcome.broken is not None and shrinks:
        outcome = shrink(outcome)
    print(report(outcome, all_of_it=all_of_it))  # noqa: T201 - what was asked for
    return int(outcome.broken is not None)


def _play(seeds: range, *, jobs: int, most: int) -> int:
    started, said = time.monotonic(), time.monotonic()
    happened, checked = Counter[str](), Counter[str]()
    broken: list[int] = []
    done = 0
    for outcomes in _portions(seeds, jobs):
        for outcome in outcomes:
            done += 1
            happened += outcome.happened
            checked += outcome.checked
            if outcome.broken is not None:
                broken.append(outcome.seed)
                _say(f"seed {outcome.seed}: {outcome.broken}")
        if len(broken) >= most:
            break
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            _say(_so_far(done, said - started))
    for seed in sorted(broken)[:1]:
        _say(report(shrink(play(seed))))
    _say(f"happened: {_shown(happened)}")
    _say(f"compared: {_shown(checked)}")
    verdict = f"broken: seeds {sorted(broken)}" if broken else "every law held"
    _say(f"{_so_far(done, time.monotonic() - started)}; {verdict}")
    return int(bool(broken))


def _so_far(done: int, seconds: float) -> str:
    return f"{done} histories in {seconds:.0f} s, {60 * done / max(seconds, 0.001):.0f} a minute"


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.most_common())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _portions(seeds: range, jobs: int) -> Iterator[Sequence[Outcome]]:
    portions = [seeds[i : i + PORTION] for i in range(0, len(seeds), PORTION)]
    if jobs == 1:
        yield from map(_portion, portions)
        return
    # Forked, so that what was replaced in this process is replaced in the others.
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(_portion, portions)


def _portion(seeds: Sequence[int]) -> list[Outcome]:
    return [play(seed) for seed in seeds]


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of a set of texts is chance, too, and a replay must be exact.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]])  # noqa: S606 - itself
    sys.exit(main())
