"""The services that were brought up to stay: what a file knows of them, and whether it is true."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeAlias

from stream.errors import ServiceError
from stream.services.kafka import EmbeddedKafka
from stream.services.process import GRACE_S, Pids, holder
from stream.services.redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream.services.saying import Say

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a Kafka and a Redis answer.

    Attributes
    ----------
    kafka_url : str
        Bootstrap address of Kafka, ``HOST:PORT``.
    redis_url : str
        URL of Redis, ``redis://HOST:PORT/0``.
    """

    kafka_url: str
    redis_url: str


@dataclass(frozen=True, slots=True)
class Running:
    """One service that runs.

    Attributes
    ----------
    url : str
        Its address for clients.
    pids : Pids
        Its processes.
    """

    url: str
    pids: Pids


State: TypeAlias = dict[str, Running]
"""The services that run, by their names ``kafka`` and ``redis``."""


def running(home: Path) -> Addresses | None:
    """Find the services that are up.

    Parameters
    ----------
    home : Path
        The program's home folder.

    Returns
    -------
    Addresses or None
        None unless both run.
    """
    state = read_state(home)
    if state.keys() != {"kafka", "redis"}:
        return None
    return Addresses(kafka_url=state["kafka"].url, redis_url=state["redis"].url)


def read_state(home: Path) -> State:
    """Read which services run.

    Parameters
    ----------
    home : Path
        The program's home folder.

    Returns
    -------
    dict of str to Running
        Only services whose keeper, of the recorded process ids, still holds their folder: a
        process id that the system has given to another process counts for nothing.
    """
    try:
        recorded = json.loads((_folder(home) / "state.json").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    found = {
        name: Running(url=entry["url"], pids=Pids(**entry["pids"]))
        for name, entry in recorded.items()
    }
    return {
        name: service
        for name, service in found.items()
        if holder(_folder(home) / name) == service.pids
    }


def bring_up(home: Path, *, cache: Path | None = None, say: Say) -> tuple[Addresses, bool]:
    """Start both services, to stay when this process ends, unless they run already.

    Parameters
    ----------
    home : Path
        The program's home folder.
    cache : Path, optional
        Where downloaded jars are kept; by default in the user's cache folder.
    say : callable
        Is told, in a sentence, what happens.

    Returns
    -------
    addresses : Addresses
        Where they answer.
    started : bool
        False when they ran already.

    Raises
    ------
    SetupError
        Something that they are made of is not installed.
    ServiceError
        One of them did not start; then neither is left running.
    """
    folder = _folder(home)
    with _alone(folder):
        up = running(home)
        if up is not None:
            return up, False
        _stop_all(home)
        with (
            EmbeddedRedis(folder / "redis", say=say) as redis,
            EmbeddedKafka(folder / "kafka", cache=cache, say=say) as kafka,
        ):
            assert redis.pids is not None
            assert kafka.pids is not None
            state = {
                "kafka": Running(url=kafka.url, pids=kafka.pids),
                "redis": Running(url=redis.url, pids=redis.pids),
            }
            _write_state(home, state)
            # Until here, they end with this process: an interrupted start leaves nothing behind.
            redis.detach()
            kafka.detach()
        return Addresses(kafka_url=kafka.url, redis_url=redis.url), True


def take_down(home: Path) -> State:
    """Stop the services that were brought up.

    Parameters
    ----------
    home : Path
        The program's home folder.

    Returns
    -------
    dict of str to Running
        What was stopped.

    Raises
    ------
    ServiceError
        A service did not end.
    """
    with _alone(_folder(home)):
        return _stop_all(home)


def _folder(home: Path) -> Path:
    return home / "services"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "change.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_state(home: Path, state: State) -> None:
    path = _folder(home) / "state.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({name: asdict(service) for name, service in state.items()}), "utf-8")
    new.replace(path)


def _stop_all(home: Path) -> State:
    state = read_state(home)
    for service in state.values():
        # The keeper holds its folder's lock, so this process id is still its own.
        os.kill(service.pids.keeper, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S * 2
    for name, service in state.items():
        while holder(_folder(home) / name) == service.pids:
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{name} (process {service.pids.service}) did not end in {GRACE_S * 2:g} s"
                )
            time.sleep(_POLL_S)
    (_folder(home) / "state.json").unlink(missing_ok=True)
    return state
