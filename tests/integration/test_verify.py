"""Sessions that a worker recorded on a real Kafka: computed again from the topics, and from files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

from integration.conftest import (
    CODES,
    DAY,
    MS,
    OPEN_NS,
    Lab,
    Sender,
    capstream,
    eventually,
    is_ready,
    levels_of,
    running,
    tick,
    told,
)
from integration.logs import Recording, report
from stream.index.control import OriginRecord, Roll
from stream.pipeline.worker import Worker
from stream.settings import Settings
from stream.wire import control

pytestmark = pytest.mark.timeout(180)

NEXT_DAY = "2013-10-08"
DAY_NS = 24 * 3600 * 1_000 * MS
HOME = {"AIG": 0, "BAC": 0, "IBM": 1}
PRICE = {"AIG": 485_000, "BAC": 140_500, "IBM": 1_841_000}


# ---- a recording of two sessions, the first with two publishers ----------------------------------


async def say(sender: Sender, day: str, opens_ns: int) -> None:
    roll = Roll(day, opens_ns - 9 * 3600 * 1_000 * MS, opens_ns + 14 * 3600 * 1_000 * MS)
    for partition in range(2):
        await sender.send(control.encode(roll), key=None, partition=partition)


async def trade(sender: Sender, worker: Worker, task: Any, *, opens_ns: int, n: int) -> None:
    """Send ticks one by one, each seen in a publication before the next."""
    for number in range(n):
        symbol = ("AIG", "BAC", "IBM")[number % 3]
        price = PRICE[symbol] + 1_700 * ((number * 29) % 17 - 8)
        text = f"{price // 10_000}.{price % 10_000:04d}"
        value = tick(symbol, text, opens_ns + number * MS, seq=number + 1)
        partition = HOME[symbol]
        offset = await sender.send(value, partition=partition)
        await eventually(partial(is_published, worker, partition, offset), watch=task)


def is_published(worker: Worker, partition: int, offset: int) -> bool:
    return (
        worker.idle
        and worker.aggregator is not None
        and worker.aggregator.total().offsets[partition] > offset
    )


async def record(lab: Lab, settings: Settings) -> None:
    await lab.make_topic(settings)
    async with lab.sender(settings) as sender:
        for partition in range(2):
            await sender.send(control.encode(OriginRecord("replay")), key=None, partition=partition)
        await say(sender, DAY, OPEN_NS)
        for half in range(2):
            worker = lab.worker(settings)
            async with running(worker) as task:
                await eventually(partial(is_ready, worker), watch=task)
                opens_ns = OPEN_NS + half * 3_600 * 1_000 * MS
                await trade(sender, worker, task, opens_ns=opens_ns, n=24)
                if half:
                    await say(sender, NEXT_DAY, OPEN_NS + DAY_NS)
                    await trade(sender, worker, task, opens_ns=OPEN_NS + DAY_NS, n=12)


@pytest.fixture(scope="module")
def recording(lab: Lab) -> Recording:
    settings = lab.settings(partitions=2)

    async def made() -> list[ConsumerRecord]:
        await record(lab, settings)
        return await lab.read_topic(settings.levels_topic)

    return Recording(lab, settings, asyncio.run(made()))


def one_line(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


def last_digit(value: bytes) -> tuple[bytes, str, str]:
    """Alter the last digit of a level; give the new record, and the level before and after."""
    level = told(value)["level"]
    other = level[:-1] + str((int(level[-1]) + 1) % 10)
    return value.replace(b'"level":' + level.encode(), b'"level":' + other.encode()), level, other


# ---- from the topics -----------------------------------------------------------------------------


def test_a_recorded_session_passes(recording: Recording) -> None:
    """Each level that was kept of it is computed again, to the last digit, across a change of publishers."""
    done = recording.run("verify", "--session", DAY, "--json")

    found = report(done)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["passed"]
    assert found["verified"] == found["records"] == len(recording.of(DAY)) > 20
    assert found["epochs"] == {
        str(epoch): n
        for epoch in {told(one.value)["epoch"] for one in recording.of(DAY)}
        if (n := sum(told(one.value)["epoch"] == epoch for one in recording.of(DAY)))
    }
    assert len(found["epochs"]) == 2
    assert "PASSED" in done.stdout


def test_the_newest_session_is_taken_where_none_is_named(recording: Recording) -> None:
    """The one whose levels were recorded last; of the codes asked for."""
    newest = recording.run("verify", "--json")
    alone = recording.run("verify", "--codes", "US1000", "--json")

    assert (newest.returncode, alone.returncode) == (0, 0)
    assert report(newest)["session"] == report(alone)["session"] == NEXT_DAY
    assert report(newest)["verified"] == len(recording.of(NEXT_DAY))
    assert report(alone)["verified"] == sum(
        told(one.value)["code"] == "US1000" for one in recording.of(NEXT_DAY)
    )


async def test_one_altered_digit_of_one_level_fails(recording: Recording) -> None:
    """Status 1, and index, publication, field, both values and the offsets are named."""
    wrong = recording.of(DAY)[17]
    value, level, other = last_digit(wrong.value)
    levels = await recording.copy(
        recording.settings.levels_topic,
        alter=lambda one: value if one.offset == wrong.offset else one.value,
    )

    done = await asyncio.to_thread(
        recording.run, "verify", "--session", DAY, "--json", CAPSTREAM_LEVELS_TOPIC=levels
    )

    original = told(wrong.value)
    first = report(done)["first"]
    assert done.returncode == 1
    assert (first["code"], first["epoch"], first["seq"]) == (
        original["code"],
        int(original["epoch"]),
        int(original["seq"]),
    )
    assert (first["field"], first["published"], first["recomputed"]) == ("level", other, level)
    assert first["offsets"] == {p: int(o) for p, o in original["offsets"].items()}
    assert "FAILED" in done.stdout
    assert f"published {other}, recomputed {level}" in done.stdout


async def test_an_altered_tick_fails(recording: Recording) -> None:
    """The levels after it no longer follow from the log; all of them are listed where asked for."""
    log = await recording.lab.read_topic(recording.settings.ticks_topic, partition=1)
    # Control records stand between the ticks wherever the writer came to it.
    wrong = [record for record in log if b'"IBM"' in record.value][3]
    ticks = await recording.copy(
        recording.settings.ticks_topic,
        partitions=2,
        alter=lambda one: (
            one.value.replace(b'"price":1', b'"price":2')
            if (one.partition, one.offset) == (1, wrong.offset)
            else one.value
        ),
    )
    arguments = ("verify", "--session", DAY, "--all-differences", "--json")

    done = await asyncio.to_thread(recording.run, *arguments, CAPSTREAM_TICKS_TOPIC=ticks)

    found = report(done)
    assert done.returncode == 1
    assert found["first"]["field"] == "level"
    assert 0 < found["different"] < found["records"]
    assert done.stdout.count("differs ") == found["differences"]


async def test_a_log_that_has_lost_records_is_told(recording: Recording) -> None:
    """Levels before its first record cannot be computed: status 1, unless that is allowed, and books of an export help."""
    ticks = await recording.copy(recording.settings.ticks_topic, partitions=2)
    cut = {int(p): int(o) for p, o in told(recording.of(DAY)[-1].value)["offsets"].items()}
    folder = recording.lab.folder / "before-the-cut"
    exported = await asyncio.to_thread(
        recording.run, "export", str(folder), "--session", DAY, CAPSTREAM_TICKS_TOPIC=ticks
    )
    assert exported.returncode == 0, exported.stderr
    await recording.cut(ticks, cut)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return recording.run("verify", *arguments, "--json", CAPSTREAM_TICKS_TOPIC=ticks)

    gone = await asyncio.to_thread(run, "--session", DAY)
    allowed = await asyncio.to_thread(run, "--session", DAY, "--allow-missing")
    helped = await asyncio.to_thread(run, "--session", NEXT_DAY, "--after", str(folder))

    assert gone.returncode == 1
    assert report(gone)["missing"] > 20
    assert "has lost its beginning" in gone.stdout
    assert report(allowed)["missing"] == report(gone)["missing"]
    assert (helped.returncode, report(helped)["missing"]) == (0, 0), helped.stdout
    assert report(helped)["verified"] == len(recording.of(NEXT_DAY))


def test_what_is_not_there_is_one_line(recording: Recording) -> None:
    """Status 2: no levels, no such session, no such index, no composition, no ticks."""
    nowhere = {"CAPSTREAM_LEVELS_TOPIC": "nowhere-levels"}
    assert "no levels were recorded" in one_line(recording.run("verify", **nowhere))
    assert DAY in one_line(recording.run("verify", "--session", "1999-01-01"))
    assert "NONE1" in one_line(recording.run("verify", "--codes", "NONE1"))
    line = one_line(recording.run("verify", CAPSTREAM_COMPOSITIONS_TOPIC="nowhere-compositions"))
    assert recording.lab.composition.id in line
    assert "nowhere-ticks" in one_line(
        recording.run("verify", CAPSTREAM_TICKS_TOPIC="nowhere-ticks")
    )


def test_no_topic_is_made_by_looking(recording: Recording) -> None:
    """A verification changes nothing."""

    async def topics() -> set[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=recording.settings.kafka_url)
        await admin.start()
        try:
            return set(await admin.list_topics())
        finally:
            await admin.close()

    recording.run("verify", CAPSTREAM_LEVELS_TOPIC="never-levels")
    recording.run("verify", CAPSTREAM_CONTROL_TOPIC="never-control")

    assert not {name for name in asyncio.run(topics()) if name.startswith("never-")}


# ---- from files ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(recording: Recording) -> Path:
    folder = recording.lab.folder / "exported"
    done = recording.run("export", str(folder), "--session", DAY, "--decoded", "--json")
    assert done.returncode == 0, done.stderr
    assert report(done)["session"] == DAY
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in exported.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def verify_folder(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Verify an export where there is no Kafka."""
    environment = {"PATH": "/usr/bin:/bin", "CAPSTREAM_KAFKA_URL": "127.0.0.1:1"}
    return capstream(environment, "verify", "--from", str(folder), *arguments)


