"""Prices that are believed at sight: after what else has happened to their stock, they are looked at one by one.

The properties of the book state the laws; here stand the cases that chance seldom makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest

import oracle
from figures import assert_same
from oracle import BELIEVED, KINDS, NS, Ledger, Line, Plan, Print, Rules, World
from strategies import CLOSING, LATE, OPENING, composition_of, rules_of, ticks_of
from stream.index.book import Book
from stream.index.control import Roll
from stream.index.layer import ROUNDS
from stream.index.ticks import Verdict
from stream.session.calendar import Calendar

NEW_YORK = Calendar.bundled()
PRICE = 1_000_000
WORLD = World(
    (
        Line("A", PRICE, Fraction(1000), None, frozenset(("ALL",)), "XNYS"),
        Line("B", PRICE, Fraction(10**6), None, frozenset(("ALL",)), "XNYS"),
    ),
    (Plan("ALL", "float_cap", None, None, Decimal(1000), None),),
    (("/RTYZ6", "ALL"),),
)
STOCK, CONTRACT = 0, 2
ON_GUARD = Rules(off=False)


class Both:
    """A book and a ledger that are told the same."""

    def __init__(self, rules: Rules = BELIEVED) -> None:
        composition = composition_of(WORLD)
        self.book = Book(composition, calendar=NEW_YORK, rules=rules_of(rules), partition=0)
        self.ledger = Ledger(WORLD, composition=composition.id, rules=rules)

    def take(self, *prints: Print) -> list[str]:
        """Take a batch, and see that it does what the laws say."""
        verdicts = [Verdict(v).reason for v in self.book.apply(ticks_of(prints))]
        assert verdicts == [self.ledger.apply(one) for one in prints]
        assert_same(self.book, self.ledger)
        return verdicts

    def take_each(self, prints: Sequence[Print]) -> list[str]:
        return [verdict for one in prints for verdict in self.take(one)]

    def roll(self, day: str, before: str) -> None:
        """Begin the session of a day, which lasts from 18:00 of the trading day before it."""
        starts, ends = (oracle.nanoseconds(one, "18:00:00") for one in (before, day))
        self.book.obey(Roll(day, starts, ends))
        self.ledger.roll(day, starts, ends)
        assert_same(self.book, self.ledger)


def at(
    ts: int,
    price: int = PRICE,
    *,
    seq: int = 0,
    cond: int = 1,
    kind: str = "trade",
    venue: str = "N",
    row: int = STOCK,
) -> Print:
    return Print(row, price, ts, seq, cond, KINDS.index(kind), ts, 100, venue)


@pytest.mark.parametrize("rules", [BELIEVED, ON_GUARD])
def test_the_first_print_of_a_session_opens_a_stock_whatever_was_refused_before(
    rules: Rules,
) -> None:
    """It counts as priced and opened, with no session yet and after a roll."""
    both = Both(rules)
    elsewhere = at(OPENING, kind="official_open", venue="Q")

    assert both.take(elsewhere) == ["ineligible"]
    assert both.take(at(OPENING + 1)) == ["applied"]
    both.take(at(LATE))
    both.roll("2026-07-20", before="2026-07-17")
    monday = OPENING + 3 * 86_400 * NS
    assert both.take(at(monday, kind="official_open", venue="Q")) == ["ineligible"]
    assert both.take(at(monday + 1)) == ["applied"]

    assert both.ledger.figures()[0]["priced"] == 1
    assert both.ledger.figures()[0]["opened_close"] > 0


@pytest.mark.parametrize("rules", [BELIEVED, ON_GUARD])
def test_a_cancelled_print_that_comes_again_is_a_duplicate(rules: Rules) -> None:
    """Though its price is that of the last good one, and it is newer (law 8)."""
    both = Both(rules)
    again = at(LATE + 2, seq=2)
    cancel = at(LATE + 2, seq=2, kind="cancel")

    verdicts = both.take_each([at(LATE + 1, seq=1), again, cancel, again, at(LATE + 3, seq=3)])

    assert verdicts == ["applied", "applied", "applied", "duplicate", "applied"]


def test_a_late_regular_print_changes_what_an_extended_one_is_worth() -> None:
    """The extended price is told as the distance from the last one."""
    both = Both()

    verdicts = both.take_each(
        [at(LATE), at(CLOSING + 60 * NS, PRICE + 900), at(CLOSING - 1, PRICE + 300)]
    )

    shares = both.ledger.sheets[0].shares[STOCK]
    assert verdicts == ["applied"] * 3
    assert both.ledger.figures()[0]["extended_value"] == 600 * shares


@pytest.mark.parametrize(
    ("row", "cond"),
    [(STOCK, 1), (STOCK, 64), (STOCK, 128 | 1), (CONTRACT, 1)],
    ids=["plain", "opening", "closing", "contract"],
)
def test_an_unnumbered_tie_leaves_the_highest_number_in_force(row: int, cond: int) -> None:
    """Whichever road the tick takes (law 3)."""
    both = Both()

    verdicts = both.take_each(
        [at(LATE, seq=seq, cond=c, row=row) for seq, c in ((3, 1), (0, cond), (2, cond), (3, 1))]
    )

    assert verdicts == ["applied", "applied", "older", "duplicate"]


def test_two_prints_at_either_edge_of_the_guard_are_not_both_believed() -> None:
    """Each moves the index by less than 200 bp from the last good price, but not from the other."""
    both = Both(ON_GUARD)
    # B is all of the index but a thousandth: 2 percent of its value are some 20,020 of its price.
    far = 15_000
    log = [at(LATE + n, PRICE + move, row=1) for n, move in enumerate((0, far, -far))]

    assert both.take(log[0]) == ["applied"]
    assert both.take(*log[1:]) == ["applied", "suspect"]


def test_a_row_with_more_doubtful_ticks_than_rounds_is_judged_as_one_by_one() -> None:
    """Halts and resumes between prints, of one stock and beside another's plain prints."""
    whole, each = Both(ON_GUARD), Both(ON_GUARD)
    log = []
    for n in range(4 * ROUNDS):
        ts = LATE + 10 * n
        log += [
            at(ts, kind="halt"),
            at(ts + 1, PRICE + n),
            at(ts + 2, row=1),
            at(ts + 3, kind="resume"),
            at(ts + 4, PRICE * 2 + n),
        ]

    verdicts = whole.take(*log)

    assert verdicts == each.take_each(log)
    assert verdicts[:5] == ["applied", "ineligible", "applied", "applied", "applied"]


