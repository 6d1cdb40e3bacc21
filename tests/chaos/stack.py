"""What the workers stand on: a Kafka and a Redis of their own, proxies before both, and the files of a run."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.fleet import clean_environment
from chaos.history import own_index
from chaos.proxy import FaultProxy, Trouble
from stream.feed.producer import partition_of
from stream.files import load_composition
from stream.index.composition import Composition
from stream.services import EmbeddedKafka, EmbeddedRedis, Pids
from stream.services.ports import LOOPBACK, free_ports
from stream.settings import Settings

#: Column of the constituents file that says on which partition a stock stands.
COLUMN = "home"

LEVELS_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Files:
    """Constituents and index definitions of a run.

    Attributes
    ----------
    constituents, indexes
        Their paths.
    composition
        What they make.
    """

    constituents: Path
    indexes: Path
    composition: Composition


def write_files(folder: Path, *, n_partitions: int) -> Files:
    """Write the bundled constituents with their partitions, and one index for each partition beside the bundled ones."""
    constituents, indexes = folder / "constituents.csv", folder / "indexes.toml"
    instruments = load_composition().universe.instruments
    columns = [*instruments[0].attributes, COLUMN]
    with constituents.open("w", newline="", encoding="utf-8") as text:
        rows = csv.DictWriter(text, columns)
        rows.writeheader()
        for one in instruments:
            home = str(partition_of(one.symbol, n_partitions))
            rows.writerow({**one.attributes, COLUMN: home})
    indexes.write_text(
        "".join(
            f'[[index]]\ncode = "{own_index(p)}"\nselect = {{ {COLUMN} = "{p}" }}\n\n'
            for p in range(n_partitions)
        )
    )
    return Files(constituents, indexes, load_composition(constituents, indexes))


def levels_of(tape: Path, files: Files, *, folder: Path) -> dict[str, Any]:
    """Ask `capstream levels` about a file of trades; numbers come as they are written."""
    options = ["--constituents", str(files.constituents), "--indexes", str(files.indexes)]
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", "levels", str(tape), *options, "--json"],
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LEVELS_WITHIN_S,
    )
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1], parse_float=str)
    return said


def verify(settings: Settings, *, folder: Path) -> tuple[int, str]:
    """Ask `capstream verify` about the record of a run: its status, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", "verify"],
        cwd=folder,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LEVELS_WITHIN_S,
    )
    return done.returncode, done.stdout.strip()


class Stack:
    """Services that can be broken.

    Parameters
    ----------
    folder
        For their data and logs.
    n_links
        How many ways lead to each of them through a proxy, one for each worker; 0 is no proxy.

    Attributes
    ----------
    kafka, redis
        Embedded ones.
    """

    def __init__(self, folder: Path, *, n_links: int) -> None:
        ports = iter(free_ports(2 + 3 * n_links))
        self._kafka_behind = [next(ports) for _ in range(n_links)]
        self._kafka_links = [next(ports) for _ in range(n_links)]
        self._redis_links = [next(ports) for _ in range(n_links)]
        self._redis_port = next(ports)
        self.kafka = EmbeddedKafka(
            folder / "kafka",
            port=next(ports),
            proxies=dict(zip(self._kafka_behind, self._kafka_links, strict=True)),
        )
        self.redis = EmbeddedRedis(folder / "redis", port=self._redis_port)
        self._proxy: FaultProxy | None = None

    @contextmanager
    def running(self) -> Iterator[Stack]:
        """Run the services and the proxies."""
        links = dict(zip(self._kafka_links, self._kafka_behind, strict=True))
        links |= dict.fromkeys(self._redis_links, self._redis_port)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.redis)
            stack.enter_context(self.kafka)
            self._proxy = stack.enter_context(FaultProxy(links))
            yield self

    def addresses(self, link: int) -> tuple[str, str]:
        """Give the addresses of Kafka and Redis for the worker of a number, which are those of its proxies."""
        if not self._kafka_links:
            return self.kafka.url, self.redis.url
        redis_url = f"redis://{LOOPBACK}:{self._redis_links[link]}/0"
        return f"{LOOPBACK}:{self._kafka_links[link]}", redis_url

    def trouble(self, service: str, links: list[int], trouble: Trouble) -> None:
        """Trouble the ways of some workers to `kafka` or `redis`."""
        assert self._proxy is not None
        ports = self._kafka_links if service == "kafka" else self._redis_links
        for link in links:
            self._proxy.trouble(ports[link], trouble)

    async def kill(self, service: EmbeddedKafka | EmbeddedRedis) -> None:
        """Kill a service's process with SIGKILL; the data of Kafka stay, those of Redis are gone."""
        pids = service.pids
        assert isinstance(pids, Pids)
        os.kill(pids.service, signal.SIGKILL)
        # Its keeper sees it end, and ends too.
        await asyncio.to_thread(service.stop)

    async def start(self, service: EmbeddedKafka | EmbeddedRedis) -> None:
        """Start a service again, where it was."""
        await asyncio.to_thread(service.start)


def environment(settings: Settings) -> dict[str, str]:
    """Give the environment of a worker that runs with these settings."""
    default, ours = Settings(), clean_environment()
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if value != getattr(default, name):
            ours[f"CAPSTREAM_{name.upper()}"] = str(value)
    return ours