def rewritten(path: Path, column: str, alter: Callable[[list[Any]], None]) -> None:
    """Alter a column of a file, and let the manifest name the new file as if it had always been so."""
    table = pq.read_table(path)
    values = table.column(column).to_pylist()
    alter(values)
    number = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(
            number, table.schema.field(number), pa.array(values, table.schema.field(number).type)
        ),
        path,
    )
    signed(path)


def signed(path: Path) -> None:
    manifest = json.loads((path.parent / "manifest.json").read_text())
    for file in [*manifest["records"], manifest["books"], *manifest["decoded"]]:
        if file["name"] == path.name:
            file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


def test_an_export_passes_without_kafka(recording: Recording, exported: Path) -> None:
    """All levels of the session, from nothing but the files."""
    done = verify_folder(exported, "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    assert report(done)["verified"] == report(done)["records"] == len(recording.of(DAY))
    assert not [path for path in exported.parent.iterdir() if path.name.startswith(".exported")]


def test_an_export_holds_the_records_as_kafka_kept_them(
    recording: Recording, exported: Path
) -> None:
    """Offset, time, key and value of every tick of the session, its control records among them, and of every level."""
    manifest = json.loads((exported / "manifest.json").read_text())
    for partition in range(2):
        log = asyncio.run(
            recording.lab.read_topic(recording.settings.ticks_topic, partition=partition)
        )
        (file,) = [
            each
            for each in manifest["records"]
            if (each["log"], each["partition"]) == ("ticks", partition)
        ]
        inside = [one for one in log if file["start"] <= one.offset < file["end"]]
        rows = pq.read_table(exported / file["name"]).to_pylist()
        assert [(r["offset"], r["key"], r["value"]) for r in rows] == [
            (one.offset, one.key, one.value) for one in inside
        ]
        assert [r["timestamp"].timestamp() for r in rows] == [
            one.timestamp / 1000 for one in inside
        ]
        rolls = [
            told(one.value[4:]) for one in inside if one.value.startswith(b'CTRL{"type":"roll"')
        ]
        assert [roll["session"] for roll in rolls] == [DAY]
        assert len(rows) == file["rows"]
    levels = pq.read_table(exported / "levels.parquet").to_pylist()
    assert [row["value"] for row in levels] == [one.value for one in recording.of(DAY)]


def test_levels_follow_from_an_export_by_hand(exported: Path) -> None:
    """Without this program: last prices before the offsets that a level names, and the arithmetic of law 1."""
    ticks = {
        p: [
            (row["offset"], json.loads(row["value"]))
            for row in pq.read_table(exported / f"ticks-{p}.parquet").to_pylist()
            if row["value"].startswith(b"{")
        ]
        for p in range(2)
    }
    checked = 0
    for row in pq.read_table(exported / "levels.parquet", columns=["value"]).to_pylist():
        published = told(row["value"])
        prices = dict(PRICE)
        for partition, end in published["offsets"].items():
            for offset, one in ticks[int(partition)]:
                if offset < int(end):
                    prices[one["symbol"]] = round(Decimal(str(one["price"])) * 10_000)
        if published["code"] in CODES:
            expected = levels_of(prices)[published["code"]]
            assert (published["level"], published["market_value"]) == expected
            checked += 1
    assert checked > 20


def test_decoded_columns_say_what_the_records_say(recording: Recording, exported: Path) -> None:
    """Prices and levels as decimals with all their digits."""
    levels = pq.read_table(
        exported / "levels-decoded.parquet", columns=["code", "level", "high"]
    ).to_pylist()
    columns = ["offset", "symbol", "price", "kind", "seq"]
    ticks = [
        row
        for partition in range(2)
        for row in pq.read_table(
            exported / f"ticks-{partition}-decoded.parquet", columns=columns
        ).to_pylist()
    ]

    published = [told(one.value) for one in recording.of(DAY)]
    assert [(row["code"], str(row["level"]), str(row["high"])) for row in levels] == [
        (one["code"], one["level"], one["high"]) for one in published
    ]
    assert {row["symbol"] for row in ticks} == {"AIG", "BAC", "IBM"}
    assert len(ticks) == 48
    assert {(row["symbol"], row["price"], row["kind"], row["seq"]) for row in ticks[:1]} == {
        ("AIG", Decimal("47.1400"), "trade", 1)
    }


@pytest.mark.parametrize("name", ["levels.parquet", "ticks-1.parquet", "books.parquet"])
def test_a_file_that_was_altered_fails(copied: Path, name: str) -> None:
    """Status 1: one other byte, and its digest is another."""
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))

    done = verify_folder(copied, "--json")

    assert done.returncode == 1
    assert name in done.stdout
    assert not report(done)["passed"]
    assert len(report(done)["altered_files"]) == 1