def test_the_primary_exchange_opens_a_stock_that_others_have_priced_before() -> None:
    """Its first print sets the opening price, though it is as plain as theirs; later ones do not."""
    both = Both()

    verdicts = both.take_each(
        [
            at(LATE, venue="Q"),
            at(LATE + 1, PRICE + 100, venue="Q"),
            at(LATE + 2, PRICE + 200),
            at(LATE + 3, PRICE + 300),
        ]
    )

    shares = both.ledger.sheets[0].shares[STOCK]
    assert verdicts == ["applied"] * 4
    assert both.ledger.figures()[0]["open_value"] == 200 * shares


@pytest.mark.parametrize(("later_ns", "verdict"), [(0, "applied"), (1, "suspect")])
def test_a_suspect_waits_ten_minutes_for_another(later_ns: int, verdict: str) -> None:
    """To the nanosecond."""
    both = Both(ON_GUARD)
    high = PRICE * 2

    verdicts = both.take_each(
        [at(LATE), at(LATE + 1, high), at(LATE + 1 + 600 * NS + later_ns, high)]
    )

    assert verdicts == ["applied", "suspect", verdict]


WEDNESDAY, THURSDAY, FRIDAY = (
    oracle.nanoseconds(f"2026-07-{day}", "12:00:00") for day in (15, 16, 17)
)


def test_an_official_close_after_the_end_of_its_session_is_the_previous_close() -> None:
    """It comes in the evening, before the log rolls: the roll finds it waiting."""
    both = Both()
    both.roll("2026-07-15", before="2026-07-14")
    evening = oracle.nanoseconds("2026-07-15", "18:00:05")

    both.take(at(WEDNESDAY))
    assert both.take(at(evening, PRICE + 500, kind="official_close")) == ["applied"]
    both.roll("2026-07-16", before="2026-07-15")

    assert both.ledger.close(STOCK) == PRICE + 500


def test_a_halt_of_the_day_after_tomorrow_waits_for_its_own_roll() -> None:
    """What is known of its stock waits with it, a price of tomorrow included."""
    both = Both()
    both.roll("2026-07-15", before="2026-07-14")

    assert both.take(at(THURSDAY, PRICE + 1), at(FRIDAY, kind="halt")) == ["applied"] * 2
    both.roll("2026-07-16", before="2026-07-15")
    assert (both.ledger.price(STOCK), both.ledger.figures()[0]["halted_close"]) == (PRICE, 0)
    both.roll("2026-07-17", before="2026-07-16")

    assert both.ledger.price(STOCK) == PRICE + 1
    assert both.ledger.figures()[0]["halted_close"] > 0


def test_the_first_print_of_a_session_that_waits_is_believed_once_the_one_before_has_begun() -> (
    None
):
    """Until then what is later is one session, whose first print was another."""
    both = Both(ON_GUARD)
    both.roll("2026-07-15", before="2026-07-14")

    assert both.take(at(THURSDAY), at(FRIDAY, PRICE * 2)) == ["applied", "suspect"]
    both.roll("2026-07-16", before="2026-07-15")

    assert both.take(at(FRIDAY + 1, PRICE * 3)) == ["applied"]
