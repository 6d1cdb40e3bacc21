"""Apache Kafka's jars: downloaded once through jgo, checked, then used from a cache.

Which jars, and what is in them, is fixed by the file ``kafka.lock`` beside this module: one line
per jar with its Maven coordinates, its size in bytes and its SHA-256. The class path therefore
needs no resolution of dependencies, and is the same on every machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stream.errors import ServiceError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jgo.maven import MavenContext
    from rich.console import Console

    from stream.services.saying import Say

LOCK = Path(__file__).with_name("kafka.lock")

_DOWNLOADS_AT_ONCE = 4
_TIMEOUT_S = 30
_STAGING = "download-"


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar of the lock.

    Attributes
    ----------
    coordinates : str
        Maven coordinates, ``group:artifact:version``.
    size : int
        Its length in bytes.
    sha256 : str
        Its SHA-256 in hexadecimal digits.
    """

    coordinates: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """File name in the cache."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


def locked_jars() -> list[Jar]:
    """Read the lock.

    Returns
    -------
    list of Jar
        All jars that Kafka's server needs.
    """
    lines = [line.split() for line in LOCK.read_text("utf-8").splitlines()]
    return [Jar(coordinates, int(size), sha256) for coordinates, size, sha256 in lines]


def jars_in(folder: Path, *, say: Say) -> list[Path]:
    """Find all locked jars in a cache folder, after a download of those that it lacks.

    Parameters
    ----------
    folder : Path
        The cache folder of this version of Kafka.
    say : callable
        Is told of a download.

    Returns
    -------
    list of Path
        The class path.

    Raises
    ------
    SetupError
        A download is needed and jgo is not installed.
    ServiceError
        A download failed, or what came differs from the lock.

    Notes
    -----
    A jar gets its name in the cache only when it is whole and checked, so an interrupted download
    leaves nothing that a later one could mistake for a jar. Of several processes that find jars
    missing, one downloads and the others wait for it.
    """
    jars = locked_jars()
    if _missing(jars, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, say):
            missing = _missing(jars, folder)
            if missing:
                _download(missing, folder, say)
    return [folder / jar.filename for jar in jars]


def _missing(jars: list[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not _is_there(jar, folder / jar.filename)]


def _is_there(jar: Jar, path: Path) -> bool:
    try:
        return path.stat().st_size == jar.size
    except FileNotFoundError:
        return False


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    with (folder / "download.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another process that downloads Apache Kafka")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(jars: list[Jar], folder: Path, say: Say) -> None:
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 (an optional extra)
    except ImportError:
        raise SetupError(
            "the embedded Kafka must be downloaded, which needs the package jgo; "
            "run: pip install 'capstream[embedded]'"
        ) from None
    for abandoned in folder.glob(f"{_STAGING}*"):
        shutil.rmtree(abandoned)
    size = sum(jar.size for jar in jars)
    say(f"Downloading Apache Kafka, once: {len(jars)} jars, {size / 1e6:.0f} MB, to {folder}")
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as staging,
        _progress(size, len(jars), say) as progress,
        ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool,
    ):
        maven = MavenContext(
            # All that jgo would otherwise take from the user's own Maven is given here.
            resolver=PythonResolver(progress_callback=progress.of_file),
            repo_cache=Path(staging),
            timeout=_TIMEOUT_S,
        )
        for _ in pool.map(lambda jar: _fetch(jar, maven, folder), jars):
            progress.jar_done()


def _fetch(jar: Jar, maven: MavenContext, folder: Path) -> None:
    try:
        path = maven.create_dependency(jar.coordinates).artifact.resolve()
    except (OSError, RuntimeError) as error:
        raise ServiceError(f"cannot download {jar.coordinates}: {error}") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != jar.sha256:
        raise ServiceError(
            f"{jar.coordinates} as downloaded is not the expected file: "
            f"its SHA-256 is {digest}, not {jar.sha256}"
        )
    path.replace(folder / jar.filename)


@contextmanager
def _progress(size: int, n_jars: int, say: Say) -> Iterator[_Bar | _Sentences]:
    from rich.console import Console  # noqa: PLC0415 (only a download needs it)

    console = getattr(say, "__self__", None)
    if not isinstance(console, Console) or not console.is_terminal:
        yield _Sentences(n_jars, say)
        return
    bar = _Bar(size, n_jars, console)
    with bar.progress:
        yield bar


class _Sentences:
    """Progress in words, after each quarter of the jars."""

    def __init__(self, n_jars: int, say: Say) -> None:
        self._n_jars = n_jars
        self._n_done = 0
        self._say = say

    @contextmanager
    def of_file(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield lambda _n_bytes: None

    def jar_done(self) -> None:
        self._n_done += 1
        if self._n_done * 4 // self._n_jars > (self._n_done - 1) * 4 // self._n_jars:
            self._say(f"Downloaded {self._n_done} of {self._n_jars} jars")


class _Bar:
    """Progress as a bar over all bytes."""

    def __init__(self, size: int, n_jars: int, console: Console) -> None:
        from rich import progress  # noqa: PLC0415 (only a download needs it)

        self.progress = progress.Progress(
            progress.TextColumn("{task.fields[n_done]}/{task.fields[n_jars]} jars"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
        )
        self._n_done = 0
        self._task = self.progress.add_task("", total=size, n_done=0, n_jars=n_jars)

    @contextmanager
    def of_file(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield lambda n_bytes: self.progress.advance(self._task, n_bytes)

    def jar_done(self) -> None:
        self._n_done += 1
        self.progress.update(self._task, n_done=self._n_done)
