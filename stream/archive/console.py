"""How far a verification or an export is, on a terminal; nothing where there is none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


class Bar:
    """A bar and a few words; made by `open_bar`."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None) if progress is not None else None

    def show(self, words: str, done: int = 0, of: int = 0) -> None:
        """Show how much is done, of how much; of nothing where that is not known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, description=words, completed=min(done, of), total=of or None
            )


@contextmanager
def open_bar(console: Console) -> Iterator[Bar]:
    """Show a bar for as long as the context lasts.

    Parameters
    ----------
    console
        Where to: standard error, so that standard output is only what was found.
    """
    # What goes wrong ends as one sentence; aiokafka's own account of it would stand above.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    if not console.is_terminal:
        yield Bar(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)
