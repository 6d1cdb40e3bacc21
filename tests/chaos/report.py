"""What came out: laws, times, a histogram, and a JSON object."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from rich.console import Console
from rich.table import Table

from chaos.recovery import Figures, Recovery, Way, figures, histogram
from chaos.run import Outcome, Plan


def times(recoveries: list[Recovery], way: Way, *, disturbed: bool) -> list[float]:
    """Give the seconds of the recoveries of one way."""
    return [
        one.seconds
        for one in recoveries
        if one.mark.way == way and one.disturbed == disturbed and one.seconds is not None
    ]


def show(outcome: Outcome, console: Console) -> None:
    """Print tables."""
    console.print(_laws(outcome))
    if outcome.recoveries:
        console.print(_recoveries(outcome.recoveries))
        for way in get_args(Way):
            seconds = times(outcome.recoveries, way, disturbed=False)
            if seconds:
                console.print(f"{way}, undisturbed: seconds to the first correct publication")
                console.print("\n".join(histogram(seconds)))
    for said, n in outcome.ended.most_common():
        console.print(f"{n} x ended by itself: {said}", markup=False)
    console.print(", ".join(f"{name}: {value}" for name, value in outcome.facts.items()))
    for law in outcome.laws:
        for text in law.broken:
            console.print(f"BROKEN  {law.name}: {text}", style="red", markup=False)


def _laws(outcome: Outcome) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("law")
    table.add_column("checked", justify="right")
    table.add_column("broken", justify="right")
    for law in outcome.laws:
        broken = f"[red]{law.n_broken:,}[/red]" if law.n_broken else "0"
        table.add_row(law.name.replace("[", r"\["), f"{law.checked:,}", broken)
    return table


def _recoveries(recoveries: list[Recovery]) -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("worker", "other faults"):
        table.add_column(name)
    for name in ("n", "median s", "p90 s", "max s", "never", "said stale"):
        table.add_column(name, justify="right")
    for way in get_args(Way):
        for disturbed in (False, True):
            mine = [one for one in recoveries if (one.mark.way, one.disturbed) == (way, disturbed)]
            if not mine:
                continue
            seconds = times(recoveries, way, disturbed=disturbed)
            sums = figures(seconds) if seconds else None
            stale = sum(one.stale_after_s is not None for one in mine)
            table.add_row(
                way,
                "at work" if disturbed else "none",
                str(len(mine)),
                *((f"{x:.2f}" for x in sums[1:]) if sums else ("", "", "")),
                str(len(mine) - len(seconds)),
                f"{stale} of {len(mine)}",
            )
    return table


def as_dict(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """Give everything for a JSON file."""
    return {
        "right": not outcome.wrong,
        "plan": {
            "seed": plan.seed,
            "ticks": plan.ticks,
            "partitions": plan.n_partitions,
            "workers": plan.workers,
            "backlog": plan.backlog,
            "form": plan.form,
            "clock": plan.clock,
            "schedule": msgspec.to_builtins(plan.schedule),
        },
        "laws": [
            {
                "law": law.name,
                "checked": law.checked,
                "broken": law.n_broken,
                "examples": law.broken,
            }
            for law in outcome.laws
        ],
        "recoveries": [
            {
                "fault": one.mark.number,
                "worker": one.mark.worker,
                "way": one.mark.way,
                "partitions": sorted(one.mark.partitions),
                "publisher": one.mark.publisher,
                "disturbed": one.disturbed,
                "seconds": one.seconds,
                "stale_after_s": one.stale_after_s,
            }
            for one in outcome.recoveries
        ],
        "figures": {
            f"{way}{', disturbed' if disturbed else ''}": _figures(
                outcome.recoveries, way, disturbed=disturbed
            )
            for way in get_args(Way)
            for disturbed in (False, True)
        },
        "ended": dict(outcome.ended),
        "facts": outcome.facts,
    }


def _figures(recoveries: list[Recovery], way: Way, *, disturbed: bool) -> dict[str, float] | None:
    seconds = times(recoveries, way, disturbed=disturbed)
    if not seconds:
        return None
    return dict(zip(Figures._fields, figures(seconds), strict=True))
