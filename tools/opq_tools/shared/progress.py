"""Progress of long work: a bar or the step on the terminal; elsewhere nothing, or a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from opq_proto.kit.own_thread import OwnThread

PATIENCE_S = 1.0
"""Work that ends sooner shows no bar."""
LINE_EVERY_S = 5.0
"""Time from one line to the next."""


@contextmanager
def shown_progress(what: str, total: int, lines: bool = False) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the done part of `total`; it draws on stderr, if that is a terminal.

    Args:
        lines: without a terminal, print a line every LINE_EVERY_S, even without progress.
    """
    if not sys.stderr.isatty() and not lines:
        yield _show_nothing
        return
    bar: _Bar | _Lines = _Bar(what, total) if sys.stderr.isatty() else _Lines(what, total, sys.stderr)
    try:
        yield bar.show
    finally:
        bar.close()


@contextmanager
def shown_step(text: str) -> Iterator[None]:
    """Shows a step whose length is not known, and then how long it took; on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    console, began_s = Console(stderr=True, highlight=False), time.monotonic()
    with console.status(text):
        yield
    console.print(f"{text}: {time.monotonic() - began_s:.1f} s", markup=False)


def _show_nothing(_done: int) -> None:
    return


class _Lines(OwnThread):
    """Prints lines from its own thread, because one step of the work may take long."""

    def __init__(self, what: str, total: int, out: TextIO) -> None:
        super().__init__("progress")
        self._what, self._total, self._out = what, total, out
        self._done = 0
        self._begun_s = time.monotonic()
        self.start()

    def show(self, done: int) -> None:
        self._done = done

    def _run(self) -> None:
        while not self._stop.wait(LINE_EVERY_S):
            passed_s = time.monotonic() - self._begun_s
            try:
                self._out.write(f"{self._what}: {self._done} of {self._total} after {passed_s:.0f} s\n")
                self._out.flush()
            except (OSError, ValueError):
                return  # the reader has gone


class _Bar:
    """A bar that appears after `PATIENCE_S`; only then is rich imported."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._begun_s = time.monotonic()
        self._update: Callable[[int], None] | None = None
        self._stop: Callable[[], None] | None = None

    def show(self, done: int) -> None:
        if self._update is None:
            if time.monotonic() - self._begun_s < PATIENCE_S:
                return
            self._open()
        if self._update is not None:
            self._update(done)

    def close(self) -> None:
        if self._stop is not None:
            self._stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task(self._what, total=self._total)
        bar.start()
        self._update = lambda done: bar.update(task, completed=done)
        self._stop = bar.stop
