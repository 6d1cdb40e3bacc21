"""An event loop without a machine below it: somebody else turns it, and the clock is an argument."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

NS_PER_S = 1_000_000_000


class Clock:
    """The one clock of a history; it stands in for the module `time`, too."""

    def __init__(self, start_ns: int) -> None:
        self.now_ns = start_ns
        self._start_ns = start_ns

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return (self.now_ns - self._start_ns) / NS_PER_S

    def perf_counter(self) -> float:
        return self.monotonic()

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS_PER_S)

    def advance_to(self, monotonic: float) -> None:
        """Go on to a moment of the steady clock, or just beyond it: seconds as floats are not exact."""
        self.now_ns = max(self.now_ns, self._start_ns + int(monotonic * NS_PER_S) + 1_000)


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process.

    Parameters
    ----------
    clock
        Tells when timers are due.

    Attributes
    ----------
    faults
        What a loop is told of errors that nobody took.
    """

    def __init__(self, clock: Clock) -> None:
        self.faults: list[dict[str, Any]] = []
        self._clock = clock
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        #: Whose loop it is.
        self.process: Any = None

    # ---- for whoever turns it ----------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether there is anything to do now."""
        return bool(self._ready) or (
            bool(self._timers) and self._timers[0].when() <= self._clock.monotonic()
        )

    @property
    def next_s(self) -> float | None:
        """When the next timer is due, on the clock's steady seconds."""
        while self._timers and self._timers[0].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0].when() if self._timers else None

    def turn(self, *, at_most: int = 10_000) -> None:
        """Do all that is due, until only time or somebody else can bring more."""
        now = self._clock.monotonic()
        while self._timers and self._timers[0].when() <= now:
            self._ready.append(heapq.heappop(self._timers))
        ready = self._ready
        asyncio._set_running_loop(self)
        try:
            for _ in range(at_most):
                if not ready:
                    return
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)
        raise AssertionError("a process never comes to rest")

    def end(self) -> None:
        """Cancel every task and let it clean up after itself."""
        self.turn()
        for _ in range(50):
            tasks = [task for task in self._tasks if not task.done()]
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            self.turn()
            self._clock_out()
        raise AssertionError(f"tasks that do not end: {tasks}")

    def _clock_out(self) -> None:
        """Let all timers be due at once."""
        while self._timers:
            self._ready.append(heapq.heappop(self._timers))
        self.turn()

    # ---- for asyncio -------------------------------------------------------------------------------

    def time(self) -> float:
        return self._clock.monotonic()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, timer)
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        if len(self._tasks) > 100:
            self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: cancelled timers are passed over when their time comes."""
