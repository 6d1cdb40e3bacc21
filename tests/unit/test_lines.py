"""Gap counters of an A and a B line, on examples made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate

import msgspec
import numpy as np
import pytest

from lines_oracle import (
    CANCEL,
    CORRECTION,
    HALT,
    OLDER,
    Message,
    Tick,
    feed,
    frame,
    single,
)
from stream.index.lines import LARGEST_COUNT, WINDOW, Frames, LineCounts, Lines

A, B = 1, 2
ROWS = 6
NOTHING = LineCounts(0, 0, 0, 0, 0)


def fed(*messages: Message, window: int = WINDOW) -> Lines:
    lines = Lines(ROWS, window=window)
    feed(lines, messages)
    return lines


def numbers(source: int, seqs: Sequence[int], row: int = 0) -> list[Message]:
    return [single(source, seq, row) for seq in seqs]


def doubtful(lines: Lines) -> list[int]:
    rows: list[int] = np.flatnonzero(lines.doubtful).tolist()
    return rows


def counts(
    lines: Lines, source: int, *, of: str = "frames_missing frames_restarted"
) -> tuple[int, ...]:
    return tuple(getattr(lines.counts[source], name) for name in of.split())


TICKS = "ticks_missing ticks_restarted ticks_undecided"


# ---- one line ------------------------------------------------------------------------------------


def test_a_line_alone_without_numbers_is_never_counted() -> None:
    """Plain ticks, and frames numbered 0, from one source: no gap, no doubt, nothing on one line only."""
    lines = fed(*numbers(0, [0] * 50), frame(0, 0, Tick(0, 0, 1)), frame(0, 0))

    assert lines.counts == {0: NOTHING}
    assert (lines.other, lines.gaps, doubtful(lines)) == (0, 0, [])
    assert lines.single_line.tolist() == [0] * ROWS


def test_a_line_alone_with_gapless_numbers_is_never_counted() -> None:
    """Its tape's numbers have holes where other partitions have ticks: they are no gaps."""
    lines = fed(
        *(frame(0, 5 + i, Tick(0, 10 * i + 3, i % ROWS), Tick(0, 10 * i + 9, 0)) for i in range(40))
    )

    assert lines.counts == {0: NOTHING}
    assert (lines.gaps, doubtful(lines)) == (0, [])


def test_a_line_in_order_leaves_the_same_state_however_it_is_cut() -> None:
    """What is told in few steps is told the same as step by step."""
    log = [frame(A, n, Tick(A, 3 * n, n % ROWS), Tick(A, 3 * n + 1, 0)) for n in range(1, 30)]
    log.insert(20, single(A, 3 * 20 + 2))
    whole = fed(*log)

    for size in (1, 7, 20):
        parts = Lines(ROWS)
        for start in range(0, len(log), size):
            feed(parts, log[start : start + size])
        assert parts.state() == whole.state()


def test_numbers_that_frames_left_out_are_counted_and_make_seen_rows_doubtful() -> None:
    """5, 6, 9: two frames are missing, and with them perhaps ticks of any row that has been seen."""
    lines = fed(
        frame(A, 5, Tick(A, 0, 0)),
        single(A, 0, 3),
        frame(A, 6, Tick(A, 0, 1, verdict=OLDER)),
        frame(A, 9),
    )

    assert counts(lines, A) == (2, 0)
    assert (lines.gaps, doubtful(lines)) == (1, [0, 1, 3])


def test_a_row_is_doubtful_until_its_next_print() -> None:
    """Only an applied trade settles its price; rows first seen after the gap were never in doubt."""
    lines = fed(frame(A, 1, Tick(A, 0, 0), Tick(A, 0, 1), Tick(A, 0, 2)))
    feed(lines, [frame(A, 3, Tick(A, 0, 0), Tick(A, 0, 4)), single(A, 0, 1, verdict=OLDER)])

    assert doubtful(lines) == [1, 2]

    feed(lines, [single(A, 0, 2, kind=HALT), single(A, 0, -1)])
    assert doubtful(lines) == [1, 2]

    feed(lines, [single(B, 0, 1), single(A, 0, 2)])
    assert doubtful(lines) == []


