"""`capstream sessions`: what it prints for days that people know."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stream.cli import sessions
from stream.cli.main import main
from stream.session.calendar import Calendar

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CAPSTREAM_CALENDAR", raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs the command and gives what it prints."""

    def run_command(*arguments: str) -> str:
        assert main(["sessions", *arguments]) == 0
        return capsys.readouterr().out

    return run_command


def days(out: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(out.splitlines()[-1])["days"]
    return found


def lines(day: dict[str, Any]) -> list[str]:
    return [
        f"{one['phase']} {one['cash_phase']} {one['start']} {one['end']}" for one in day["phases"]
    ]


def test_a_session_as_json(run: Run) -> None:
    """The day that clocks change in New York but not in London: phases in UTC, half-open."""
    (day,) = days(run("--date", "2026-03-09", "--json"))

    assert day["date"] == "2026-03-09"
    assert day["trade_date"] is True
    assert lines(day) == [
        "overnight closed 2026-03-08T22:00:00Z 2026-03-09T08:00:00Z",
        "pre_market pre_market 2026-03-09T08:00:00Z 2026-03-09T13:30:00Z",
        "regular regular 2026-03-09T13:30:00Z 2026-03-09T20:00:00Z",
        "post_market post_market 2026-03-09T20:00:00Z 2026-03-09T21:00:00Z",
        "maintenance post_market 2026-03-09T21:00:00Z 2026-03-09T22:00:00Z",
    ]


def test_a_fortnight_has_no_gaps(run: Run) -> None:
    """Sessions follow each other over a holiday, an early close and weekends."""
    shown = days(run("--date", "2026-11-23", "--days", "9", "--json"))

    phases = [phase for day in shown for phase in day["phases"]]
    assert [day["date"][5:] for day in shown] == (
        ["11-23", "11-24", "11-25", "11-27", "11-30", "12-01", "12-02", "12-03", "12-04"]
    )
    assert all(one["end"] == following["start"] for one, following in pairwise(phases))
    assert phases[0]["start"] == "2026-11-22T23:00:00Z"
    assert phases[-1]["end"] == "2026-12-06T23:00:00Z"


def test_a_holiday_is_shown_by_the_calendar_day(run: Run) -> None:
    """Thanksgiving from midnight to midnight in New York, and the sessions after it."""
    holiday, following = days(run("--date", "2026-11-26", "--days", "2", "--json"))

    assert holiday["trade_date"] is False
    assert lines(holiday) == [
        "overnight closed 2026-11-26T05:00:00Z 2026-11-26T18:00:00Z",
        "maintenance closed 2026-11-26T18:00:00Z 2026-11-26T23:00:00Z",
        "overnight closed 2026-11-26T23:00:00Z 2026-11-27T05:00:00Z",
    ]
    assert following["date"] == "2026-11-27"


def test_the_table_of_an_early_close(run: Run) -> None:
    """Local times in five cities, marked where the date is another, with what is unusual about the day."""
    out = run("--date", "2026-11-27")

    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert out.splitlines()[0] == (
        "Fri 27 Nov 2026  with the holiday of Thu 26 Nov  early close, 13:00 in New York"
    )
    assert rows[1] == "Phase Cash UTC New York Chicago London Tokyo"
    assert "post-market post-market 23:00−2 18:00−2 17:00−2 23:00−2 08:00−1" in rows  # noqa: RUF001
    assert "regular regular 14:30 09:30 08:30 14:30 23:30" in rows
    assert "post-market post-market 18:00 13:00 12:00 18:00 03:00+1" in rows
    assert rows[-3] == "ends 23:00+2 18:00+2 17:00+2 23:00+2 08:00+3"
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("day", "title"),
    [
        ("2026-11-26", "Thu 26 Nov 2026  a holiday: belongs to Fri 27 Nov"),
        ("2026-11-28", "Sat 28 Nov 2026  no trade date: belongs to Fri 27 Nov"),
        ("2026-11-29", "Sun 29 Nov 2026  no trade date: belongs to Fri 27 Nov and Mon 30 Nov"),
    ],
)
def test_a_day_that_is_no_trade_date_says_so(run: Run, day: str, title: str) -> None:
    """Holidays and weekends name the sessions that their hours belong to."""
    assert run("--date", day).splitlines()[0] == title


def test_days_stand_apart(run: Run) -> None:
    """Between two days there is a line."""
    out = run("--date", "2026-07-14", "--days", "2")

    assert out.count("\n\nWed 15 Jul 2026\n") == 1


def test_the_present_phase_is_marked(run: Run) -> None:
    """Without a date the session of this moment is shown, and one of its phases bears the mark."""
    before = datetime.now(UTC)
    out = run()
    (day,) = days(run("--json"))

    begins, ends = (day["phases"][place][key] for place, key in ((0, "start"), (-1, "end")))
    assert datetime.fromisoformat(begins) <= before < datetime.fromisoformat(ends)
    assert out.count("▸") == 1
    assert "▸" not in run("--date", "2026-07-14")


def test_a_calendar_of_ones_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closures in a file count, whether the option or the environment names it."""
    path = tmp_path / "mine.toml"
    path.write_text("[cash]\nclosed = [2026-07-14]\n", encoding="utf-8")

    assert days(run("--date", "2026-07-14", "--json"))[0]["trade_date"] is True
    out = run("--date", "2026-07-14", "--json", "--calendar", str(path))
    assert days(out)[0]["trade_date"] is False
    monkeypatch.setenv("CAPSTREAM_CALENDAR", str(path))
    assert days(run("--date", "2026-07-14", "--json"))[0]["trade_date"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--date", "soon"],
            "expected a date from 1970-01-02 to 2262-01-01, YYYY-MM-DD, found 'soon'",
        ),
        (["--date", "2300-01-01"], "expected a date from"),
        (["--days", "0"], "expected 1 to 400, found '0'"),
        (["--days", "401"], "expected 1 to 400, found '401'"),
        (["--days", "many"], "expected 1 to 400, found 'many'"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was expected and what was found, with status 2."""
    with pytest.raises(SystemExit) as error:
        main(["sessions", *arguments])

    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_bad_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be used ends the command with status 2 and its name."""
    assert main(["sessions", "--calendar", str(tmp_path / "missing.toml")]) == 2

    assert "missing.toml: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("day", [sessions.FIRST_DATE, sessions.LAST_DATE])
def test_the_first_and_the_last_date_have_phases(day: date) -> None:
    """What the option allows can be shown."""
    shown = list(sessions.read_days(Calendar.bundled(), day, 3))

    assert len(shown) == 3
    assert all(one.stretches for one in shown)
