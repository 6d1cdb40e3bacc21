"""A contender's run: a fresh process, its figures, its peak memory and its processor time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
POLL_S = 0.02
MIB = 1024 * 1024


class RunFailedError(Exception):
    """A contender did not end well."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a process did.

    Attributes
    ----------
    figures
        The JSON object on the last line of its output; numbers with a point are decimals.
    peak_mib
        Largest resident memory of the process.
    cpu_s
        Processor time, of its own children too.
    """

    figures: dict[str, Any]
    peak_mib: float
    cpu_s: float


def run(
    command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a command to its end.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Working folder: what it leaves there is thrown away with it.
    environment
        Variables in addition to ours; those of a user's own capstream are left out.

    Raises
    ------
    RunFailedError
        With the end of what it wrote to standard error.
    """
    ours = {name: text for name, text in os.environ.items() if not name.startswith("CAPSTREAM_")}
    ours["PYTHONPATH"] = str(ROOT)
    with (folder / "stderr.txt").open("w+b") as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=ours | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        memory = _Memory(process.pid)
        try:
            assert process.stdout is not None
            output = process.stdout.read()
            # Reaped by hand: only so does the system tell what this one child has used.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            memory.stop()
            if process.returncode is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    lines = output.decode().splitlines()
    if process.returncode or not lines:
        raise RunFailedError(f"{command[0]}: status {process.returncode}\n{said[-2000:]}")
    # Where there is no /proc, the system's own figure must do: it may include its parent's memory.
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(
        figures=json.loads(lines[-1], parse_float=Decimal),
        peak_mib=(memory.peak_bytes or usage.ru_maxrss * unit) / MIB,
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


class _Memory:
    """Reads a process's high-water mark until it ends."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_S):
            try:
                found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
            except OSError:
                return
            if found is not None:
                self.peak_bytes = max(self.peak_bytes, int(found[1]) * 1024)