def test_a_print_before_the_gap_leaves_its_row_in_doubt() -> None:
    """Within one batch the order of the log decides."""
    lines = fed(
        frame(A, 1, Tick(A, 0, 0), Tick(A, 0, 1)),
        single(A, 0, 0),
        frame(A, 3, Tick(A, 0, 1)),
        frame(A, 4),
    )

    assert doubtful(lines) == [0]


def test_a_lower_or_repeated_number_is_a_restart() -> None:
    """A feed that begins again has lost nothing that its numbers could tell."""
    lines = fed(*(frame(A, number, Tick(A, 0, 0)) for number in (7, 8, 8, 1, 2, 4)))

    assert counts(lines, A) == (1, 2)
    assert lines.gaps == 1


def test_frames_without_a_number_stand_outside_the_numbering() -> None:
    """Zero is no number: what comes before and after it is compared."""
    lines = fed(frame(A, 1), frame(A, 0), frame(A, 2), frame(A, 0), frame(A, 4))

    assert counts(lines, A) == (1, 0)


def test_the_first_number_of_a_line_may_be_any() -> None:
    """A log begins where it begins."""
    lines = fed(frame(A, 10**6), frame(B, 17), frame(A, 10**6 + 1), frame(B, 18))

    assert lines.counts == {A: NOTHING, B: NOTHING}


def test_a_number_between_its_neighbours_is_told_from_one_that_is_not() -> None:
    """2, 9, 4: from 3 to 8 frames are missing, and 4 is a restart, though it is where it would have been."""
    lines = fed(frame(A, 1))
    feed(lines, [frame(A, 2), frame(A, 9), frame(A, 4)])

    assert counts(lines, A) == (6, 1)


def test_lines_are_numbered_each_by_itself() -> None:
    """B's 5 is no successor of A's 4, though ticks of A alone came with it."""
    lines = fed(frame(A, 4), frame(B, 2))
    feed(lines, [single(A, 0), frame(B, 5)])
    feed(lines, [frame(A, 5), frame(B, 6)])
    feed(lines, [frame(A, 6), frame(B, 7)])

    assert counts(lines, A) == (0, 0)
    assert counts(lines, B) == (2, 0)


def test_the_largest_numbers_neither_wrap_nor_overflow() -> None:
    """2^64 - 1 may follow 1; counters stop at what a checkpoint can hold."""
    lines = fed(frame(A, 1), frame(A, 2**64 - 1), frame(A, 0), frame(A, 1), frame(A, 2**64 - 1))
    feed(lines, [frame(B, 2**64 - 2)])
    feed(lines, [frame(B, 2**64 - 1), frame(B, 0)])
    feed(lines, [frame(B, 0)])

    assert counts(lines, A) == (LARGEST_COUNT, 1)
    assert counts(lines, B) == (0, 0)
    assert Lines.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(lines.state()))).counts == (
        lines.counts
    )


def test_headers_of_some_messages_are_cut_out_by_position() -> None:
    """From the first message up to, not including, the last."""
    frames = Frames(
        np.array([1, 3, 4]), np.array([7, 8, 9], np.uint32), np.array([5, 6, 7], np.uint64)
    )

    some = frames.within(1, 4)

    assert (len(some), some.message.tolist()) == (2, [1, 3])
    assert (some.source.tolist(), some.seq.tolist()) == ([7, 8], [5, 6])
    assert [len(frames.within(first, last)) for first, last in ((0, 1), (2, 3), (4, 9))] == [
        0,
        0,
        1,
    ]


# ---- a gap and another line ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("between", "covered"),
    [
        pytest.param([frame(B, 1)], True, id="a frame"),
        pytest.param([frame(B, 0)], True, id="a frame without a number"),
        pytest.param([single(B, 0)], True, id="a tick"),
        pytest.param([frame(B, 1), frame(B, 2)], True, id="frames"),
        pytest.param([], False, id="nothing"),
        pytest.param([single(A, 0), frame(A, 0)], False, id="the line itself"),
        pytest.param([frame(B, 1), frame(B, 3)], False, id="a line with a gap of its own"),
        pytest.param([frame(B, 1), frame(B, 3), single(3, 0)], True, id="a third line"),
    ],
)
def test_a_gap_is_covered_by_what_another_line_delivers_meanwhile(
    between: list[Message], *, covered: bool
) -> None:
    """Between the last frame before and the first frame after, without a gap of its own there."""
    lines = fed(frame(A, 1, Tick(A, 0, 0)), *between, frame(A, 3))

    assert counts(lines, A) == (1, 0)
    assert 0 not in doubtful(lines) if covered else 0 in doubtful(lines)


