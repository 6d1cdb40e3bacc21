"""The documentation is complete, and says nothing that the code does not."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream.cli.main import COMMANDS
from stream.settings import Settings, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
ROW = re.compile(r"^\| `(CAPSTREAM_\w+)` \| (?:`(.*?)`|empty) \| \S.* \|$", re.MULTILINE)

NOT_OURS = {".git", ".venv", "__pycache__", "build", "dist"}
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
TRADEMARK = re.compile("russell", re.IGNORECASE)


def our_texts() -> Iterator[tuple[Path, str]]:
    """Give every text file of the project but this one, which has to name what it forbids."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and "cache" not in name]
        for name in names:
            path = Path(folder) / name
            if path == Path(__file__).resolve():
                continue
            try:
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_every_setting_is_documented_with_its_default() -> None:
    """The table of settings and the code have the same names and the same defaults."""
    table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = dict(ROW.findall(table))
    default = Settings()

    assert documented == {
        variable(name): as_text(getattr(default, name)) for name in Settings.__struct_fields__
    }


def test_the_table_of_settings_has_no_row_that_is_not_understood() -> None:
    """Each line that names a variable first is a row with a default and a meaning."""
    table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert table.count("\n| `") == len(ROW.findall(table)) == len(Settings.__struct_fields__)


def test_every_variable_that_is_named_exists() -> None:
    """No page names a CAPSTREAM_ variable that the program would refuse."""
    known = {variable(name) for name in Settings.__struct_fields__}

    for page in PAGES:
        named = set(re.findall(r"\bCAPSTREAM_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
        assert named <= known, page


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    """The README or a page of docs/ shows the command."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

    assert re.search(rf"\bcapstream {command}\b", pages), f"no page shows `capstream {command}`"


def test_the_trademark_is_named_in_the_notice_alone() -> None:
    """Only pages that explain it name the trademark of others."""
    naming = {path for path, text in our_texts() if TRADEMARK.search(text)}

    assert {path for path in naming if ROOT / path not in PAGES} == set()


def test_nothing_is_left_for_later() -> None:
    """No file has a marker of unfinished work."""
    assert {path for path, text in our_texts() if UNFINISHED.search(text)} == set()


def as_text(value: object) -> str:
    """Write a value as one would in the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)