def test_a_level_that_was_altered_in_its_file_fails(copied: Path) -> None:
    """Also where the manifest was made to fit: the ticks say otherwise."""

    def alter(values: list[Any]) -> None:
        values[11], *_ = last_digit(values[11])

    original = told(pq.read_table(copied / "levels.parquet").column("value")[11].as_py())
    rewritten(copied / "levels.parquet", "value", alter)

    done = verify_folder(copied, "--json")

    first = report(done)["first"]
    assert done.returncode == 1
    assert (first["code"], first["seq"]) == (original["code"], int(original["seq"]))
    assert (first["field"], first["recomputed"]) == ("level", original["level"])


def test_a_tick_that_was_altered_in_its_file_fails(copied: Path) -> None:
    """The levels say otherwise."""

    def alter(values: list[Any]) -> None:
        at = next(i for i, value in enumerate(values) if b'"IBM"' in value)
        values[at] = values[at].replace(b'"price":1', b'"price":2')

    rewritten(copied / "ticks-1.parquet", "value", alter)

    done = verify_folder(copied, "--json")

    assert done.returncode == 1
    assert report(done)["first"]["field"] == "level"


def test_a_tick_after_the_last_level_that_was_altered_fails(copied: Path) -> None:
    """No level tells, but the book at the end of the export does."""

    def alter(values: list[Any]) -> None:
        values[-1] = values[-1].replace(b'"seq":', b'"seq":9')

    rewritten(copied / "ticks-1.parquet", "value", alter)

    done = verify_folder(copied, "--json")

    assert done.returncode == 1
    assert report(done)["first"] is None
    assert report(done)["books_different"] == [1]
    assert "the book of partition 1 does not end as it was exported" in done.stdout