def test_a_line_that_delivers_before_or_after_a_gap_does_not_cover_it() -> None:
    """What it brought before the gap began is no help, nor what it brings when it is over."""
    lines = fed(frame(B, 1), frame(A, 1, Tick(A, 0, 0)), frame(A, 3), frame(B, 2))

    assert (lines.gaps, doubtful(lines)) == (1, [0])


def test_gaps_of_two_lines_that_overlap_are_told_at_the_later_one() -> None:
    """B's gap comes to light while A's is open: A's frame before it covers B; nothing covers A."""
    lines = Lines(ROWS)
    feed(lines, [frame(B, 1, Tick(B, 0, 0)), frame(A, 1), frame(B, 3)])
    assert (counts(lines, B), lines.gaps) == ((1, 0), 0)

    feed(lines, [frame(A, 3)])
    assert (counts(lines, A), lines.gaps, doubtful(lines)) == ((1, 0), 1, [0])


# ---- the tape's numbers on two lines -------------------------------------------------------------


def test_two_lines_that_bring_the_same_are_never_counted() -> None:
    """Whichever is ahead."""
    a, b = numbers(A, range(1, 400, 3)), numbers(B, range(1, 400, 3))

    for log in (a + b, [x for pair in zip(a, b, strict=True) for x in pair], b[:50] + a + b[50:]):
        lines = fed(*log)
        assert lines.counts == {A: NOTHING, B: NOTHING}
        assert lines.single_line.sum() == 0


def test_what_one_line_lost_is_counted_on_it_and_listed_by_row() -> None:
    """A, ahead, passed without 4 and 5; B, behind, without 7: three ticks stand on one line only."""
    rows = {1: 0, 3: 0, 4: 2, 5: 3, 7: 2, 8: 0}
    a, b = (1, 3, 7, 8), (1, 3, 4, 5, 8)
    lines = fed(*(single(line, 1, 0) for line in (A, B)))
    feed(lines, [single(A, seq, rows[seq]) for seq in a[1:]])
    assert lines.single_line.sum() == 0

    feed(lines, [single(B, seq, rows[seq]) for seq in b[1:]])

    assert counts(lines, A, of=TICKS) == (2, 0, 0)
    assert counts(lines, B, of=TICKS) == (1, 0, 0)
    assert lines.single_line.tolist() == [0, 0, 2, 1, 0, 0]
    assert doubtful(lines) == []


def test_a_line_is_compared_from_where_it_joins() -> None:
    """B begins at 40, behind A: neither B's missing past nor A's numbers up to 50 are compared."""
    lines = fed(*numbers(A, range(1, 51)), *numbers(B, [40, 45]), *numbers(A, [51, 53]))
    feed(lines, numbers(B, [48, 50, 52, 54]))

    assert counts(lines, A, of=TICKS) == (1, 0, 0)
    assert counts(lines, B, of=TICKS) == (2, 0, 0)


def test_ticks_that_name_the_number_of_another_are_left_out() -> None:
    """A cancel's or correction's number is that of the trade it undoes; a halt has one of its own."""
    lines = fed(*numbers(A, [1, 2]), *numbers(B, [1, 2]))
    feed(lines, [single(A, 1, kind=CANCEL), single(A, 2, kind=CORRECTION), single(A, 3, kind=HALT)])
    feed(lines, numbers(A, [4]) + numbers(B, [4]))
    alone = fed(*numbers(A, [1]))
    feed(alone, [single(A, 9, kind=CANCEL)])
    feed(alone, numbers(A, [2]))

    assert counts(lines, A, of=TICKS) == (0, 0, 0)
    assert counts(lines, B, of=TICKS) == (1, 0, 0)
    assert alone.counts == {A: NOTHING}


