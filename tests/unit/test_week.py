"""A simulated week in the normal suite; `make weeks` plays all of them, and publishes more often (`docs/overnight.md`)."""

from __future__ import annotations

import pytest

from stream.session.calendar import Calendar
from week.days import WEEKS, Week, begins, cash_phase, last_close, ns, phase, session_at
from week.run import Outcome, Plan, play


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """Play the week with the holiday and the early close: few stocks, a publication every quarter of an hour or so."""
    return play(Plan("holiday", stocks=30, rate=1.0, sparse=15))


def test_a_week_is_published_as_it_was(outcome: Outcome) -> None:
    """Every field of every snapshot is what a ledger of the same ticks says, digit for digit, from Sunday to Friday."""
    assert outcome.contradiction is None


def test_the_week_had_everything_in_it(outcome: Outcome) -> None:
    """What is compared must have happened: all phases, methods and statuses, incidents, restarts, five sessions."""
    compared, happened = outcome.compared, outcome.happened

    assert {key.removeprefix("phase ") for key in compared if key.startswith("phase ")} == {
        "overnight/closed",
        "pre_market/pre_market",
        "regular/regular",
        "post_market/post_market",
        "maintenance/post_market",
        # Friday after 13:15, when futures have stopped for the week.
        "closed/post_market",
    }
    assert compared.keys() >= {
        "method None",
        *(f"method {each}" for each in ("hybrid", "futures", "hybrid_filled")),
        *(f"status {each}" for each in ("opening", "firm", "closing", "indicative")),
        *(f"status {each}" for each in ("official_close", "corrected", "halted", "stale")),
    }
    n_indexes = 8
    # The Friday before, Monday to Wednesday, and Friday.
    assert compared["changes that add up"] == 5 * n_indexes
    assert compared["previous closes"] == compared["held"] == 4 * n_indexes
    assert compared["stocks that stand through the opening"] > 100
    assert compared["levels at rest"] > 1000
    assert compared["records of extremes"] > 100
    incidents = ("print in a halt", "suspect", "bust of a last price", "corrected close")
    for incident in incidents:
        assert happened[incident] > 0, incident
    assert happened["restarts of a book"] > 0


@pytest.mark.parametrize("week", WEEKS.values(), ids=list(WEEKS))
def test_the_calendar_agrees_with_the_one_by_hand(week: Week) -> None:
    """Every quarter of an hour of every week has the phases that the exchanges' notices give it."""
    calendar = Calendar.bundled()
    for ts in range(ns(week.starts), ns(week.ends), 900 * 10**9):
        assert calendar.phase(ts).name.lower() == phase(ts)
        assert calendar.cash_phase(ts).name.lower() == cash_phase(ts)
        assert calendar.last_close(ts)[1] == last_close(ts)
        session = session_at(week, ts)
        assert calendar.session_at(ts).name == session
        if session in week.sessions:
            assert calendar.session_at(ts).starts_ns == begins(week, session)