def test_an_export_goes_on_from_the_one_before(recording: Recording, exported: Path) -> None:
    """Its books at the start are the other's at the end, its first records those that follow."""
    folder = recording.lab.folder / "next"

    done = recording.run("export", str(folder), "--after", str(exported), "--json")

    first, second = (
        json.loads((each / "manifest.json").read_text()) for each in (exported, folder)
    )
    assert done.returncode == 0, done.stderr
    assert second["session"] == NEXT_DAY
    assert second["after"]["session"] == DAY
    ends = {f["partition"]: f["end"] for f in first["records"] if f["log"] == "ticks"}
    assert ends == {f["partition"]: f["start"] for f in second["records"] if f["log"] == "ticks"}
    assert verify_folder(folder).returncode == 0


def test_everything_that_is_kept_can_be_exported(recording: Recording, tmp_path: Path) -> None:
    """Both sessions stand in it, and each is verified by its name."""
    folder = tmp_path / "everything"

    done = recording.run("export", str(folder), "--all")

    both = [verify_folder(folder, "--session", day, "--json") for day in (DAY, NEXT_DAY)]
    assert done.returncode == 0, done.stderr
    assert [each.returncode for each in both] == [0, 0]
    assert [report(each)["verified"] for each in both] == [
        len(recording.of(DAY)),
        len(recording.of(NEXT_DAY)),
    ]


