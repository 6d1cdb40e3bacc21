"""Constituents and index files on disk: plain or packed, with any line ends, and what is wrong with them."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from stream.errors import CompositionError, FileError
from stream.files import load_composition, open_text

LINES = [
    "symbol,name,price,float_shares,sector,size",
    "A,Ärger,1,100,Energy,large",
    "B,Bee,2,100,Rails,small",
]
RULES = """
replace = true

[sectors]
Rails = "INDUSTRIALS"

[[index]]
code = "MINE"
by = "sector"
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Write an index file that replaces the bundled ones."""
    path = tmp_path / "mine.toml"
    path.write_text(RULES, "utf-8")
    return path


def written(folder: Path, data: bytes) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("packed", [False, True], ids=["text", "gzip"])
def test_a_file_reads_the_same_with_any_wrapping(
    tmp_path: Path, rules: Path, mark: bytes, end: str, *, packed: bool
) -> None:
    """Byte order mark, line ends and gzip are no part of the contents."""
    data = mark + (end.join(LINES) + end).encode()

    composition = load_composition(
        written(tmp_path, gzip.compress(data) if packed else data), rules
    )

    assert composition.codes == ("MINE", "MINE-ENERGY", "MINE-INDUSTRIALS")
    assert composition.universe.symbols == ("A", "B")
    assert composition.universe.instruments[0].attributes["name"] == "Ärger"
    assert composition.universe.instruments[1].attributes["size"] == "small"


def test_a_users_indexes_stand_beside_the_bundled_ones(tmp_path: Path) -> None:
    """Unless the file says that it replaces them."""
    path = tmp_path / "more.toml"
    path.write_text('[[index]]\ncode = "MINE"\nweighting = "price"', "utf-8")

    codes = load_composition(indexes=path).codes

    assert len(codes) == 39
    assert (codes[0], codes[-1]) == ("US1000", "MINE")


def test_replace_leaves_only_the_users_indexes(tmp_path: Path) -> None:
    """On the bundled universe as on one's own."""
    path = tmp_path / "only.toml"
    path.write_text('replace = true\n[[index]]\ncode = "US1000"', "utf-8")

    assert load_composition(indexes=path).codes == ("US1000",)


def test_a_code_that_is_bundled_already_is_refused(tmp_path: Path) -> None:
    """The message says both ways out."""
    path = tmp_path / "more.toml"
    path.write_text('[[index]]\ncode = "US1000"', "utf-8")

    with pytest.raises(
        FileError, match=r"more\.toml: index US1000 is bundled already: .* replace = true"
    ):
        load_composition(indexes=path)


def test_errors_of_a_file_name_it(tmp_path: Path, rules: Path) -> None:
    """Path, line and column."""
    bad = written(tmp_path, b"symbol,price,float_shares\nA,0,1\n")

    with pytest.raises(FileError, match=r"mine\.csv:2: price: expected more than 0, found '0'"):
        load_composition(bad, rules)


def test_the_bundled_universe_is_read_with_its_own_indexes_only(rules: Path) -> None:
    """With constituents of another kind the bundled definitions select nothing, and that is said."""
    other = rules.with_name("other.csv")
    other.write_text("symbol,price,float_shares\nA,1,1\n", "utf-8")

    assert load_composition(indexes=rules).codes[0] == "MINE"
    with pytest.raises(CompositionError, match="no column size"):
        load_composition(other)


def packed_csv() -> bytes:
    lines = [f"S{i},1,{i * 7919 % 1000 + 1}" for i in range(9999)]
    return gzip.compress("\n".join(["symbol,price,float_shares", *lines]).encode(), mtime=0)


@pytest.mark.parametrize("length", [3, 11, 100, 10_000])
def test_a_packed_file_that_ends_early_is_an_error_of_the_file(tmp_path: Path, length: int) -> None:
    """A download that broke off is not a shorter universe."""
    with pytest.raises(FileError, match=r"mine\.csv"):
        load_composition(written(tmp_path, packed_csv()[:length]))


@pytest.mark.parametrize("position", [2, 12, 20, 3020, 9020, -5])
def test_a_damaged_packed_file_is_an_error_of_the_file(tmp_path: Path, position: int) -> None:
    """Whether the header, the contents or the checksum do not fit."""
    data = bytearray(packed_csv())
    data[position] ^= 0x55

    with pytest.raises(FileError, match=r"mine\.csv"):
        load_composition(written(tmp_path, bytes(data)))


def test_text_that_is_not_utf8_is_refused_with_its_byte(tmp_path: Path) -> None:
    """Latin-1 is the likely reason."""
    data = "symbol,name,price,float_shares\nA,Ärger,1,1\n".encode("latin-1")

    with pytest.raises(FileError, match=r"mine\.csv: expected UTF-8, found 0xc4"):
        load_composition(written(tmp_path, data))


@pytest.mark.parametrize("name", ["nothing.csv", "folder"])
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    """A missing file, or a folder in its place."""
    (tmp_path / "folder").mkdir()

    with pytest.raises(FileError, match=name):
        load_composition(tmp_path / name)
    with pytest.raises(FileError, match=name):
        load_composition(indexes=tmp_path / name)


def test_text_is_read_as_it_stands(tmp_path: Path) -> None:
    """Line ends are left to the reader, so that quoted ones survive."""
    with open_text(written(tmp_path, b"a\r\nb\n")) as text:
        assert text.read() == "a\r\nb\n"


def test_the_shared_universe_reads_like_the_bundled_one(shared: Path, tmp_path: Path) -> None:
    """Sector names of the source are mapped to ours, and make the same composition."""
    copy = shutil.copy(shared / "data" / "us_universe.csv", tmp_path)

    own, bundled = load_composition(Path(copy)), load_composition()

    assert own.id == bundled.id
    assert own.codes == bundled.codes
