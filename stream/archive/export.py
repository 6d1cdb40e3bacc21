"""A session's logs in files: all that its levels are a function of, so that they can be computed again years later."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stream import __version__
from stream.archive.compositions import Compositions
from stream.archive.decoded import decode_levels, decode_ticks
from stream.archive.folder import END, START, FolderSource
from stream.archive.kafka import KafkaSource
from stream.archive.manifest import (
    NAME,
    Extra,
    File,
    Manifest,
    Predecessor,
    read_manifest,
    write_manifest,
)
from stream.archive.replay import Track, open_replay
from stream.archive.sessions import Extent
from stream.archive.source import Log, LogRecord, Span
from stream.archive.tables import BOOKS, RECORD, TableWriter, sha256_of, write_records
from stream.errors import FileError, WireError
from stream.index.book import BookState
from stream.index.control import Roll
from stream.index.units import NS_PER_S
from stream.wire import checkpoints, control
from stream.wire.checkpoints import Checkpoint

BOOKS_FILE = "books.parquet"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export has come.

    Attributes
    ----------
    passed, of
        Offsets of ticks.
    rows
        Ticks written.
    """

    passed: int
    of: int
    rows: int


async def export(
    source: KafkaSource,
    extent: Extent | None,
    folder: Path,
    *,
    after: FolderSource | None = None,
    decoded: bool = False,
    force: bool = False,
    now_ns: int,
    on_progress: Callable[[Progress], object] = lambda _: None,
) -> Manifest:
    """Write the logs of a session to a folder.

    Parameters
    ----------
    source
        The topics, with the books that `after` ends with.
    extent
        The session's part of the topic `levels`, or None for all that is retained.
    folder
        Where to; it is there once it is complete.
    after
        An export of an earlier session, whose books at its end this one begins with.
    decoded
        Write files for analysts too.
    force
        Replace an export that is there.
    now_ns
        The time, ns since 1970 UTC.
    on_progress
        Told, now and then, how far it is.

    Returns
    -------
    Manifest

    Raises
    ------
    FileError
        Where the folder is there, or cannot be written.
    SetupError
        Where something that is needed was not kept.
    ServiceError
        Where the topics cannot be read.

    Notes
    -----
    One pass over the log from its first record, or from where `after` ends. Memory is that of some row groups.
    """
    with _staged(folder, force=force) as staging:
        writing = _Writing(source, staging, extent)
        compositions = Compositions(source)

        def tell() -> None:
            of = sum(track.span.end - track.start for track in replay.tracks.values())
            on_progress(Progress(replay.passed, of, writing.rows))

        async with open_replay(source, compositions, on_move=tell) as replay:
            for partition, track in replay.tracks.items():
                await writing.ticks(partition, track)
            incomplete = dict(replay.incomplete)
        await writing.levels()
        for needed in sorted(extent.compositions if extent else ()):
            await compositions.get(needed)
        await writing.log("compositions", None if extent is None else compositions.asked_for)
        await writing.log("control")
        manifest = Manifest(
            session=extent.session if extent else None,
            created=datetime.fromtimestamp(now_ns // NS_PER_S, UTC).isoformat(),
            code_version=__version__,
            calendar=source.calendar,
            price_rules=source.price_rules,
            records=tuple(writing.files),
            books=writing.books(),
            decoded=tuple(_decode(staging, writing.files)) if decoded else (),
            incomplete=incomplete,
            after=None if after is None else _predecessor(after),
            verify="capstream verify --from .",
        )
        write_manifest(manifest, staging)
    return manifest


class _Writing:
    """Writes the files of an export, and notes what is in them."""

    def __init__(self, source: KafkaSource, folder: Path, extent: Extent | None) -> None:
        self.files: list[File] = []
        self.rows = 0
        self._source = source
        self._folder = folder
        self._extent = extent
        self._books: list[tuple[str, BookState]] = []

    async def ticks(self, partition: int, track: Track) -> None:
        extent = self._extent
        if extent is not None:
            first = min(extent.least.get(partition, track.span.end), track.span.end)
            await track.go(
                max(first, track.start), before=lambda record: _rolls(record, extent.session)
            )
        self._books.append((START, track.book.state()))
        name = f"ticks-{partition}.parquet"
        with TableWriter(self._folder / name, RECORD) as writer:

            def write(records: Sequence[LogRecord]) -> None:
                write_records(writer, records)
                self.rows += len(records)

            if extent is not None:
                last = min(extent.most.get(partition, track.book.offset), track.span.end)
                await track.go(max(last, track.book.offset), on_records=write)
                await track.go(
                    track.span.end,
                    before=lambda record: _rolls(record, extent.session, away=True),
                    on_records=write,
                )
            else:
                await track.go(track.span.end, on_records=write)
        self._books.append((END, track.book.state()))
        start, end = (state.offset for _, state in self._books[-2:])
        self._note("ticks", partition, name, Span(start, end), writer.rows)

    async def levels(self) -> None:
        extent = self._extent
        if extent is None:
            await self.log("levels")
            return
        await self._copy("levels", Span(extent.start, extent.end), None)

    async def log(self, log: Log, keys: Collection[str] | None = None) -> None:
        """Write all of a log with one partition, or the records with some keys."""
        span = (await self._source.spans(log)).get(0, Span(0, 0))
        await self._copy(log, span, keys)

    async def _copy(self, log: Log, span: Span, keys: Collection[str] | None) -> None:
        wanted = None if keys is None else {key.encode() for key in keys}
        name = f"{log}.parquet"
        with TableWriter(self._folder / name, RECORD) as writer:
            async with aclosing(self._source.read(log, 0, *span)) as batches:
                async for batch in batches:
                    kept = [one for one in batch if wanted is None or one.key in wanted]
                    write_records(writer, kept)
        self._note(log, 0, name, span, writer.rows)

    def books(self) -> Extra:
        """Write the books."""
        path = self._folder / BOOKS_FILE
        partitions = len(self._books) // 2
        with TableWriter(path, BOOKS) as writer:
            for at, state in self._books:
                value = checkpoints.encode(Checkpoint(state, self._source.topic, partitions))
                writer.write(
                    {
                        "at": [at],
                        "partition": [state.partition],
                        "offset": [state.offset],
                        "value": [value],
                    }
                )
        return Extra(name=BOOKS_FILE, rows=writer.rows, sha256=sha256_of(path))

    def _note(self, log: Log, partition: int, name: str, span: Span, rows: int) -> None:
        self.files.append(
            File(
                name=name,
                log=log,
                topic=self._source.topics[log],
                partition=partition,
                start=span.start,
                end=span.end,
                rows=rows,
                sha256=sha256_of(self._folder / name),
            )
        )


def _rolls(record: LogRecord, session: str, *, away: bool = False) -> bool:
    """Tell whether a record begins a session; or, away from it, another one."""
    if record.value is None or not record.value.startswith(control.MAGIC):
        return False
    try:
        said = control.decode(record.value)
    except WireError:
        return False
    return isinstance(said, Roll) and (said.session == session) is not away


def _decode(folder: Path, files: Sequence[File]) -> Iterator[Extra]:
    compositions = folder / "compositions.parquet"
    for file in files:
        path = folder / file.name
        target = path.with_name(f"{path.stem}-decoded.parquet")
        if file.log == "ticks":
            rows = decode_ticks(path, target, compositions)
        elif file.log == "levels":
            rows = decode_levels(path, target)
        else:
            continue
        yield Extra(name=target.name, rows=rows, sha256=sha256_of(target))


def _predecessor(after: FolderSource) -> Predecessor:
    return Predecessor(session=after.manifest.session, sha256=sha256_of(after.folder / NAME))


def check_target(folder: Path, *, force: bool) -> None:
    """See to it that an export may take a place.

    Raises
    ------
    FileError
        Where something is there that is not to be replaced.
    """
    if folder.exists() and not force:
        raise FileError(f"{folder} is there already; --force replaces an export")
    if folder.exists():
        # What is no export is not ours to remove.
        read_manifest(folder)


@contextmanager
def _staged(folder: Path, *, force: bool) -> Iterator[Path]:
    """Give a folder beside the wanted one, which takes its place in one step once all is written."""
    check_target(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield staging
            staging.chmod(0o755)
            _replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise FileError(f"{folder}: {error.strerror or error}") from error


def _replace(staging: Path, folder: Path) -> None:
    old = staging.with_name(f"{staging.name}.old")
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    where = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(where)
    finally:
        os.close(where)
