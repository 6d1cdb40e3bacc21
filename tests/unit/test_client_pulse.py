"""When the client takes a connection for dead, when it tries again, when it gives up; and what it refuses to try."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.client import AsyncLevels, Levels, Lost, Reconnected
from stream.client.options import Options
from stream.client.pulse import Pulse
from stream.errors import ServiceError, SetupError


def pulse(*, give_up_s: float | None = None, draw: float = 1.0) -> Pulse:
    """Make one that begins at 100 s, and draws at a fraction of what it may."""
    return Pulse(
        silence_s=3.0,
        give_up_s=give_up_s,
        now=100.0,
        uniform=lambda low, high: low + draw * (high - low),
    )


def test_silence_is_death_after_its_time_and_not_before() -> None:
    """Three seconds from the last that was heard."""
    one = pulse()
    one.opened(100.0)
    one.heard(100.5)

    assert one.wait_s(100.5) == pytest.approx(3.0)
    assert not one.is_dead(100.5, 103.4)
    assert one.is_dead(103.4, 103.5)


def test_a_new_connection_has_its_time_too() -> None:
    """However long the silence before it."""
    one = pulse()
    one.lost("cut", 150.0)
    one.opened(160.0)

    assert not one.is_dead(160.0, 162.9)
    assert one.is_dead(162.9, 163.0)


def test_a_busy_user_looks_before_he_calls_it_dead() -> None:
    """What waited in the socket while he was away comes first."""
    one = pulse()
    one.opened(100.0)
    one.heard(100.0)

    assert one.wait_s(110.0) == pytest.approx(0.1)
    assert not one.is_dead(110.0, 110.001)
    assert one.is_dead(110.0, 110.11)


def test_short_looks_add_up() -> None:
    """Who polls for a millisecond at a time finds out as well."""
    one = pulse()
    one.opened(100.0)
    moments = [100.0 + n / 50 for n in range(200)]
    dead = [now for now in moments if one.is_dead(now, now + 0.001)]

    assert dead[0] == pytest.approx(103.0)


def test_losses_are_told_once_until_the_publisher_is_heard() -> None:
    """`Lost` with its reason, then nothing but tries, then `Reconnected` with their number."""
    one = pulse()
    one.heard(101.0)
    told = [one.lost("cut", 102.0), one.lost("refused", 103.0), one.lost("refused", 104.0)]
    back, again = one.heard(106.0), one.heard(107.0)

    assert told == [Lost("cut", 1.0), None, None]
    assert (back, again) == (Reconnected(5.0, 3), None)


@given(st.integers(0, 5_000), st.floats(0, 1))
def test_waits_double_up_to_a_bound_and_are_random(losses: int, draw: float) -> None:
    """A random part of 0.1 s, 0.2 s, 0.4 s ... 5 s, however many tries there were."""
    one = pulse(draw=draw)
    for _ in range(losses):
        one.lost("refused", 100.0)
    one.lost("refused", 200.0)

    assert one.retry_in(200.0) == pytest.approx(draw * min(0.1 * 2 ** min(losses, 20), 5.0))
    assert one.retry_in(300.0) == 0.0


def test_waits_are_short_again_once_the_publisher_is_heard() -> None:
    """A connection alone is no success: Redis may cut it off again at once."""
    one = pulse()
    for _ in range(10):
        one.lost("cut", 100.0)
        one.opened(100.0)
    one.lost("cut", 100.0)
    long = one.retry_in(100.0)
    one.heard(101.0)
    one.lost("cut", 102.0)

    assert long == 5.0
    assert one.retry_in(102.0) == pytest.approx(0.1)


def test_it_gives_up_when_it_was_told_to() -> None:
    """After so many seconds without the publisher, with the last reason, and never later than that."""
    one = pulse(give_up_s=2.0)
    for _ in range(6):
        one.lost("refused", 101.9)
    assert one.retry_in(101.9) == pytest.approx(0.1)
    with pytest.raises(ServiceError, match=r"nothing heard for 2\.0 s: refused"):
        one.lost("refused", 102.0)


def test_to_give_up_at_once_takes_one_try() -> None:
    """With 0 s, the first failure ends it."""
    with pytest.raises(ServiceError, match="refused"):
        pulse(give_up_s=0.0).lost("refused", 100.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codes": "US1000"}, "codes: expected a list"),
        ({"thin": True}, "thin: expected the codes"),
        ({"backlog": -1}, "backlog: expected 0 or more"),
        ({"silence_s": 0.0}, "silence_s: expected more than 0"),
        ({"give_up_s": -1.0}, "give_up_s: expected 0 seconds or more"),
        ({"url": "http://:secret@127.0.0.1"}, "url: expected the address of a Redis"),
        ({"url": "redis://127.0.0.1/0?decode_responses=1"}, "url: expected none of"),
        ({"url": "redis://127.0.0.1/0?protocol=3"}, "url: expected none of"),
    ],
)
@pytest.mark.parametrize("form", [Levels, AsyncLevels])
def test_what_cannot_work_is_refused(form: Any, options: dict[str, Any], message: str) -> None:
    """Both forms say at once what is wrong, and give away no password."""
    with pytest.raises(SetupError, match=message) as refused:
        form(**options)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:secret@10.0.0.1:6380/2", "10.0.0.1:6380"),
        ("redis://", "localhost:6379"),
        ("unix:///run/redis.sock?password=secret", "/run/redis.sock"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, address: str) -> None:
    """Errors and logs name the place alone."""
    assert Options(url=url).address == address


def test_a_thin_subscriber_listens_on_its_own_channels() -> None:
    """One for each code and the heartbeat; else the channel of all."""
    thin = Options(codes=["US1000", "US2000", "US1000"], thin=True)

    assert thin.channels == ("idx:v1:level:US1000", "idx:v1:level:US2000", "idx:v1:heartbeat")
    assert Options(codes=["US1000"], prefix="my:").channels == ("my:levels", "my:heartbeat")
