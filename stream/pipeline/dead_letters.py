"""Dead letters: what could not be used, kept with its reason and origin, within bounds (law 9)."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

#: Longer values are cut here, and carry a hash of the whole.
LONGEST_VALUE = 64 * 1024

#: Letters that wait for the producer; beyond it they are only counted.
LONGEST_QUEUE = 1_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that held something unusable.

    Attributes
    ----------
    key, value
        The original bytes.
    reason, detail
        Why it is here: a word, and what was expected and found.
    topic, partition, offset
        Where it stands.
    element
        Position of the tick in an array or frame, or None where the whole message is meant.
    """

    key: bytes | None
    value: bytes
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    element: int | None

    def headers(self) -> dict[str, bytes]:
        """Give the headers of its record (`formats.md`, Kafka topics)."""
        headers = {
            "reason": self.reason,
            "detail": self.detail[:1_000],
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "index": "" if self.element is None else str(self.element),
        }
        if len(self.value) > LONGEST_VALUE:
            headers["sha256"] = hashlib.sha256(self.value).hexdigest()
        return {name: text.encode() for name, text in headers.items()}

    def body(self) -> bytes:
        """Give the value of its record: the first 64 KB of the original."""
        return self.value[:LONGEST_VALUE]


class DeadLetters:
    """A bounded queue with a rate limit.

    Parameters
    ----------
    per_s
        Letters a second that are kept; a second's worth may come at once.

    Attributes
    ----------
    dropped
        Letters that were only counted, because of the rate limit or a full queue.
    """

    __slots__ = ("_allowed", "_at", "_per_s", "_queue", "dropped")

    def __init__(self, *, per_s: int) -> None:
        self.dropped = 0
        self._per_s = per_s
        self._allowed = float(per_s)
        self._at = 0.0
        self._queue: deque[DeadLetter] = deque()

    def admit(self, n: int, *, now: float) -> int:
        """Tell how many of some letters there is room for; the rest is counted as dropped.

        Parameters
        ----------
        n
            Letters that want in.
        now
            Seconds on a clock that does not go back.
        """
        self._allowed = min(self._per_s, self._allowed + (now - self._at) * self._per_s)
        self._at = now
        admitted = min(n, int(self._allowed), LONGEST_QUEUE - len(self._queue))
        self._allowed -= admitted
        self.dropped += n - admitted
        return admitted

    def add(self, letter: DeadLetter) -> None:
        """Queue an admitted letter."""
        self._queue.append(letter)

    def take(self, n: int) -> list[DeadLetter]:
        """Take the oldest letters, so many at most."""
        return [self._queue.popleft() for _ in range(min(n, len(self._queue)))]

    def put_back(self, letters: list[DeadLetter]) -> None:
        """Queue letters again that could not be sent, before the others."""
        self._queue.extendleft(reversed(letters))

    def __len__(self) -> int:
        return len(self._queue)
