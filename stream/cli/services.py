"""``capstream services``: a Kafka and a Redis that stay up between commands."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from stream.cli.common import home_folder, load_settings
from stream.services.state import Running, bring_up, read_state, take_down

if TYPE_CHECKING:
    from stream.services.saying import Say

_EPILOG = """\
examples:
  capstream services up             start both, print two lines for the shell
  eval "$(capstream services up)"   start both, and let this shell's commands use them
  capstream services status         tell what runs; exit 1 when nothing does
  capstream services down           stop exactly what was started
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program.

    Parameters
    ----------
    commands : argparse subparsers
        The program's commands.
    """
    parser = commands.add_parser(
        "services",
        help="start and stop a real Kafka and Redis, without Docker",
        description=(
            "Start, stop or look at a real Kafka and a real Redis on the loopback, which stay up "
            "until they are taken down. The first start downloads Kafka, once."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["up", "down", "status"], help="what to do")
    parser.add_argument(
        "--home",
        type=Path,
        metavar="FOLDER",
        help="where to keep data and state (default: CAPSTREAM_HOME, else the user data folder)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on the last line"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say.

    Parameters
    ----------
    args : argparse.Namespace
        With `action`, `home` and `json`.

    Returns
    -------
    int
        The exit status: 1 from ``status`` when nothing runs, else 0.

    Raises
    ------
    SetupError
        A part that the services are made of is not installed.
    ServiceError
        A service did not start or stop.
    """
    home = args.home or home_folder(load_settings(find_services=False))
    # Standard output has the lines for the shell alone.
    say = Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print
    action = {"up": _up, "down": _down, "status": _status}[args.action]
    return action(home, as_json=args.json, say=say)


def _up(home: Path, *, as_json: bool, say: Say) -> int:
    addresses, started = bring_up(home, say=say)
    if not started:
        say("Kafka and Redis are already up")
    _write(f"export CAPSTREAM_KAFKA_URL={addresses.kafka_url}")
    _write(f"export CAPSTREAM_REDIS_URL={addresses.redis_url}")
    if as_json:
        _write(json.dumps({"started": started, **asdict(addresses)}))
    return 0


def _down(home: Path, *, as_json: bool, say: Say) -> int:
    stopped = take_down(home)
    say(f"Stopped {_names(stopped)}" if stopped else "Nothing was up")
    if as_json:
        _write(json.dumps({"stopped": sorted(stopped)}))
    return 0


def _status(home: Path, *, as_json: bool, say: Say) -> int:
    state = read_state(home)
    for name, service in sorted(state.items()):
        _write(f"{name} runs at {service.url} (process {service.pids.service})")
    if not state:
        say("Nothing runs; start both with: capstream services up")
    if as_json:
        _write(json.dumps({name: asdict(service) for name, service in sorted(state.items())}))
    return 0 if state else 1


def _names(state: dict[str, Running]) -> str:
    return " and ".join(name.capitalize() for name in sorted(state))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
