"""The laws of the building: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "stream").rglob("*.py"))

#: The one module that may look at the environment.
READER = "stream/cli/common.py"

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
UNSAFE_FORMATS = {"dill", "marshal", "pickle", "shelve"}


def test_import_contracts_hold() -> None:
    """Rooms import downwards only, and the pure rooms import no adapter, not even indirectly."""
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command()"

    done = subprocess.run(
        [sys.executable, "-c", linter, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_does_what_is_forbidden(path: Path) -> None:
    """The environment is read in one place, nothing is unpickled, no text is run as code."""
    source = path.read_text(encoding="utf-8")

    found = forbidden(source)

    if path.relative_to(ROOT).as_posix() == READER:
        found = [line for line in found if "environment" not in line]
    assert found == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nos.environ['HOME']", ["2: environment"]),
        ("import os\nos.getenv('HOME')", ["2: environment"]),
        ("from os import path, environ", ["1: environment"]),
        ("import json, pickle", ["1: pickle"]),
        ("from marshal import loads", ["1: marshal"]),
        ("eval('1')\nexec('2')", ["1: eval", "2: exec"]),
        ("import os\nos.getpid()", []),
        ("import re\nre.compile('a')", []),
    ],
)
def test_what_is_forbidden_is_found(source: str, expected: list[str]) -> None:
    """The search finds each forbidden thing in all its spellings, and nothing else."""
    assert forbidden(source) == expected


def forbidden(source: str) -> list[str]:
    """List what is forbidden in a module, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in ENVIRONMENT:
                found.append((node.lineno, "environment"))
            case ast.ImportFrom(module="os", names=names):
                found += [(node.lineno, "environment") for one in names if one.name in ENVIRONMENT]
            case ast.Import(names=names):
                found += [(node.lineno, one.name) for one in names if one.name in UNSAFE_FORMATS]
            case ast.ImportFrom(module=module) if module in UNSAFE_FORMATS:
                found.append((node.lineno, str(module)))
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                found.append((node.lineno, name))
    return [f"{line}: {what}" for line, what in sorted(found)]
