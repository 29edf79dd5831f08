"""`opq-tools` within the test's own process: what a shell shows, without the second of CPU a process takes.

A few tests start a real process; whoever asks again and again, or ends with an error, does so here.
"""

import contextlib
import io
import subprocess
import sys
from unittest import mock

from opq_tools.cli import main


def run_in_process(*words: str) -> "subprocess.CompletedProcess[str]":
    """`opq-tools WORDS`: exit code, stdout and stderr as the entry point leaves them."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(sys, "argv", ["opq-tools", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(
        words, code if isinstance(code, int) else 1, out.getvalue(), err.getvalue()
    )
