"""Dead letters keep their bounds: of size, of rate, of number (law 9)."""

from __future__ import annotations

import hashlib

import pytest

from stream.pipeline.dead_letters import LONGEST_QUEUE, DeadLetter, DeadLetters


def letter(value: bytes = b"x", *, detail: str = "why", element: int | None = None) -> DeadLetter:
    return DeadLetter(b"key", value, "malformed", detail, "ticks", 3, 41, element)


def test_headers_name_reason_and_origin() -> None:
    """As `formats.md` lists them, in UTF-8; the index is empty where the whole message is meant."""
    expected = {
        "reason": b"malformed",
        "detail": "Größe".encode(),
        "topic": b"ticks",
        "partition": b"3",
        "offset": b"41",
        "index": b"",
    }

    assert letter(detail="Größe").headers() == expected
    assert letter(element=0).headers()["index"] == b"0"


@pytest.mark.parametrize(("size", "hashed"), [(0, False), (65_536, False), (65_537, True)])
def test_the_first_64_kb_are_kept_and_a_hash_of_what_is_larger(size: int, *, hashed: bool) -> None:
    """The original can be recognised though it cannot be kept."""
    value = bytes(i % 251 for i in range(size))
    one = letter(value)

    assert one.body() == value[:65_536]
    assert ("sha256" in one.headers()) == hashed
    if hashed:
        assert one.headers()["sha256"].decode() == hashlib.sha256(value).hexdigest()


def test_a_long_detail_is_cut() -> None:
    """A header is no place for a novel."""
    assert len(letter(detail="y" * 10_000).headers()["detail"]) <= 1_000


def test_a_seconds_worth_may_come_at_once_then_the_rate_holds() -> None:
    """A burst of a second's letters, then as many as time allows; the rest is only counted."""
    letters = DeadLetters(per_s=100)

    assert letters.admit(250, now=1_000.0) == 100
    assert letters.admit(50, now=1_000.0) == 0
    assert letters.admit(50, now=1_000.25) == 25
    assert letters.admit(1_000, now=1_060.0) == 100
    assert letters.dropped == 150 + 50 + 25 + 900


def test_a_rate_of_zero_keeps_none() -> None:
    """All are counted."""
    letters = DeadLetters(per_s=0)

    assert letters.admit(5, now=10.0) == 0
    assert letters.dropped == 5


def test_over_any_time_no_more_are_kept_than_the_rate_allows() -> None:
    """Small steps gain nothing over large ones, and lose nothing."""
    letters = DeadLetters(per_s=10)
    kept = sum(letters.admit(1, now=500 + step / 1000) for step in range(5_000))

    assert 10 + 49 <= kept + 1 <= 10 + 51


def test_the_queue_is_bounded() -> None:
    """A producer that stands still costs no memory without end."""
    letters = DeadLetters(per_s=10**9)
    admitted = letters.admit(LONGEST_QUEUE + 7, now=100.0)
    for _ in range(admitted):
        letters.add(letter())

    assert (len(letters), letters.dropped) == (LONGEST_QUEUE, 7)
    assert letters.admit(1, now=101.0) == 0
    assert letters.take(1)
    assert letters.admit(2, now=102.0) == 1


def test_the_oldest_letter_is_taken_first() -> None:
    """In the order of the log, also where one could not be sent and is put back; nothing where there is none."""
    letters = DeadLetters(per_s=10)
    for value in (b"1", b"2"):
        letters.add(letter(value))

    taken = letters.take(1)
    assert [one.value for one in taken] == [b"1"]
    letters.put_back(taken)
    assert [one.value for one in letters.take(3)] == [b"1", b"2"]
    assert letters.take(3) == []
