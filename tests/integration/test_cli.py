"""The command line as users meet it: processes, exit statuses, one line of words where something is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.conftest import (
    DAY,
    MS,
    OPEN_NS,
    REFERENCE,
    Lab,
    capstream,
    eventually,
    frame,
    is_ready,
    last_prices,
    levels_of,
    read_rows,
    running,
    tick,
    told,
)
from stream.cli.main import COMMANDS, main
from stream.feed.run import replay

pytestmark = pytest.mark.timeout(120)

NOON = OPEN_NS + 9_000 * 1_000 * MS
HEADER = "ts,symbol,price,size,venue,cond\n"


def plain_environment(**changes: str) -> dict[str, str]:
    return {n: v for n, v in os.environ.items() if not n.startswith("CAPSTREAM_")} | changes


@contextmanager
def started(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in the background; whatever happens, it does not outlive the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for_line(process: subprocess.Popen[str], part: str) -> str:
    """Read standard error up to a line that holds some words."""
    assert process.stderr is not None
    for line in process.stderr:
        if part in line:
            return line
    return pytest.fail(f"it ended without {part!r}")


def one_line(done: subprocess.CompletedProcess[str], *, status: int = 2) -> str:
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert "Traceback" not in line
    return line


# ---- help and usage ------------------------------------------------------------------------------


def test_help_lists_every_command() -> None:
    """Status 0, on standard output."""
    done = capstream(plain_environment(), "--help")

    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each example begins with the command itself."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: capstream {command}" in text
    assert "examples:" in text
    assert re.search(rf"^ +(CAPSTREAM_\w+=\S+ )*capstream {command}", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["worker", "--fast"], "--fast"),
        (["worker", "--metrics-port", "many"], "many"),
        (["bench", "ingest"], "--bootstrap"),
        (["config"], "action"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], words: str) -> None:
    """The line names what is wrong."""
    assert words in one_line(capstream(plain_environment(), *arguments))


def test_an_unknown_setting_is_named() -> None:
    """A misspelt variable cannot be mistaken for a default."""
    done = capstream(plain_environment(CAPSTREAM_CADENCE="5"), "config", "show")

    line = one_line(done)
    assert "CAPSTREAM_CADENCE:" in line
    assert "CAPSTREAM_CADENCE_MS" in line


def test_config_show_hides_passwords_and_says_where_values_come_from() -> None:
    """A secret does not reach a terminal or a log."""
    environment = plain_environment(
        CAPSTREAM_REDIS_URL="redis://user:swordfish@127.0.0.1:6379/0", CAPSTREAM_CADENCE_MS="7"
    )
    table = capstream(environment, "config", "show")
    as_json = capstream(environment, "config", "show", "--json")

    assert (table.returncode, as_json.returncode) == (0, 0)
    assert "swordfish" not in table.stdout + table.stderr + as_json.stdout + as_json.stderr
    shown = json.loads(as_json.stdout.splitlines()[-1])
    assert shown["cadence_ms"] == {"value": 7, "from": "environment"}
    assert shown["group"]["from"] == "default"


# ---- levels --------------------------------------------------------------------------------------


def test_levels_without_trades_are_those_of_the_file_prices(constituents: Path) -> None:
    """Each index stands at its base level, and no event has been."""
    done = capstream(plain_environment(), "levels", "--constituents", str(constituents), "--json")

    report = told(done.stdout.splitlines()[-1].encode())
    assert done.returncode == 0
    assert (report["ticks"], report["applied"], report["refused"]) == (0, 0, {})
    assert report["levels"]["US1000"]["level"] == "1000.00000000"
    assert report["levels"]["US1000"]["market_value"] == levels_of(REFERENCE)["US1000"][1]
    assert report["levels"]["US1000"]["event_ns"] is None


def test_bad_lines_of_a_tape_cost_only_themselves_and_are_named(
    tmp_path: Path, constituents: Path
) -> None:
    """File, line and column of each, on standard error; the good lines count."""
    tape = tmp_path / "tape.csv"
    good = f"{NOON},AIG,49.00,100,N,@\n"
    tape.write_text(f"{HEADER}{good}{NOON},AIG,cheap,1,N,@\nyesterday,AIG,1,1,N,@\n{good}")
    done = capstream(
        plain_environment(), "levels", str(tape), "--constituents", str(constituents), "--json"
    )

    report = told(done.stdout.splitlines()[-1].encode())
    assert done.returncode == 0
    assert f"{tape}:3: price" in done.stderr
    assert f"{tape}:4: ts" in done.stderr
    assert (report["ticks"], report["applied"], report["refused"]) == (4, 2, {"malformed": 2})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("symbol,name\nAIG,x\n", ["price"]),
        (
            (
                "symbol,sector,size,float_shares,price\n"
                "AIG,Financials,large,10,5\nAIG,Financials,large,10,5\n"
                "IBM,Financials,large,-1,5\nBAC,Gambling,large,1,0\n"
            ),
            [":3:", "symbol", ":4:", "float_shares", ":5:", "sector", "price"],
        ),
        ("", [""]),
    ],
)
def test_bad_constituents_are_named_with_all_their_lines(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    """Status 2, and file, line and column of every bad line, not of the first."""
    path = tmp_path / "mine.csv"
    path.write_text(text)
    done = capstream(plain_environment(), "levels", "--constituents", str(path))

    assert (done.returncode, done.stdout) == (2, "")
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("name", ["nowhere.csv", "cut.csv.gz", "header.csv"])
def test_a_tape_that_cannot_be_read_is_one_line(
    tmp_path: Path, constituents: Path, name: str
) -> None:
    """Missing, cut short, or without a column."""
    (tmp_path / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00")
    (tmp_path / "header.csv").write_text("ts,symbol,size\n1,2,3\n")
    path = str(tmp_path / name)
    done = capstream(plain_environment(), "levels", path, "--constituents", str(constituents))

    assert path in one_line(done)


@pytest.mark.parametrize("at", ["noonish", "25:00", f"{DAY}T12:00:00"])
def test_a_time_that_is_none_is_one_line(tmp_path: Path, constituents: Path, at: str) -> None:
    """ISO 8601 without an offset is ambiguous, and so refused."""
    tape = tmp_path / "tape.csv"
    tape.write_text(f"{HEADER}{NOON},AIG,49.00,100,N,@\n")
    files = [str(tape), "--constituents", str(constituents)]

    assert at in one_line(capstream(plain_environment(), "levels", *files, "--at", at))


# ---- check, watch --------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_check_fails_where_nothing_runs_and_passes_where_all_does(lab: Lab) -> None:
    """A line for files, hours, Kafka and Redis each; status 1 names those that failed."""
    nothing = plain_environment(
        CAPSTREAM_KAFKA_URL=f"127.0.0.1:{free_port()}",
        CAPSTREAM_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
    )
    bad, good = capstream(nothing, "check"), capstream(lab.command(lab.settings()), "check")

    assert (bad.returncode, good.returncode) == (1, 0)
    assert [line.split()[:2] for line in bad.stdout.splitlines()] == [
        ["ok", "files"],
        ["ok", "hours"],
        ["failed", "kafka"],
        ["failed", "redis"],
    ]
    assert [line.split()[0] for line in good.stdout.splitlines()] == ["ok"] * 4
    assert "Traceback" not in bad.stderr + good.stderr


async def test_watch_once_shows_what_redis_holds(lab: Lab) -> None:
    """One JSON object with the very snapshots; before the first level, one line and status 2."""
    settings = lab.settings()
    environment = lab.command(settings)
    early = await asyncio.to_thread(capstream, environment, "watch", "--once")
    assert "no level" in one_line(early)
    worker = lab.worker(settings)
    async with lab.sender(settings) as sender, running(worker) as task:
        await sender.send(tick("AIG", "49", NOON))
        await eventually(
            lambda: is_ready(worker) and worker.intake.account.ticks and worker.idle, watch=task
        )
    snapshots = await lab.snapshots(settings)
    every = await asyncio.to_thread(capstream, environment, "watch", "--once", "--json")
    one = await asyncio.to_thread(capstream, environment, "watch", "US1000", "--once", "--json")
    table = await asyncio.to_thread(capstream, environment, "watch", "--once")

    assert (every.returncode, one.returncode, table.returncode) == (0, 0, 0)
    assert told(every.stdout.splitlines()[-1].encode())["levels"] == snapshots
    assert set(json.loads(one.stdout.splitlines()[-1])["levels"]) == {"US1000"}
    assert "US1000-FINANCIALS" in table.stdout


# ---- worker --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_cleanly_on_a_signal(lab: Lab, number: signal.Signals) -> None:
    """With status 0, within seconds, having printed where its metrics are."""
    with started(
        lab.command(lab.settings(log_level="INFO")), "worker", "--metrics-port", "0"
    ) as it:
        assert re.search(r"http://127\.0\.0\.1:\d+/metrics", wait_for_line(it, "metrics:"))
        wait_for_line(it, "publishing epoch")
        asked = time.monotonic()
        it.send_signal(number)
        _, errors = it.communicate(timeout=30)

        assert it.returncode == 0, errors
        assert time.monotonic() - asked < 15
        assert "Traceback" not in errors


def test_a_worker_whose_port_is_taken_says_so_in_one_line(lab: Lab) -> None:
    """The line names the port and the option that mends it; status 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = capstream(lab.command(lab.settings()), "worker", "--metrics-port", port)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert port in last
    assert "--metrics-port" in last


