"""Workers as processes: started on topics of their own, watched, and ended with all that they left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from benchmarks.contenders import Servers
from benchmarks.processes import ROOT, RunFailedError
from benchmarks.workload import delete_topic

#: What one worker's deployment leaves on the brokers.
TOPICS = (
    *("partials", "checkpoints", "compositions", "control", "levels", "dead_letters"),
    *("closes", "index_closes"),
)


@dataclass(slots=True)
class Fleet:
    """Some workers, and where each one's standard error goes."""

    processes: list[subprocess.Popen[bytes]]
    said: list[IO[bytes]]

    def resident_mib(self) -> float:
        """Give the memory of all of them."""
        return sum(psutil.Process(one.pid).memory_info().rss for one in self.processes) / 2**20

    def cpu_s(self) -> float:
        """Give the processor time that they have used."""
        times = [psutil.Process(one.pid).cpu_times() for one in self.processes]
        return float(sum(each.user + each.system for each in times))

    def ticks(self) -> int:
        """Give the ticks that they have counted, by their metrics."""
        total = 0
        for said in self.said:
            text = Path(said.name).read_text()
            found = re.search(r"^metrics: (\S+)$", text, re.MULTILINE)
            if found is not None:
                total += _ticks_of(found[1])
        return total

    def check(self) -> None:
        """Raise where one has ended."""
        for one, said in zip(self.processes, self.said, strict=True):
            if one.poll() is not None:
                text = Path(said.name).read_text()
                raise RunFailedError(f"a worker ended with {one.returncode}\n{text[-2000:]}")


@contextlib.asynccontextmanager
async def fleet_of(servers: Servers, topic: str, n: int, *, prefix: str) -> AsyncIterator[Fleet]:
    """Start workers that know nothing of earlier ones, and end them with all that they wrote."""
    ours = {key: text for key, text in os.environ.items() if not key.startswith("CAPSTREAM_")}
    topics = {f"CAPSTREAM_{name.upper()}_TOPIC": f"{topic}-{n}-{name}" for name in TOPICS}
    environment = {
        **ours,
        **servers.environment,
        **topics,
        "PYTHONPATH": str(ROOT),
        "CAPSTREAM_TICKS_TOPIC": topic,
        "CAPSTREAM_GROUP": f"{topic}-{n}",
        "CAPSTREAM_REDIS_PREFIX": prefix,
        "CAPSTREAM_PARTIALS": "topic",
    }
    with contextlib.ExitStack() as stack:
        said = [
            stack.enter_context((servers.folder / f"worker-{i}.txt").open("wb")) for i in range(n)
        ]
        command = [sys.executable, "-m", "stream.cli.main", "worker", "--metrics-port", "0"]
        processes = [
            subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                command, env=environment, cwd=servers.folder, stderr=each
            )
            for each in said
        ]
        try:
            yield Fleet(processes, list(said))
        finally:
            for one in processes:
                one.send_signal(signal.SIGTERM)
            for one in processes:
                await asyncio.to_thread(one.wait, 30)
    for name in topics.values():
        await delete_topic(servers.kafka_url, name)


def _ticks_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a worker of ours
            text = answer.read().decode()
    except urllib.error.URLError:
        return 0
    found = re.search(r"^capstream_ticks_total (\S+)$", text, re.MULTILINE)
    return int(float(found[1])) if found is not None else 0
