"""When a connection counts as dead, when to try again, and when to give up; the clock is an argument."""

from __future__ import annotations

from collections.abc import Callable

from stream.client.events import Lost, Reconnected
from stream.errors import ServiceError

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 5.0
#: Doublings after which the longest wait is reached in any case.
_DOUBLINGS = 10

#: A user who was busy finds what came meanwhile waiting: no connection is dead before it was listened to for this long.
LISTEN_S = 0.1


class Pulse:
    """Follows how lively the publisher is.

    Parameters
    ----------
    silence_s
        Silence after which a connection counts as dead.
    give_up_s
        Silence after which to give up; None means never.
    now
        Clock, seconds.
    uniform
        Draws between two numbers, such as `random.uniform`.
    """

    def __init__(
        self,
        *,
        silence_s: float,
        give_up_s: float | None,
        now: float,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._silence_s = silence_s
        self._give_up_s = give_up_s
        self._uniform = uniform
        self._heard_at = self._opened_at = self._retry_at = now
        self._vain_since: float | None = None
        self._attempts = 0
        self._told = False

    def silent_s(self, now: float) -> float:
        """Seconds since the publisher was last heard, or since the start."""
        return now - self._heard_at

    def retry_in(self, now: float) -> float:
        """Seconds until the next connection may be tried."""
        return max(self._retry_at - now, 0.0)

    def opened(self, now: float) -> None:
        """Note that there is a connection."""
        self._opened_at = now
        self._vain_since = None

    def heard(self, now: float) -> Reconnected | None:
        """Note that the publisher was heard, and tell it where that is news."""
        silent_s, attempts, told = self.silent_s(now), self._attempts, self._told
        self._heard_at, self._attempts, self._told = now, 0, False
        self._vain_since = None
        return Reconnected(silent_s, attempts) if told else None

    def lost(self, reason: str, now: float) -> Lost | None:
        """Note that the connection is gone, set the time of the next, and tell the loss where that is news.

        Raises
        ------
        ServiceError
            Where it is time to give up.
        """
        silent_s = self.silent_s(now)
        if self._give_up_s is not None and silent_s >= self._give_up_s:
            raise ServiceError(f"nothing heard for {silent_s:.1f} s: {reason}")
        # A random part of the wait, so that all who were cut off together do not come back together.
        longest = min(FIRST_RETRY_S * 2 ** min(self._attempts, _DOUBLINGS), LONGEST_RETRY_S)
        self._retry_at = now + self._uniform(0.0, longest)
        if self._give_up_s is not None:
            self._retry_at = min(self._retry_at, self._heard_at + self._give_up_s)
        self._attempts += 1
        told, self._told = self._told, True
        return None if told else Lost(reason, silent_s)

    def wait_s(self, now: float) -> float:
        """Seconds to listen before the connection may count as dead."""
        return max(self._deadline() - now, LISTEN_S)

    def is_dead(self, began: float, now: float) -> bool:
        """Note that nothing came between two moments, and tell whether the connection counts as dead.

        Parameters
        ----------
        began
            When listening began.
        now
            When it ended.
        """
        if self._vain_since is None:
            self._vain_since = began
        return now >= self._deadline() and now - self._vain_since >= LISTEN_S

    def _deadline(self) -> float:
        return max(self._heard_at, self._opened_at) + self._silence_s
