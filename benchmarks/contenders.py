"""Who is measured: the product and its baselines, each as the command of a fresh process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from benchmarks.report import Report
from stream.index.composition import Composition

#: The index that a baseline computes: the widest one.
CODE = "US3000"

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"


@dataclass(frozen=True, slots=True)
class Servers:
    """What the contenders talk to, and where they may leave files.

    Attributes
    ----------
    kafka_url, redis_url
        Addresses; empty where a workload needs none.
    folder
        Thrown away in the end.
    """

    kafka_url: str
    redis_url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables that tell the product where they are."""
        return {"CAPSTREAM_KAFKA_URL": self.kafka_url, "CAPSTREAM_REDIS_URL": self.redis_url}


@dataclass(frozen=True, slots=True)
class Contender:
    """A name in the table, and the command behind it.

    Attributes
    ----------
    name
        Permanent.
    command
        Program and arguments.
    environment
        Variables in addition to ours.
    gives
        Whether it answers with all `levels`, one `level`, or nothing.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    gives: str = "level"


def capstream(servers: Servers, *arguments: str) -> Contender:
    """Give the product: `capstream` with some arguments."""
    command = [sys.executable, "-m", "stream.cli.main", *arguments, "--json"]
    return Contender("capstream", command, servers.environment, "levels")


def bare(name: str, what: str, *arguments: str) -> Contender:
    """Give one of the loops of `bare.py`."""
    gives = "nothing" if what == "fetch" else "level"
    return Contender(name, [sys.executable, "-m", "benchmarks.bare", what, *arguments], {}, gives)


def bytewax(python: Path, *arguments: str) -> Contender:
    """Give the dataflow of `bytewax_level.py`."""
    return Contender("bytewax", [str(python), str(HERE / "bytewax_level.py"), *arguments])


def bytewax_python(report: Report) -> Path | None:
    """Find or make the environment that holds bytewax; None, with a note, where it cannot be installed."""
    requirements = REQUIREMENTS
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    folder = platformdirs.user_cache_path("capstream") / "bench-venv" / f"py{version}-{digest}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    report.say(f"installing bytewax into {folder}")
    venv.create(folder, with_pip=True, clear=True, symlinks=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [python, *install, "--only-binary", ":all:", "--requirement", requirements],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        report.note(f"no bytewax for Python {version}: {done.stderr.strip().splitlines()[-1]}")
        return None
    ready.touch()
    return python


def pinned() -> dict[str, str]:
    """Give the versions of bytewax and its Kafka client."""
    pins = (line.partition("==") for line in REQUIREMENTS.read_text().splitlines())
    return {name: version for name, _, version in pins if name in ("bytewax", "confluent-kafka")}


def write_index(composition: Composition, path: Path) -> None:
    """Write what a baseline needs of one index, in floating point."""
    index = next(one for one in composition.indexes if one.code == CODE)
    symbols = composition.universe.symbols
    rows = index.row.tolist()
    contents = {
        "shares": {
            symbols[row]: shares / 10**index.k
            for row, shares in zip(rows, index.shares.tolist(), strict=True)
        },
        "price": {symbols[row]: int(composition.reference_price[row]) / 10_000 for row in rows},
        "divisor": float(index.divisor.value),
        "value": index.reference_value / 10 ** (4 + index.k),
    }
    path.write_text(json.dumps(contents))
