"""The manifest of an export: what is in its files, where it came from, and what else a reader has to know."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stream.archive.source import Log
from stream.errors import FileError
from stream.index.price_rules import PriceRules

NAME = "manifest.json"
FORMAT = "capstream-archive"
VERSION = 1


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of records.

    Attributes
    ----------
    name
        In the folder.
    log, topic, partition
        What it holds.
    start, end
        Offsets, half-open.
    rows
        How many records.
    sha256
        Of its bytes.
    """

    name: str
    log: Log
    topic: str
    partition: int
    start: int
    end: int
    rows: int
    sha256: str


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """One file beside the records.

    Attributes
    ----------
    name
        In the folder.
    rows
        How many.
    sha256
        Of its bytes.
    """

    name: str
    rows: int
    sha256: str


class Predecessor(msgspec.Struct, frozen=True, kw_only=True):
    """The export that this one goes on from.

    Attributes
    ----------
    session
        Its own.
    sha256
        Of its manifest.
    """

    session: str | None
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `manifest.json`.

    Attributes
    ----------
    format, version
        Of the export.
    session
        Trade date, or None where it holds all that was retained.
    created
        When, UTC.
    code_version
        Of the program that wrote it; the one that published each level stands in the level.
    calendar
        The user's own closures and hours, as their file has them; empty where there is none. It decides which ticks count.
    price_rules
        What was held back as a suspect.
    records
        A file for each log and partition.
    books
        The books of all partitions at the start and at the end of their ticks.
    decoded
        Files for analysts, which no verification reads.
    incomplete
        Partitions whose log no longer began at its start, and where it did: the books at the start may lack prices.
    after
        The export whose books at the end are this one's at the start, or None.
    verify
        The command, where it is run in the folder.
    """

    format: str = FORMAT
    version: int = VERSION
    session: str | None
    created: str
    code_version: str
    calendar: str
    price_rules: PriceRules
    records: tuple[File, ...]
    books: Extra
    decoded: tuple[Extra, ...] = ()
    incomplete: dict[int, int] = {}
    after: Predecessor | None = None
    verify: str = ""

    def files(self) -> tuple[File | Extra, ...]:
        """Give all files."""
        return (*self.records, self.books, *self.decoded)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an export.

    Raises
    ------
    FileError
        Where there is none, or not one of this version.
    """
    path = folder / NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise FileError(f"{folder} is no export: {NAME}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: {error}") from error
    if (manifest.format, manifest.version) != (FORMAT, VERSION):
        raise FileError(
            f"{path}: expected {FORMAT} version {VERSION}, found {manifest.format} version {manifest.version}"
        )
    for file in manifest.files():
        if Path(file.name).name != file.name:
            raise FileError(f"{path}: {file.name!r} is not the name of a file in this folder")
    return manifest


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of an export, for people too."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / NAME).write_bytes(text + b"\n")
