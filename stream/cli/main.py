"""The command `capstream`: finds the command's file, runs it, turns errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from stream import __version__
from stream.errors import CapstreamError

#: One module of `stream.cli` each, in the order of `--help`.
COMMANDS = (
    "demo",
    "services",
    "worker",
    "simulate",
    "replay",
    "watch",
    "levels",
    "verify",
    "export",
    "override",
    "sessions",
    "check",
    "config",
    "bench",
)

USAGE_ERROR = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all of ours."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and end with status 2."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Build the parser of some commands: importing them all takes a second, so only what is asked for is."""
    parser = Parser(
        prog="capstream",
        description="Real-time float-adjusted equity index levels: trades in from Kafka, exact levels out to Redis.",
        epilog="Settings are environment variables, CAPSTREAM_...: `capstream config show` lists them.",
    )
    parser.add_argument("--version", action="version", version=f"capstream {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name in names:
        importlib.import_module(f"stream.cli.{name}").add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit status: 0 done, 1 a check failed, 2 wrong usage or set-up."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    names = given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS
    args = build_parser(names).parse_args(given)
    try:
        return int(args.run(args))
    except CapstreamError as error:
        sys.stderr.write(f"capstream: {error}\n")
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): not an error, but nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
