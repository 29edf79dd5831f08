"""Progress without a terminal: lines on stderr while the work goes on."""

import io
import re
import sys
import time

import pytest

from opq_tools.shared import progress


def test_a_pipe_gets_progress_lines_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.02)
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    for done, line in ((0, "again: 0 of 79 after "), (3, "again: 3 of 79 after ")):
        with progress.shown_progress("again", 79, lines=True) as show:
            show(done)
            deadline_s = time.monotonic() + 240
            while line not in pipe.getvalue() and time.monotonic() < deadline_s:
                time.sleep(0.01)
        assert line in pipe.getvalue(), "also before anything is done"
    written = pipe.getvalue()
    with progress.shown_progress("again", 79) as show:
        show(5)
    assert pipe.getvalue() == written and "\x1b" not in written


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.shown_step("uploading 3 KiB"):
        assert "3 KiB: " not in terminal.getvalue()
    assert re.search(r"uploading 3 KiB: \d+\.\d s", terminal.getvalue())
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress.shown_step("uploading 3 KiB"):
        pass
    assert pipe.getvalue() == ""
