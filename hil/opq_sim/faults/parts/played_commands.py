"""Commands: `opq-tools` in one process for all questions of a world, so that a question needs no imports.

python -m opq_sim.faults.parts.played_commands PARENT_PID
"""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opq_sim.parent import end_with

COMMAND_S: Final = 300.0
"""Limit that ends a command that hangs; a command takes a part of a second."""
PROGRAM: Final = "opq_tools.cli"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command ended with, and what it wrote."""

    code: int
    out: str
    error: str


class Commands:
    """The world's end, for the `with` block; the process starts with the first command. One thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Commands":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()  # it ends with its input
            self._process = None

    def run(self, *words: str) -> Answer:
        """Runs `opq-tools WORDS`; code -1 if its process ended meanwhile, the next command starts another."""
        process = self._process = self._process or _started()
        assert process.stdin is not None and process.stdout is not None
        limit = threading.Timer(COMMAND_S, process.kill)
        limit.start()
        try:
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            limit.cancel()
        if line:
            return Answer(*json.loads(line))
        self._process = None
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
        return Answer(-1, "", f"its process ended with {process.wait()}")


def _started() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", __name__, str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Runs the commands of standard input, one a line, until its end."""
    end_with(int(sys.argv[1]))
    # with a buffer of its own: under PYTHONUNBUFFERED, a write that a signal cuts loses its rest
    with open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as answers:
        for line in sys.stdin:
            print(json.dumps(_run(json.loads(line))), file=answers, flush=True)


def _run(words: Sequence[str]) -> tuple[int, str, str]:
    written, error, code = io.BytesIO(), io.StringIO(), 0
    out = io.TextIOWrapper(written, encoding="utf-8", write_through=True)  # an export writes bytes
    sys.argv = [PROGRAM, *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            runpy.run_module(PROGRAM, run_name="__main__")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    out.flush()
    return code, written.getvalue().decode(), error.getvalue()


if __name__ == "__main__":
    main()