def test_an_export_is_not_replaced_by_accident(recording: Recording, copied: Path) -> None:
    """--force replaces one; what is none of ours is never removed."""
    refused = recording.run("export", str(copied))
    forced = recording.run("export", str(copied), "--force")
    mine = copied.parent / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    kept = recording.run("export", str(mine), "--force")

    assert "is there already" in one_line(refused)
    assert forced.returncode == 0
    assert json.loads((copied / "manifest.json").read_text())["session"] == NEXT_DAY
    assert "is no export" in one_line(kept)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_what_is_no_export_is_one_line(copied: Path) -> None:
    """No folder, no manifest, a manifest of another version, a file that is missing or outside."""
    manifest = json.loads((copied / "manifest.json").read_text())

    def with_manifest(**changes: Any) -> str:
        (copied / "manifest.json").write_text(json.dumps(manifest | changes))
        return one_line(verify_folder(copied))

    assert "is no export" in one_line(verify_folder(copied / "nowhere"))
    assert "version 7" in with_manifest(version=7)
    assert "../x" in with_manifest(books=manifest["books"] | {"name": "../x"})
    (copied / "levels.parquet").unlink()
    assert "levels.parquet" in with_manifest()
    (copied / "manifest.json").write_text("{}")
    assert "manifest.json" in one_line(verify_folder(copied))


@pytest.mark.parametrize("command", [("export", "somewhere"), ("verify", "--from", "somewhere")])
def test_without_pyarrow_the_extra_is_named(command: tuple[str, ...]) -> None:
    """One line says what to install; `verify` from the topics does without."""
    program = (
        "import sys; sys.modules['pyarrow'] = None; from stream.cli.main import main; "
        f"sys.exit(main({list(command)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert "pip install 'capstream[archive]'" in one_line(done)
