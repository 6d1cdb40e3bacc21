"""Records in Parquet files: their bytes as Kafka kept them, row groups of bounded size, compressed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from stream.archive.source import LogRecord
from stream.errors import FileError

#: Rows of a row group: what a reader has to hold at once.
ROW_GROUP = 50_000

#: A row group is closed earlier where its values are this large together.
ROW_GROUP_BYTES = 32 * 1024 * 1024

_BATCH = 5_000
_HASHED_AT_ONCE = 1024 * 1024

RECORD = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
    ]
)

BOOKS = pa.schema(
    [
        pa.field("at", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("value", pa.binary(), nullable=False),
    ]
)


class TableWriter:
    """Writes one file, row group by row group.

    Parameters
    ----------
    path
        Where to.
    schema
        Its columns.

    Attributes
    ----------
    rows
        Written so far.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        self.rows = 0
        self._path = path
        self._schema = schema
        # Values hardly repeat; what does is found by the compression.
        words = [name for name in schema.names if name != "value"]
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=words, write_statistics=True
        )
        self._waiting: list[Any] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()
        with self._path.open("rb") as written:
            os.fsync(written.fileno())

    def write(self, columns: Mapping[str, Any]) -> None:
        """Write rows, given by column: lists, or arrays of numpy's or pyarrow's."""
        table = pa.table(dict(columns), schema=self._schema)
        self.rows += table.num_rows
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self._waiting_bytes += table.nbytes
        if self._waiting_rows >= ROW_GROUP or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0


def write_records(writer: TableWriter, records: Sequence[LogRecord]) -> None:
    """Write records of a log as they are."""
    writer.write(
        {
            "offset": [one.offset for one in records],
            "timestamp": [one.timestamp for one in records],
            "key": [one.key for one in records],
            "value": [one.value for one in records],
        }
    )


def read_records(path: Path, start: int, end: int) -> Iterator[list[LogRecord]]:
    """Read the records of a log between two offsets.

    Parameters
    ----------
    path
        A file written by `write_records`.
    start, end
        Offsets, half-open.

    Yields
    ------
    list of LogRecord
        In order.

    Raises
    ------
    FileError
        Where it cannot be read.
    """
    for columns in read_columns(path, RECORD.names, start=start, end=end):
        records = [LogRecord(*row) for row in zip(*columns, strict=True) if start <= row[0] < end]
        if records:
            yield records


def read_columns(
    path: Path, names: Sequence[str], *, start: int | None = None, end: int | None = None
) -> Iterator[list[list[Any]]]:
    """Read some columns of a file, some thousand rows at a time.

    Parameters
    ----------
    path
        Of the file.
    names
        Of the columns; times come as integers.
    start, end
        Row groups whose first column lies outside these are passed over.

    Yields
    ------
    list of list
        A list of values for each column.

    Raises
    ------
    FileError
        Where it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            groups = [
                number
                for number in range(file.metadata.num_row_groups)
                if _meets(file.metadata.row_group(number).column(0).statistics, start, end)
            ]
            for batch in file.iter_batches(_BATCH, row_groups=groups, columns=list(names)):
                yield [_plain(batch.column(name)).to_pylist() for name in names]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise FileError(f"{path}: {error}") from error


def _meets(statistics: Any, start: int | None, end: int | None) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return (start is None or statistics.max >= start) and (end is None or statistics.min < end)


def _plain(column: Any) -> Any:
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def sha256_of(path: Path) -> str:
    """Give the SHA-256 digest of a file.

    Raises
    ------
    FileError
        Where it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as data:
            while chunk := data.read(_HASHED_AT_ONCE):
                digest.update(chunk)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    return digest.hexdigest()