def test_a_tick_of_an_unknown_symbol_counts_for_its_line_and_no_row() -> None:
    """It may have been lost as any other."""
    lines = fed(*numbers(A, [1]), *numbers(B, [1]), single(A, 2, -1), *numbers(B, [3]))

    assert counts(lines, B, of=TICKS) == (1, 0, 0)
    assert lines.single_line.sum() == 0


def test_a_new_session_is_no_gap() -> None:
    """Both lines begin again at 1, one after the other: two restarts, and nothing is missing."""
    lines = fed(*numbers(A, range(1, 1000)), *numbers(B, range(1, 1000)))
    feed(lines, numbers(A, range(1, 600)))
    feed(lines, numbers(B, range(1, 600)))

    assert counts(lines, A, of=TICKS) == (0, 1, 0)
    assert counts(lines, B, of=TICKS) == (0, 1, 0)


def test_numbers_that_are_those_of_no_tape_are_restarts_and_nothing_else() -> None:
    """Where each symbol is numbered by itself, numbers fall again and again: nothing is compared."""
    rng = random.Random(3)
    log = [single(rng.choice((A, B)), rng.randrange(1, 10**6)) for _ in range(3000)]

    lines = fed(*log)

    assert counts(lines, A, of="ticks_missing ticks_undecided") == (0, 0)
    assert counts(lines, B, of="ticks_missing ticks_undecided") == (0, 0)
    assert sum(one.ticks_restarted for one in lines.counts.values()) > 1000


def test_what_waits_is_bounded_and_what_falls_out_is_counted() -> None:
    """B stops at 2: of A's numbers at most the window waits for it, and B begins anew when it comes again."""
    lines = fed(*numbers(A, [1, 2]), *numbers(B, [1, 2]), window=16)
    feed(lines, numbers(A, range(3, 200)))

    # The window is looked at after 24 numbers of the log, at A's 22, while 20 of them wait.
    assert counts(lines, B, of=TICKS) == (0, 0, 20)

    feed(lines, numbers(B, [150, 199]) + numbers(A, [200, 202]) + numbers(B, [201, 203]))
    assert counts(lines, A, of=TICKS) == (1, 0, 0)
    assert counts(lines, B, of=TICKS) == (2, 0, 20)


def test_a_window_that_is_just_full_keeps_its_lines() -> None:
    """16 numbers wait when it is looked at, after 24 of the log: B brings them in the end, all but 20."""
    lines = fed(*numbers(A, [1, 2, 3]), *numbers(B, [1, 2, 3, 4, 5]), window=16)
    feed(lines, numbers(A, range(6, 22)))
    feed(lines, numbers(B, [*range(6, 20), 21]))

    assert counts(lines, A, of=TICKS) == (2, 0, 0)
    assert counts(lines, B, of=TICKS) == (1, 0, 0)


def test_all_lines_that_are_too_far_behind_leave() -> None:
    """C stopped at 1 and B at 3: without C, still more numbers wait for B than the window holds."""
    lines = fed(*(single(line, 1) for line in (A, B, 3)), *numbers(B, [2, 3]), window=16)
    feed(lines, numbers(A, range(2, 30)))

    # The window is looked at after 24 numbers of the log, at A's 20.
    assert counts(lines, 3, of="ticks_missing ticks_undecided") == (0, 19)
    assert counts(lines, B, of="ticks_missing ticks_undecided") == (0, 17)


def test_what_others_brought_before_a_line_joined_is_not_asked_of_it() -> None:
    """B joins at 5, when A has brought 10, which C has yet to bring: B's part begins after 10."""
    lines = fed(*numbers(A, [1]), *numbers(3, [1]), *numbers(A, [5, 10]))
    feed(lines, numbers(B, [5, 12]))
    feed(lines, numbers(3, [11]))

    assert counts(lines, 3, of=TICKS) == (2, 0, 0)
    assert counts(lines, B, of=TICKS) == (1, 0, 0)


def test_the_number_with_which_a_line_joins_is_asked_of_nobody_who_joined_later() -> None:
    """A joins with 10, then B with 5, then C comes to 10."""
    lines = fed(*numbers(3, [1, 3]), *numbers(A, [10]), *numbers(B, [5, 12]), *numbers(3, [10]))

    assert list(lines.counts.values()) == [NOTHING] * 3


