"""The fleet: workers as processes of their own, started again when they end, as systemd would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

#: The worker dies with the process that started it: Linux sees to it, across the `exec`.
TIED = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)

RESTART_S = 0.1
#: A worker that ends by itself again and again is started again this late.
RESTART_AGAIN_S = 1.0
SCRAPE_EVERY_S = 0.5
SCRAPE_WITHIN_S = 2.0
STOP_WITHIN_S = 20.0
LOG_BYTES = 2 * 1024 * 1024
LAST_LINES = 12

Ending = Literal["killed", "stopped", "by itself"]

_METRICS = re.compile(r"metrics: (http://\S+)")
_CLAIM = re.compile(r"publishing epoch=(\d+)")


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a worker's metrics said.

    Attributes
    ----------
    at
        Moment, on `time.monotonic`.
    ticks, applied
        Counts of this life.
    refused
        Counts by reason.
    lag
        Records not applied yet, by partition that the worker owns.
    drift, dropped
        Books with drift; dead letters that were only counted.
    ready
        Whether it called itself ready.
    """

    at: float
    ticks: int
    applied: int
    refused: Mapping[str, int]
    lag: Mapping[int, int]
    drift: int
    dropped: int
    ready: bool


def read_metrics(text: str, *, at: float) -> Scrape:
    """Read a scrape off Prometheus text."""
    values: dict[str, float] = {}
    refused: dict[str, int] = {}
    lag: dict[int, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "capstream_ticks_refused_total":
                refused[sample.labels["reason"]] = int(sample.value)
            elif sample.name == "capstream_lag_records":
                lag[int(sample.labels["partition"])] = int(sample.value)
            elif not sample.labels:
                values[sample.name] = sample.value
    return Scrape(
        at=at,
        ticks=int(values["capstream_ticks_total"]),
        applied=int(values["capstream_ticks_applied_total"]),
        refused=refused,
        lag=lag,
        drift=int(values["capstream_recompute_drift"]),
        dropped=int(values["capstream_dead_letters_dropped_total"]),
        ready=values["capstream_ready"] == 1,
    )


@dataclass(slots=True)
class Life:
    """One process of a worker, from its start to its end.

    Attributes
    ----------
    worker
        Name.
    pid
        Of the process.
    began, served, ended
        Moments on `time.monotonic`: of its start, of its metrics, of its end; None where it has not come to that.
    ending
        How it ended; `killed` and `stopped` are our doing.
    status
        With which it exited; negative for a signal.
    over
        Set when it has ended.
    url
        Of its metrics, once it has said so.
    claimed
        The newest epoch that it has claimed; its log says so sooner than a scrape.
    scrapes
        The last ones, oldest first.
    said
        Last lines of its log.
    """

    worker: str
    pid: int
    began: float
    served: float | None = None
    ended: float | None = None
    ending: Ending | None = None
    status: int | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    claimed: int = 0
    scrapes: deque[Scrape] = field(default_factory=lambda: deque(maxlen=3))
    said: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    @property
    def last(self) -> Scrape | None:
        """The last scrape."""
        return self.scrapes[-1] if self.scrapes else None


class Member:
    """A place in the fleet: a name, and one worker process at a time while it is wanted.

    Attributes
    ----------
    lives
        Every process that it has had.
    """

    def __init__(self, name: str, *, environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.lives: list[Life] = []
        self._environment = dict(environment)
        self._log = folder / f"{name}.log"
        self._wanted = asyncio.Event()
        self._away_s = RESTART_S
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def life(self) -> Life | None:
        """The process that runs now."""
        return self.lives[-1] if self.lives and self.lives[-1].ended is None else None

    def start(self) -> None:
        """Want a worker from now on."""
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.create_task(self._supervise(), name=f"member {self.name}")

    def kill(self, *, away_s: float = RESTART_S) -> Life | None:
        """Kill the process with SIGKILL; another one is started after a time. Gives the life that it ended."""
        life = self.life
        if life is None or self._process is None:
            return None
        self._away_s = away_s
        life.ending = "killed"
        self._process.kill()
        return life

    def pause(self) -> Life | None:
        """Stop the process with SIGSTOP: it holds what it has, and hears nothing."""
        return self._signal(signal.SIGSTOP)

    def resume(self, life: Life) -> None:
        """Let a paused process go on, if it is still there."""
        if self.life is life:
            self._signal(signal.SIGCONT)

    async def stop(self) -> Life | None:
        """Ask the process to end and wait for it; nothing is started until `start`."""
        self._wanted.clear()
        life = self.life
        if life is None or self._process is None:
            return None
        life.ending = "stopped"
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(life.over.wait(), STOP_WITHIN_S)
        except TimeoutError:
            # Its status will say that it did not end when it was asked to.
            self._process.kill()
            await life.over.wait()
        return life

    async def close(self) -> None:
        """End the process at once, for good."""
        self._wanted.clear()
        self.kill()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._process is not None:
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> Life | None:
        life = self.life
        if life is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
        return life

    async def _supervise(self) -> None:
        while True:
            await self._wanted.wait()
            ended_by_itself = await self._live()
            away_s, self._away_s = self._away_s, RESTART_S
            await asyncio.sleep(RESTART_AGAIN_S if ended_by_itself else away_s)

    async def _live(self) -> bool:
        """Run one process to its end, and tell whether it ended by itself."""
        worker = ["-m", "stream.cli.main", "worker", "--id", self.name, "--metrics-port", "0"]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", TIED, sys.executable, *worker),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # A Ctrl-C at the terminal is for the parent, which then ends the workers.
            start_new_session=True,
        )
        life = Life(self.name, self._process.pid, time.monotonic())
        self.lives.append(life)
        try:
            await self._read(life)
            life.status = await self._process.wait()
        finally:
            life.ended = time.monotonic()
            life.over.set()
        if life.ending is None:
            life.ending = "by itself"
        return life.ending == "by itself"

    async def _read(self, life: Life) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        with self._log.open("ab") as log:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            _write(log, f"---- {now} life {len(self.lives)}, process {life.pid}\n".encode())
            while line := await self._process.stderr.readline():
                _write(log, line)
                text = line.decode(errors="replace").rstrip()
                life.said.append(text)
                if not life.url and (found := _METRICS.search(text)):
                    life.url, life.served = found[1], time.monotonic()
                elif found := _CLAIM.search(text):
                    life.claimed = int(found[1])


def _write(log: BinaryIO, line: bytes) -> None:
    if log.tell() < LOG_BYTES:
        log.write(line)
        log.flush()


class Fleet:
    """The members, and what their metrics say all the while.

    Parameters
    ----------
    folder
        For their logs.

    Attributes
    ----------
    members
        By name.
    watchers
        Called with each life and scrape, as they come.
    """

    def __init__(self, folder: Path) -> None:
        self.members: dict[str, Member] = {}
        self.watchers: list[Callable[[Life, Scrape], None]] = []
        self._folder = folder
        self._task: asyncio.Task[None] | None = None

    @property
    def lives(self) -> list[Life]:
        """Every process that there was."""
        return [life for member in self.members.values() for life in member.lives]

    @property
    def running(self) -> list[Life]:
        """Every process that there is."""
        return [member.life for member in self.members.values() if member.life is not None]

    def publishes(self, life: Life) -> bool:
        """Tell whether no process has claimed the publisher's role after this one."""
        return life.claimed > 0 and life.claimed == max(one.claimed for one in self.lives)

    def add(self, name: str, environment: Mapping[str, str]) -> Member:
        """Add a member; it has no process yet."""
        member = Member(name, environment=environment, folder=self._folder)
        self.members[name] = member
        return member

    async def scrape(self) -> None:
        """Scrape every process that has said where its metrics are, once."""
        async with self._client() as client:
            await self._scrape(client)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._scrape_on(), name="scrape")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for member in self.members.values():
            await member.close()

    def _client(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SCRAPE_WITHIN_S))

    async def _scrape_on(self) -> None:
        async with self._client() as client:
            while True:
                await self._scrape(client)
                await asyncio.sleep(SCRAPE_EVERY_S)

    async def _scrape(self, client: aiohttp.ClientSession) -> None:
        await asyncio.gather(*(self._scrape_one(client, life) for life in self.running))

    async def _scrape_one(self, client: aiohttp.ClientSession, life: Life) -> None:
        if not life.url:
            return
        try:
            async with client.get(life.url) as response:
                scrape = read_metrics(await response.text(), at=time.monotonic())
        except (aiohttp.ClientError, TimeoutError, OSError):
            # Killed, paused, or busy: the last scrape stands.
            return
        life.scrapes.append(scrape)
        for watch in self.watchers:
            watch(life, scrape)


def clean_environment() -> dict[str, str]:
    """Give our environment without the settings of a user's own capstream."""
    return {name: text for name, text in os.environ.items() if not name.startswith("CAPSTREAM_")}