def test_a_worker_without_kafka_says_so_and_waits_for_it(lab: Lab) -> None:
    """The address, at once; and it can be stopped while it waits."""
    settings = lab.settings(kafka_url=f"127.0.0.1:{free_port()}")
    with started(lab.command(settings), "worker", "--metrics-port", "0") as process:
        said = wait_for_line(process, "kafka_failed")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

    assert settings.kafka_url in said
    assert process.returncode == 0


# ---- demo ----------------------------------------------------------------------------------------


def test_a_demo_of_some_seconds_ends_with_a_summary(lab: Lab) -> None:
    """Against services that run already: status 0, ticks in and levels out."""
    settings = lab.settings(constituents="", partitions=2)
    arguments = ("--seconds", "3", "--rate", "2000", "--phase", "regular")
    done = capstream(lab.command(settings), "demo", *arguments, timeout=90)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    summary = done.stdout
    ticks = re.search(r"^ticks +([\d,]+) in, ([\d,]+) applied", summary, re.MULTILINE)
    assert ticks is not None
    n, applied = (int(text.replace(",", "")) for text in ticks.groups())
    # Futures come on top, and the auctions before it begins.
    assert n >= 6_000
    assert 0 < applied <= n
    for words in ("US1000", "US2000", "simulated", "publications", "spread"):
        assert words in summary


