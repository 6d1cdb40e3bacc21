"""What a message means: the client without sockets and without a clock, so that its two forms cannot differ."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stream.client.events import Counts, Event, How, Key, Update
from stream.client.messages import Message, read_head, read_message, split
from stream.client.options import Options
from stream.client.pulse import Pulse
from stream.client.questions import Command, Talk, histories, newest_snapshots
from stream.errors import ServiceError, WireError

log = logging.getLogger(__name__)

#: Codes whose streams are read in one round trip.
CODES_AT_ONCE = 8


class Core:
    """Decides what is delivered, what is asked of Redis, and when a connection is dead.

    Whoever drives it has two connections. One subscribes to the channels; each reply that comes on it goes to `hear`. On
    the other, `commands` are sent, when everything was taken and before anything more is heard, and their replies go
    to `answer`. What `take` gives is the user's. A failure of either connection goes to `lost`; then both are made anew,
    and `opened`.

    Parameters
    ----------
    options
        How to follow.
    now
        Clock, seconds.
    uniform
        Draws between two numbers, such as `random.uniform`.

    Attributes
    ----------
    counts
        What happened so far.
    """

    def __init__(
        self, options: Options, *, now: float, uniform: Callable[[float, float], float]
    ) -> None:
        self.counts = Counts()
        self._options = options
        self._names = options.names
        self._codes = tuple(dict.fromkeys(options.codes))
        self._wanted = frozenset(self._codes)
        self._heartbeat = options.names.heartbeat.encode()
        self._levels = options.names.levels.encode()
        self._events: deque[Event] = deque()
        #: By code: the newest delivered, and the newest there is, which may be held until its gap is filled.
        self._delivered: dict[str, Key] = {}
        self._newest: dict[str, Key] = {}
        self._held: dict[str, dict[Key, tuple[Message, How]]] = {}
        self._acknowledged = 0
        self._keys_due = False
        self._talk: Talk[None] | None = None
        self._asked: list[Command] = []
        self._uniform = uniform
        self.start(now)

    # ---- the connection --------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Count silence from now on."""
        self._pulse = Pulse(
            silence_s=self._options.silence_s,
            give_up_s=self._options.give_up_s,
            now=now,
            uniform=self._uniform,
        )

    def silent_s(self, now: float) -> float:
        """Seconds since the publisher was last heard, or since the start."""
        return self._pulse.silent_s(now)

    def retry_in(self, now: float) -> float:
        """Seconds until the next connection may be tried."""
        return self._pulse.retry_in(now)

    def wait_s(self, now: float) -> float:
        """Seconds to listen before the connection may count as dead."""
        return self._pulse.wait_s(now)

    def opened(self, now: float) -> None:
        """Note that there is a connection, and that SUBSCRIBE was sent."""
        self._acknowledged = 0
        self._pulse.opened(now)

    def is_dead(self, began: float, now: float) -> bool:
        """Note that nothing came between two moments, and tell whether the connection counts as dead."""
        return self._pulse.is_dead(began, now)

    def lost(self, reason: str, now: float) -> None:
        """Note that the connection is gone, or could not be made.

        Raises
        ------
        ServiceError
            Where it is time to give up.
        """
        self.counts.losses += 1
        self._keys_due = False
        self._end_talk()
        try:
            event = self._pulse.lost(reason, now)
        except ServiceError as error:
            raise ServiceError(f"Redis {self._options.address}: {error}") from error
        retry_s = self._pulse.retry_in(now)
        address = self._options.address
        if event is None:
            log.info("redis_away address=%s retry_s=%.1f reason=%s", address, retry_s, reason)
            return
        log.warning("redis_lost address=%s retry_s=%.1f reason=%s", address, retry_s, reason)
        self._events.append(event)

    # ---- messages --------------------------------------------------------------------------------

    def hear(self, reply: object, now: float) -> None:
        """Take a reply of the subscribed connection.

        Parameters
        ----------
        reply
            As Redis sends it: `[b"message", channel, data]`, `[b"subscribe", channel, number]`.
        now
            Clock, seconds.
        """
        match reply:
            case [b"message", bytes(channel), bytes(data)]:
                self._hear_message(channel, data, now)
            case [b"subscribe", bytes(), int()]:
                self._acknowledged += 1
                # Keys read before the subscription is known to stand could leave a hole between the two.
                if self._acknowledged == len(self._options.channels):
                    self.read_keys()
            case _:
                self._complain("connection", WireError(f"expected a message, found {reply!r:.80}"))

    def _hear_message(self, channel: bytes, data: bytes, now: float) -> None:
        back = self._pulse.heard(now)
        if back is not None:
            log.info("redis_back silent_s=%.1f attempts=%d", back.silent_s, back.attempts)
            self._events.append(back)
        if channel == self._heartbeat:
            return
        for one in self._members(channel, data):
            if not self._offer(one, How.LIVE):
                self.counts.dropped += 1
        if len(self._events) > self._options.backlog:
            self._conflate()

    def _members(self, channel: bytes, data: bytes) -> Sequence[bytes]:
        if channel != self._levels:
            return [data]
        try:
            return split(data)
        except WireError as error:
            self._complain(channel.decode(errors="replace"), error)
            return []

    # ---- what is asked of Redis ------------------------------------------------------------------

    def read_keys(self) -> None:
        """Ask for the newest snapshots, and for what the streams hold since those that were delivered."""
        self._keys_due = True

    def commands(self) -> Sequence[Command]:
        """Give the commands whose replies are awaited; none where nothing is to be asked."""
        if self._talk is None and self._keys_due:
            self._keys_due = False
            self._begin(self._read_keys())
        if self._talk is None and self._held:
            self._begin(self._fill(list(self._held)[:CODES_AT_ONCE]))
        return self._asked

    def answer(self, replies: Sequence[Any]) -> None:
        """Take the replies to `commands`."""
        self._continue(replies)

    def _begin(self, talk: Talk[None]) -> None:
        self._talk = talk
        self._continue(None)

    def _continue(self, replies: Sequence[Any] | None) -> None:
        assert self._talk is not None, "an answer to nothing"
        try:
            # A generator begins with None, whatever it is sent later.
            self._asked = next(self._talk) if replies is None else self._talk.send(replies)
        except StopIteration:
            self._end_talk()

    def _end_talk(self) -> None:
        if self._talk is not None:
            self._talk.close()
        self._talk, self._asked = None, []

    def _read_keys(self) -> Talk[None]:
        best: dict[str, tuple[Key, bytes]] = {}
        for data in (yield from newest_snapshots(self._names, self._codes)):
            try:
                head = read_head(data)
            except WireError as error:
                self._complain(How.SNAPSHOT.value, error)
                continue
            # The hash of packed publications may hold values of long ago.
            best[head.code] = max(best.get(head.code, (head.key, data)), (head.key, data))
        for code, (key, data) in best.items():
            newest = self._newest.get(code, key)
            if key[0] < newest[0]:
                log.warning("snapshot_of_older_epoch code=%s has=%s known=%s", code, key, newest)
            self._offer(data, How.SNAPSHOT)

    def _fill(self, codes: Sequence[str]) -> Talk[None]:
        """Read the streams of some codes, and let go what is held of them.

        Nothing is taken that is newer than what is held: it comes on the channel, and before it may come what no stream
        holds, because it was packed.
        """
        gaps = {code: (self._delivered[code], max(self._held[code])) for code in codes}
        found = yield from histories(self._names, gaps, self._options.backlog, self._read)
        for code in codes:
            both = {message.key: (message, How.STREAM) for message in found[code]}
            both |= self._held.pop(code)
            for key in sorted(both):
                self._deliver(*both[key])

    # ---- order -----------------------------------------------------------------------------------

    def _offer(self, data: bytes, how: How) -> bool:
        """Deliver a snapshot, or hold it until what comes before it was looked for; tell whether it is newer."""
        try:
            head = read_head(data)
            if self._wanted and head.code not in self._wanted:
                return True
            newest = self._newest.get(head.code)
            if newest is not None and head.key <= newest:
                return False
            message = read_message(head, data)
        except WireError as error:
            self._complain(how.value, error)
            return True
        self._newest[head.code] = head.key
        if head.code in self._held or self._leaves_gap(newest, head.key):
            self._held.setdefault(head.code, {})[head.key] = (message, how)
        else:
            self._deliver(message, how)
        return True

    def _leaves_gap(self, before: Key | None, key: Key) -> bool:
        """Tell whether something may stand in the stream between two publications of a code."""
        if before is None or not self._options.backlog:
            return False
        return before[0] != key[0] or before[1] + 1 != key[1]

    def _deliver(self, message: Message, how: How) -> None:
        before = self._delivered.get(message.code)
        epoch, seq = self._delivered[message.code] = message.key
        self._newest[message.code] = max(message.key, self._newest.get(message.code, message.key))
        missed = 0
        if before is not None:
            missed = seq - 1 - (before[1] if before[0] == epoch else 0)
        self.counts.delivered += 1
        self.counts.missed += missed
        self.counts.filled += how is How.STREAM
        self._events.append(
            Update(
                code=message.code,
                epoch=epoch,
                seq=seq,
                level=message.level,
                how=how,
                missed=missed,
                fields=message.fields,
                data=message.data,
            )
        )

    def _read(self, data: bytes) -> Message | None:
        try:
            return read_message(read_head(data), data)
        except WireError as error:
            self._complain(How.STREAM.value, error)
            return None

    def _complain(self, where: str, error: WireError) -> None:
        self.counts.malformed += 1
        log.warning("message_malformed where=%s error=%s", where, error)

    # ---- what the user is given ------------------------------------------------------------------

    def take(self) -> Event | None:
        """Give the next event, or None where there is none."""
        return self._events.popleft() if self._events else None

    def updates(self) -> dict[str, Update]:
        """Take everything, and give the newest update of each code."""
        newest = {event.code: event for event in self._events if isinstance(event, Update)}
        self._events.clear()
        return newest

    def _conflate(self) -> None:
        """Keep the newest update of each code: the taker is slower than the publisher."""
        others: list[Event] = []
        newest: dict[str, Update] = {}
        for event in self._events:
            if not isinstance(event, Update):
                others.append(event)
                continue
            before = newest.pop(event.code, None)
            if before is None:
                newest[event.code] = event
                continue
            self.counts.conflated += 1
            newest[event.code] = replace(
                event,
                missed=before.missed + event.missed,
                conflated=before.conflated + event.conflated + 1,
            )
        self._events = deque([*others, *newest.values()])
