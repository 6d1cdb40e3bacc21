"""A folder of exported files as a source: the same records, the same verification."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from stream.archive.manifest import File, Manifest, read_manifest
from stream.archive.source import Log, LogRecord, Span
from stream.archive.tables import read_columns, read_records, sha256_of
from stream.errors import FileError, WireError
from stream.index.book import BookState
from stream.wire import checkpoints

START, END = "start", "end"


class FolderSource:
    """Reads an export.

    Parameters
    ----------
    folder
        Where it is.

    Attributes
    ----------
    folder
        As given.
    manifest
        What the folder says of itself.
    name, topic, calendar, price_rules, incomplete
        As in `Source`.

    Raises
    ------
    FileError
        Where it is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        self.name = str(folder)
        self.topic = next((f.topic for f in self.manifest.records if f.log == "ticks"), "")
        self.calendar = self.manifest.calendar
        self.price_rules = self.manifest.price_rules
        self.incomplete: Mapping[int, int] = self.manifest.incomplete

    @property
    def states(self) -> Mapping[int, BookState]:
        """Books at the start of the ticks."""
        return {state.partition: state for at, state in self._books if at == START}

    @property
    def ends(self) -> Mapping[int, BookState]:
        """Books at the end of the ticks."""
        return {state.partition: state for at, state in self._books if at == END}

    def altered(self, on_file: Callable[[int, int], object] = lambda _, __: None) -> Iterator[str]:
        """Find the files that are not as they were written.

        Parameters
        ----------
        on_file
            Told, before each file, its number and how many there are.

        Yields
        ------
        str
            What is wrong with a file, in a line.

        Raises
        ------
        FileError
            Where one cannot be read.

        Notes
        -----
        O(bytes of all files).
        """
        files = self.manifest.files()
        for number, file in enumerate(files):
            on_file(number, len(files))
            digest = sha256_of(self.folder / file.name)
            if digest != file.sha256:
                yield f"{self.folder / file.name} was altered: SHA-256 {digest}, {file.sha256} when it was exported"

    async def spans(self, log: Log) -> Mapping[int, Span]:
        """Give what the files hold of a log."""
        return {f.partition: Span(f.start, f.end) for f in self.manifest.records if f.log == log}

    async def read(
        self, log: Log, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[LogRecord]]:
        """Read a part of a log.

        Raises
        ------
        FileError
            Where its file cannot be read.
        """
        for records in read_records(self.folder / self._file(log, partition).name, start, end):
            yield records

    def _file(self, log: Log, partition: int) -> File:
        for file in self.manifest.records:
            if (file.log, file.partition) == (log, partition):
                return file
        raise FileError(f"{self.folder}: no file holds partition {partition} of {log}")

    @cached_property
    def _books(self) -> list[tuple[str, BookState]]:
        # Read when they are asked for: whether they were altered is asked first.
        return list(self._read_books())

    def _read_books(self) -> Iterator[tuple[str, BookState]]:
        path = self.folder / self.manifest.books.name
        for columns in read_columns(path, ("at", "value")):
            for at, value in zip(*columns, strict=True):
                try:
                    yield at, checkpoints.decode(value).state
                except WireError as error:
                    raise FileError(
                        f"{path}: {error}; the program that wrote it is version {self.manifest.code_version}"
                    ) from error