def test_a_number_repeated_at_the_seam_of_two_batches_is_a_restart() -> None:
    """The last of one batch is the first of the next."""
    lines = fed(*numbers(A, [1, 2]))
    feed(lines, numbers(A, [2, 3]))

    assert counts(lines, A, of=TICKS) == (0, 1, 0)


def test_losses_of_two_lagging_lines_are_the_differences_of_what_they_brought() -> None:
    """Thousands of ticks, in batches: each line lacks what the other has and it has not, as sets say."""
    rng = random.Random(11)
    tape = [(number, rng.randrange(ROWS)) for number in accumulate(rng.choices((1, 2, 7), k=9000))]
    arrivals = []
    brought: dict[int, set[int]] = {A: set(), B: set()}
    for source, lag in ((A, 0), (B, 700)):
        for at, (number, row) in enumerate(tape):
            # Beginning and end are brought by both: there is nothing to compare them with.
            if rng.random() > 0.02 or not 1000 < at < 8990:
                arrivals.append((at + lag, source, number, row))
                brought[source].add(number)
    arrivals.sort(key=lambda one: one[0])
    log = [single(source, number, row) for _, source, number, row in arrivals]
    lines = Lines(ROWS)

    for start in range(0, len(log), 1717):
        feed(lines, log[start : start + 1717])

    assert counts(lines, A, of=TICKS) == (len(brought[B] - brought[A]), 0, 0)
    assert counts(lines, B, of=TICKS) == (len(brought[A] - brought[B]), 0, 0)
    lost = brought[A] ^ brought[B]
    expected = [sum(row == one and number in lost for number, row in tape) for one in range(ROWS)]
    assert lines.single_line.tolist() == expected
    assert sum(expected) > 200


# ---- bounds --------------------------------------------------------------------------------------


def test_sources_beyond_the_sixteenth_are_counted_together() -> None:
    """Labels are bounded: what they deliver is one number, and nothing else is known of them."""
    lines = fed(*(single(source, 1) for source in range(30, 46)))
    feed(lines, [single(46, 1), frame(47, 1, Tick(47, 1, 1)), frame(47, 9), frame(30, 1)])

    assert list(lines.counts) == list(range(30, 46))
    assert (lines.other, lines.gaps) == (4, 0)


def test_the_state_is_bounded() -> None:
    """The most that can wait, on the most lines, with every row concerned: as documented."""
    lines = Lines(3000)
    rng = random.Random(5)
    for source in range(16):
        feed(lines, numbers(source, [1]))
    # The window is looked at after each 2,048 numbers: 16 of the log, 4,080 and nearly as many as may come until then.
    feed(lines, [single(0, seq, rng.randrange(3000)) for seq in range(2, 6128)])

    packed = msgspec.msgpack.encode(lines.state())

    assert len(Lines.restore(msgspec.msgpack.decode(packed)).counts) == 16
    assert 80_000 < len(packed) < 90_000 + 3000 // 4 + 12 * 3000


# ---- another composition -------------------------------------------------------------------------


def test_rows_may_move_to_other_places() -> None:
    """Row 1 becomes 0, row 2 becomes 3, the others go: doubts, counts and what waits go along."""
    lines = fed(*numbers(A, [1], 2), *numbers(B, [1], 2), *numbers(A, [2, 3], 2), single(A, 5, 1))
    feed(lines, [*numbers(B, [4], 2), frame(A, 1, Tick(A, 0, 0)), frame(A, 3)])
    assert (doubtful(lines), lines.single_line.tolist()) == ([0, 1, 2], [0, 0, 3, 0, 0, 0])

    lines.renumber(np.array([1, 2]), np.array([0, 3]), n_rows=4)

    assert (doubtful(lines), lines.single_line.tolist()) == ([0, 3], [0, 0, 0, 3])
    feed(lines, numbers(B, [6], 1))
    assert lines.single_line.tolist() == [1, 0, 0, 3]
    feed(lines, [frame(A, 4), frame(A, 6)])
    assert doubtful(lines) == [0, 1, 3]
