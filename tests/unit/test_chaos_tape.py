"""The fault tests' tape and what it must come to: the same for a seed, and right by the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import oracle
from chaos.fleet import clean_environment
from chaos.history import REASONS, History, level, market_value, work_out
from chaos.tape import Sort, Tape, make_tape, write_csv
from stream.feed.producer import partition_of
from stream.files import load_composition
from stream.index.composition import Composition

TICKS = 40_000
#: Few stocks, so that prints of one symbol meet.
STOCKS = 40
COLUMNS = ("symbol", "name", "sector", "mic", "size", "float_shares", "price", "price_date")
FOLLOWED = ("US1000", "US3000", "US1000EW")


@pytest.fixture(scope="module")
def composition(tmp_path_factory: pytest.TempPathFactory) -> Composition:
    bundled = Path(sys.modules["stream.files"].__file__ or "").parent / "index/bundled"
    lines = (bundled / "us_universe.csv").read_text("utf-8").splitlines()
    path = tmp_path_factory.mktemp("files") / "few.csv"
    path.write_text("\n".join(lines[: STOCKS + 1]) + "\n")
    return load_composition(path)


@pytest.fixture(scope="module")
def tape(composition: Composition) -> Tape:
    return tape_of(composition, seed=7)


@pytest.fixture(scope="module")
def history(tape: Tape, composition: Composition) -> History:
    return work_out(tape, composition, follow=FOLLOWED)


def tape_of(composition: Composition, *, seed: int) -> Tape:
    return make_tape(
        composition.universe.symbols,
        composition.reference_price,
        ticks=TICKS,
        n_partitions=4,
        seed=seed,
        clock=True,
    )


def world_of(composition: Composition) -> oracle.World:
    """Tell the oracle of the stocks alone: prices and shares of the indexes stand in the composition."""
    lines = [
        oracle.Line(one.symbol, one.price, Fraction(one.float_shares), None, frozenset())
        for one in composition.universe.instruments
    ]
    return oracle.World(tuple(lines), ())


def print_at(tape: Tape, position: int) -> oracle.Print:
    """Turn a tick of the tape into the oracle's print; it knows of none that are malformed."""
    sort = tape.sort[position]
    ts = int(tape.ts[position])
    return oracle.Print(
        row=int(tape.row[position]),
        price=int(tape.price[position]),
        ts=ts,
        seq=int(tape.seq[position]),
        cond=oracle.condition_bits("I" if sort == Sort.ODD_LOT else "@"),
        kind=0,
        recorded=ts - (5 * oracle.NS if sort == Sort.FUTURE else 0),
    )


def test_a_seed_makes_one_tape(composition: Composition, tape: Tape) -> None:
    """Two of one seed are the same, two of different seeds are not."""
    again, other = tape_of(composition, seed=7), tape_of(composition, seed=8)

    for name in ("sort", "row", "price", "ts", "seq", "partition"):
        assert np.array_equal(getattr(tape, name), getattr(again, name))
        assert not np.array_equal(getattr(tape, name), getattr(other, name))


def test_a_tape_holds_every_sort_and_every_verdict(tape: Tape, history: History) -> None:
    """Else a run would not test what becomes of it."""
    assert set(tape.sort.tolist()) == {int(sort) for sort in Sort}
    assert set(history.counts()) == set(REASONS)


def test_ticks_lie_in_regular_hours_on_their_symbol_s_partition(tape: Tape) -> None:
    """Also those of clocks that were stepped."""
    assert oracle.in_regular_hours(int(tape.ts.min()))
    assert oracle.in_regular_hours(int(tape.ts.max()))
    for i in range(len(tape)):
        assert tape.partition[i] == partition_of(tape.symbol(i), 4)


def test_verdicts_are_the_oracle_s(composition: Composition, tape: Tape, history: History) -> None:
    """Tick by tick: law 3 and the reasons of law 9."""
    ledger = oracle.Ledger(world_of(composition))
    expected = [
        "malformed" if tape.sort[i] == Sort.MALFORMED else ledger.apply(print_at(tape, i))
        for i in range(len(tape))
    ]

    assert [REASONS[verdict] for verdict in history.verdict.tolist()] == expected


def test_every_prefix_of_a_partition_is_the_oracle_s(
    composition: Composition, tape: Tape, history: History
) -> None:
    """Event time and gain of each index after every tick of one partition, summed from prices."""
    ledger = oracle.Ledger(world_of(composition))
    partition = history.partitions[1]
    reference = composition.reference_price.tolist()
    for n, position in enumerate(partition.position.tolist(), start=1):
        if tape.sort[position] != Sort.MALFORMED:
            ledger.apply(print_at(tape, position))
        assert partition.event_ns[n] == ledger.clock
        if n % 50:
            continue
        for code in FOLLOWED:
            index = history.indexes[code]
            gain = sum(
                shares * (ledger.price(row) - reference[row])
                for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True)
            )
            assert partition.gain_of(code, n) == gain


def test_a_whole_tape_is_what_capstream_levels_says(
    tape: Tape, history: History, composition: Composition, tmp_path: Path
) -> None:
    """The file leaves out what a file cannot tell, and a copy counts as applied there."""
    write_csv(tape, tmp_path / "tape.csv")
    constituents = tmp_path / "few.csv"
    with constituents.open("w") as text:
        text.write(",".join(COLUMNS) + "\n")
        for one in composition.universe.instruments:
            text.write(",".join(one.attributes[name] for name in COLUMNS) + "\n")
    files = [str(tmp_path / "tape.csv"), "--constituents", str(constituents)]
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", "levels", *files, "--json"],
        # Among few stocks a small move of one moves an index of its sector too far.
        env=clean_environment() | {"CAPSTREAM_GUARD_BP": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1], parse_float=str)
    gains = {code: sum(int(one.gain[code][-1]) for one in history.partitions) for code in FOLLOWED}

    for code, gain in gains.items():
        found = said["levels"][code]
        assert found["level"] == f"{level(history.indexes[code], gain):.8f}"
        assert found["market_value"] == market_value(history.indexes[code], gain)
        newest = max(int(one.event_ns[-1]) for one in history.partitions)
        assert code != "US3000" or found["event_ns"] == newest
    left_out = Counter(history.counts())
    assert said["ticks"] == TICKS - left_out["malformed"] - left_out["future"]
    assert said["applied"] == left_out["applied"] + left_out["duplicate"]
    assert said["refused"]["older"] == left_out["older"]
