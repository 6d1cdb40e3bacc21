"""Constituents and index files on disk, turned into a composition."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TextIO

from stream.errors import FileError
from stream.index.composition import Composition
from stream.index.definitions import Definition, IndexFile, read_definitions, read_index_file
from stream.index.futures import Futures, read_futures
from stream.index.universe import Universe, read_universe

_BUNDLED = resources.files("stream.index") / "bundled"
_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, plain or gzipped, in UTF-8 with or without a byte order mark.

    Raises
    ------
    FileError
        Where it cannot be opened, or what is read from it is not UTF-8 or not whole.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            raw.seek(0)
            plain = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: expected UTF-8, found {error.object[error.start]:#04x}"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def load_composition(
    constituents: Path | None = None, indexes: Path | None = None, futures: Path | None = None
) -> Composition:
    """Build the composition that files describe.

    Parameters
    ----------
    constituents
        Path of a constituents file, or None for the bundled one.
    indexes
        Path of index definitions that add to the bundled ones or replace them, or None.
    futures
        Path of a futures file that replaces the bundled one, or None.

    Raises
    ------
    FileError, CompositionError
        Saying what is wrong, and where.
    """
    text = _read(indexes) if indexes is not None else ""
    rules = read_index_file(text, file=str(indexes))
    universe = _load_universe(constituents, rules)
    definitions: tuple[Definition, ...] = ()
    if not rules.replaces:
        bundled = (_BUNDLED / "indexes.toml").read_text("utf-8")
        definitions = read_definitions(bundled, universe=universe, file="indexes.toml")
    own = read_definitions(text, universe=universe, file=str(indexes))
    known = {definition.code for definition in definitions}
    twice = [definition.code for definition in own if definition.code in known]
    if twice:
        raise FileError(
            f"{indexes}: index {twice[0]} is bundled already: choose another code, or set replace = true"
        )
    return Composition.build(universe, (*definitions, *own), _load_futures(futures))


def _load_futures(path: Path | None) -> Futures:
    if path is None:
        return read_futures((_BUNDLED / "futures.toml").read_text("utf-8"), file="futures.toml")
    return read_futures(_read(path), file=str(path))


def _load_universe(path: Path | None, rules: IndexFile) -> Universe:
    if path is None:
        lines = (_BUNDLED / "us_universe.csv").read_text("utf-8").splitlines()
        return read_universe(lines, file="us_universe.csv")
    with open_text(path) as text:
        return read_universe(text, file=str(path), sectors=rules.sectors)


def _read(path: Path) -> str:
    with open_text(path) as text:
        return text.read()