def test_ctrl_c_ends_a_demo_cleanly(lab: Lab) -> None:
    """As the end of its time would: status 0 and the summary."""
    settings = lab.settings(constituents="", partitions=2)
    with started(lab.command(settings), "demo", "--rate", "500") as demo:
        wait_for_line(demo, "metrics")
        demo.send_signal(signal.SIGINT)
        out, errors = demo.communicate(timeout=40)

    assert demo.returncode == 0, errors
    assert "Traceback" not in errors
    assert re.search(r"^ticks ", out, re.MULTILINE)


# ---- bench ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message_format", "frame_size"), [("json", 1), ("frame", 500)])
async def test_bench_ingest_reads_a_topic_to_redis(
    lab: Lab, tape: Path, message_format: str, frame_size: int
) -> None:
    """The ticks that are there, published, at the oracle's levels; what people watch is not touched."""
    rows = read_rows(tape)
    settings = lab.settings(partitions=3)
    await replay(settings, tape, speed=None, format=message_format, frame_size=frame_size)  # type: ignore[arg-type]
    arguments = ["--bootstrap", settings.kafka_url, "--topic", settings.ticks_topic]
    arguments += ["--ticks", str(len(rows)), "--constituents", str(lab.constituents), "--json"]
    done = await asyncio.to_thread(capstream, lab.command(settings), "bench", "ingest", *arguments)

    assert done.returncode == 0, done.stderr
    figures = told(done.stdout.splitlines()[-1].encode())
    assert figures["ticks"] == len(rows)
    assert figures["published"] > 0
    assert float(figures["ticks_per_s"]) > 0
    for code, (level, _) in levels_of(last_prices(rows)[0]).items():
        assert figures["levels"][code] == level
    assert await lab.snapshots(settings) == {}


async def test_bench_ingest_of_too_few_ticks_gives_up(lab: Lab) -> None:
    """It says how many came, in one line, and does not wait for ever."""
    settings = lab.settings()
    await lab.make_topic(settings)
    async with lab.sender(settings) as sender:
        await sender.send(frame(("AIG", NOON, 490_000)))
    arguments = ["--bootstrap", settings.kafka_url, "--topic", settings.ticks_topic]
    arguments += ["--ticks", "2", "--idle-s", "3", "--constituents", str(lab.constituents)]
    done = await asyncio.to_thread(
        capstream, lab.command(settings), "bench", "ingest", *arguments, "--json"
    )

    assert "1 of 2" in one_line(done)
