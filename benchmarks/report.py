"""What came out: series of figures, wrong answers, the machine, a table and a JSON object."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = ("numpy", "aiokafka", "faust-streaming", "msgspec", "orjson", "redis", "hiredis")


@dataclass(slots=True)
class Series:
    """One figure of one contender, a value for each repetition.

    Attributes
    ----------
    workload, contender, unit
        What was measured.
    baseline
        The contender that the ratio is taken against; its own name where it is one.
    values
        In order.
    """

    workload: str
    contender: str
    unit: str
    baseline: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the repetitions."""
        return statistics.median(self.values)


class Report:
    """Collects series and wrong answers while workloads run.

    Parameters
    ----------
    console
        Where progress and the table go.

    Attributes
    ----------
    series
        By workload, contender and unit.
    wrong
        Sentences about wrong answers; a rate of wrong answers means nothing.
    notes
        Contenders that could not run, and why.
    """

    def __init__(self, console: Console) -> None:
        self.series: dict[tuple[str, str, str], Series] = {}
        self.wrong: list[str] = []
        self.notes: list[str] = []
        self._console = console

    def say(self, text: str) -> None:
        """Show progress."""
        self._console.print(text)

    def add(self, workload: str, contender: str, unit: str, value: float, *, baseline: str) -> None:
        """Add a repetition's figure."""
        key = (workload, contender, unit)
        self.series.setdefault(key, Series(workload, contender, unit, baseline)).values.append(
            value
        )

    def check(self, right: bool, text: str) -> None:  # noqa: FBT001
        """Note an answer that is wrong."""
        if not right:
            self.wrong.append(text)
            self._console.print(f"[red]wrong:[/red] {text}")

    def note(self, text: str) -> None:
        """Note what the table alone would not tell."""
        self.notes.append(text)
        self._console.print(f"[yellow]note:[/yellow] {text}")

    def ratio(self, series: Series) -> float | None:
        """Give the ratio of a contender's median to its baseline's, None for the baseline itself."""
        baseline = self.series.get((series.workload, series.baseline, series.unit))
        if baseline is None or baseline is series or not baseline.median:
            return None
        return series.median / baseline.median

    def show(self, machine: dict[str, str]) -> None:
        """Print the table, the machine, notes and wrong answers."""
        table = Table(box=None, header_style="bold")
        for name in ("workload", "contender", "unit"):
            table.add_column(name, no_wrap=True)
        for name in ("median", "min", "max", "n", "ratio", "to"):
            table.add_column(name, justify="right", no_wrap=True)
        for one in self.series.values():
            ratio = self.ratio(one)
            table.add_row(
                one.workload,
                one.contender,
                one.unit,
                *(_short(value) for value in (one.median, min(one.values), max(one.values))),
                str(len(one.values)),
                "" if ratio is None else f"{ratio:.2f}",
                "" if ratio is None else one.baseline,
            )
        self._console.print(table)
        self._console.print(", ".join(f"{name} {text}" for name, text in machine.items()))
        for text in self.notes:
            self._console.print(f"[yellow]note:[/yellow] {text}")
        for text in self.wrong:
            self._console.print(f"[red]wrong:[/red] {text}")

    def as_dict(self, machine: dict[str, str]) -> dict[str, Any]:
        """Give everything for a JSON file."""
        return {
            "machine": machine,
            "wrong": self.wrong,
            "notes": self.notes,
            "series": [
                {
                    "workload": one.workload,
                    "contender": one.contender,
                    "unit": one.unit,
                    "median": one.median,
                    "min": min(one.values),
                    "max": max(one.values),
                    "values": one.values,
                    "baseline": one.baseline,
                    "ratio": self.ratio(one),
                }
                for one in self.series.values()
            ],
        }


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def describe_machine(**services: str) -> dict[str, str]:
    """Describe the processor, the interpreter and the versions that figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "CPU": _processor(),
        "cores": str(cores),
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **versions,
        **services,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
