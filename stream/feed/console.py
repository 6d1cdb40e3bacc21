"""A feed on a terminal: runs it until its end or Ctrl-C, shows how far it is, and says what it did."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stream.feed.run import FeedSummary, OnProgress, utc_text
from stream.feed.run import Progress as FeedProgress

#: How many bad lines are shown; the summary in JSON lists more.
_SHOWN_ERRORS = 5

#: Starts a feed, which ends when the event is set.
Start = Callable[[asyncio.Event, OnProgress], Awaitable[FeedSummary]]


def run_feed(
    start: Start,
    *,
    console: Console,
    title: str,
    done: Callable[[FeedProgress], float] | None = None,
) -> FeedSummary:
    """Run a feed to its end; Ctrl-C or SIGTERM ends it cleanly, a second one at once.

    Parameters
    ----------
    start
        Starts the feed.
    console
        Where to show it: a line at the start and one at the end, between them live on a terminal.
    title
        What it does, in a few words.
    done
        Gives the part that is done, 0 to 1; None where the end is not known.

    Returns
    -------
    FeedSummary
    """
    # What goes wrong ends as one sentence; aiokafka's own account of it would stand above.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    console.print(title)
    summary = _run_live(start, console, done) if console.is_terminal else _run_quietly(start)
    for error in summary.errors[:_SHOWN_ERRORS]:
        console.print(error)
    console.print(summary_line(summary))
    return summary


def summary_line(summary: FeedSummary) -> str:
    """Say in one line what a feed has done."""
    verb = "Replayed" if summary.origin == "replay" else "Simulated"
    line = (
        f"{verb} {summary.ticks:,} ticks in {summary.seconds:.1f} s ({summary.ticks_per_s:,.0f}/s) "
        f"into {len(summary.end_offsets)} partitions of {summary.topic}"
    )
    if summary.first_event_ns is not None and summary.last_event_ns is not None:
        line += f", {utc_text(summary.first_event_ns)} to {utc_text(summary.last_event_ns)}"
    return f"{line}; bad lines: {summary.bad_lines:,}" if summary.bad_lines else line


def _run_live(
    start: Start,
    console: Console,
    done: Callable[[FeedProgress], float] | None,
) -> FeedSummary:
    columns = [BarColumn()] if done else [SpinnerColumn()]
    with Progress(
        *columns,
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("connecting", total=1.0 if done else None)

        def show(progress: FeedProgress) -> None:
            speed = progress.ticks / max(progress.seconds, 0.001)
            bar.update(
                task,
                completed=done(progress) if done else None,
                description=f"{progress.ticks:,} ticks, {speed:,.0f}/s, {utc_text(progress.event_ns)}",
            )

        return asyncio.run(_until_signal(start, show))


def _run_quietly(start: Start) -> FeedSummary:
    def show_nothing(_progress: FeedProgress) -> None:
        pass

    return asyncio.run(_until_signal(start, show_nothing))


async def _until_signal(start: Start, on_progress: OnProgress) -> FeedSummary:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, end)
    return await start(stop, on_progress)
