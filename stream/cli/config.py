"""`capstream config show`: every setting, its value and where that came from."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from stream.cli.common import given, load_settings, print_json
from stream.settings import variable


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "config",
        help="settings, and where each value came from",
        description="Show the settings that commands in this shell would run with.",
        epilog="examples:\n  capstream config show\n  CAPSTREAM_CADENCE_MS=10 capstream config show --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["show"])
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the settings."""
    asked = load_settings(find_services=False).shown()
    shown = load_settings().shown()
    origins = {name: _origin(name, asked[name], value) for name, value in shown.items()}
    if args.json:
        print_json({name: {"value": value, "from": origins[name]} for name, value in shown.items()})
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("variable", "value", "from"):
        table.add_column(column, overflow="fold")
    for name, value in shown.items():
        table.add_row(variable(name), str(value), origins[name])
    Console().print(table)
    return 0


def _origin(name: str, asked: object, shown: object) -> str:
    if given(name):
        return "environment"
    return "default" if asked == shown else "services"
