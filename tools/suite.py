"""What tools/test runs: style and builds side by side, then the tests with the slow steps beside.

python tools/suite.py [options of pytest]
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

import psutil

from opq_hil.backends.debian_source import cache_folder

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
CORES = min(4, max(2, os.cpu_count() or 2))
WORKERS = CORES + 6
"""More than cores: a test waits two thirds of its time, for a Box's next second or an answer. With five
workers two cores were idle for a fifth of the run."""
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30
"""Free memory from which on the tests' files are kept in it; they take a tenth of this."""
PYTEST = (
    PYTHON,
    "-m",
    "pytest",
    "-n",
    str(WORKERS),
    "--dist",
    "loadfile",  # not worksteal: 77 files share a running system or a server between their tests
    "--no-loadscope-reorder",
    "--hypothesis-profile",
    "ci",
    "--durations",
    "20",
    "--durations-min",
    "1",
    "-o",
    "tmp_path_retention_policy=failed",
)
COLLECT = (PYTHON, "-m", "pytest", "--collect-only", "--quiet", "-m", "", "--hypothesis-profile", "ci")
FAILED_STEPS = "OPQ_FAILED_STEPS"
"""File with the names of the steps that failed, for conftest.py; it may grow while the tests run."""
EMULATOR_STEP = "OPQ_EMULATOR_STEP"
"""File that exists while the emulator is built; conftest.py has the tests that need it wait."""
MYPY_CACHE = ".mypy_cache"
"""mypy's own cache; its results for a source's content are valid in every checkout."""
END_S = 20.0
"""How long pytest may take to end its fixtures after Ctrl-C."""
SHARE = Path("/proc/self/autogroup")
SHARE_NICE = -5
"""The share of three sessions: a service with a session of its own has one, all workers together had one."""
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER, prctl(2)."""


@dataclass(frozen=True)
class Step:
    name: str
    command: tuple[str, ...]
    otherwise: str = ""
    """Consequence, where the step may end with 1: what it needs is not here. Another code is a failure."""

    def fails_with(self, code: int) -> bool:
        return code != 0 and not (self.otherwise and code == 1)


STEPS = (
    # The first two may take a minute and all cores, so they begin first; what they build is kept.
    Step(
        "firmware",
        (PYTHON, "-m", "opq_tools.hil.built_firmware"),
        "No firmware: TESTS THAT RUN IT ARE SKIPPED.",
    ),
    Step(
        "FerretDB, as a MongoDB for tests",
        (PYTHON, "cloud/tests/store/ferretdb_build.py"),
        "Without a MongoDB of another kind: TESTS OF THE MONGO STORE ARE SKIPPED.",
    ),
    Step("style (ruff)", (PYTHON, "-m", "ruff", "check", ".")),
    Step("format (ruff)", (PYTHON, "-m", "ruff", "format", "--check", ".")),
    # these leave compiled tests for all workers; otherwise each worker compiles all
    *(
        Step(
            f"tests are found in {', '.join(rooms)}",
            (*COLLECT, *rooms),
        )
        for rooms in (("gateway", "proto", "device"), ("cloud", "hil", "tools"))
    ),
)
EMULATOR = Step(
    "emulator",
    ("nice", "-n", "19", PYTHON, "-m", "opq_hil.backends.qemu_build"),
    "No emulator: ITS TESTS ARE SKIPPED.",
)
BESIDE = (
    # The tests have priority, but leave some CPU idle. The emulator takes five minutes of it, once; mypy
    # takes one where the cache has nothing of it.
    EMULATOR,
    Step("types (mypy --strict)", ("nice", "-n", "10", PYTHON, "-m", "mypy")),
    Step("API pages (import and docstring of each module)", ("nice", "-n", "10", PYTHON, "tools/apidoc.py")),
)
"""Steps that run while the tests do, the emulator beside the others."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_own = set[int]()
"""Processes that this one waits for itself."""
_starting = threading.Lock()
"""Held while a process starts: until it is in `_own`, it would be taken for an orphan."""


def _start(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    with _starting:
        process = subprocess.Popen(command, cwd=ROOT, **options)
        _own.add(process.pid)
    return process


def reap_orphans() -> None:
    """Reads the exit codes of orphans that have ended; each would stay in the process table until the end."""
    with _starting, contextlib.suppress(ChildProcessError):
        # peeks first: of its own processes, whoever started them waits
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in _own:
                break
            os.waitpid(ended.si_pid, os.WNOHANG)


@contextlib.contextmanager
def files_in_memory() -> Iterator[dict[str, str]]:
    """Returns the environment that puts temporary files into memory, where there is room for them.

    Each commit of a database waits for the disk: 10 ms and more, thousands of times.
    """
    room = 0
    with contextlib.suppress(OSError):
        if not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:  # tests run programs that they have written
            room = min(psutil.disk_usage(str(MEMORY)).free, psutil.virtual_memory().available)
    if room < MEMORY_BYTES:
        yield {}
        return
    # a short name: the path of a socket has at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="opq", dir=MEMORY, ignore_cleanup_errors=True) as folder:
        yield {"TMPDIR": folder}


@dataclass
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float


def side_by_side(steps: Sequence[Step], cores: int = CORES) -> Iterator[tuple[Step, bool]]:
    """Runs the steps, as many at once as there are cores, and prints each one's output when it ends.

    Yields each step that has ended, and whether it failed.
    """
    waiting, running = list(steps), list[_Running]()
    while waiting or running:
        while waiting and len(running) < cores:
            step, output = waiting.pop(0), tempfile.TemporaryFile()  # noqa: SIM115  # closed by _report
            try:
                process = _start(
                    step.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
                )
            except OSError as problem:
                say(f"== {step.name}: FAILED: {problem}")
                yield step, True
            else:
                running.append(_Running(step, process, output, time.monotonic()))
        for ended in [each for each in running if each.process.poll() is not None]:
            running.remove(ended)
            _report(ended)
            yield ended.step, ended.step.fails_with(ended.process.returncode)
        time.sleep(0.05)


def with_tests(
    command: Sequence[str], beside: Sequence[Step], failed: Sequence[str]
) -> tuple[int, list[str]]:
    """Runs the tests, and two steps of `beside` at a time; FAILED_STEPS lists `failed` and steps that fail.

    Returns the tests' exit code and the names of the steps beside them that failed.
    """
    later: list[str] = []
    with tempfile.TemporaryDirectory(prefix="opq-suite-") as folder:
        record, emulator = Path(folder) / "failed", Path(folder) / "emulator"
        record.write_text("".join(f"{name}\n" for name in failed))
        emulator.touch()

        def run() -> None:
            try:
                for step, has_failed in side_by_side(beside, cores=2):
                    if has_failed:
                        later.append(step.name)
                    with contextlib.suppress(FileNotFoundError):  # after Ctrl-C it is no longer read
                        record.write_text("".join(f"{name}\n" for name in (*failed, *later)))
                    if step is EMULATOR:
                        emulator.unlink(missing_ok=True)
            finally:
                emulator.unlink(missing_ok=True)  # no test waits for what is not built

        steps = threading.Thread(target=run, name="beside", daemon=True)
        steps.start()
        # pytest names what is in the file in its summary, which is printed last
        files = {FAILED_STEPS: str(record), EMULATOR_STEP: str(emulator)}
        with files_in_memory() as in_memory:
            tests = _start(command, env={**os.environ, **files, **in_memory})
            while tests.poll() is None:
                reap_orphans()
                time.sleep(0.5)
        steps.join()
    return tests.returncode, later


@contextlib.contextmanager
def kept_types(checkout: Path, kept: Path) -> Iterator[None]:
    """Gives a new checkout the cache of mypy that an earlier one left in `kept`, and stores its own there.

    The cache is copied, because two mypy must not write to one cache. mypy checks it against each file.
    """
    own = checkout / MYPY_CACHE
    if kept.exists() and not own.exists():
        shutil.copytree(kept, own)
    yield
    if own.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{kept.name}.", dir=kept.parent) as folder:
            shutil.copytree(own, Path(folder) / "new")
            with contextlib.suppress(FileNotFoundError):
                kept.rename(Path(folder) / "before")
            with contextlib.suppress(OSError):  # another checkout stored its cache first
                (Path(folder) / "new").rename(kept)


def _report(ended: _Running) -> None:
    code, step = ended.process.returncode, ended.step
    say(f"== {step.name}: {'FAILED' if code else 'done'} in {time.monotonic() - ended.began:.0f} s")
    with ended.output as output:
        output.seek(0)
        text = output.read().decode(errors="replace").rstrip()
    if code:
        say("\n".join((text, step.otherwise)).rstrip())
    elif text:
        say(text.splitlines()[-1])


@contextlib.contextmanager
def share_of_several() -> Iterator[None]:
    """Gives this session more of the processors, where the user may: the scheduler divides them by session.

    Source: sched(7), the autogroup feature.
    """
    before = ""
    with contextlib.suppress(OSError, IndexError):
        before = SHARE.read_text().split()[2]  # "/autogroup-25 nice 0"
        SHARE.write_text(str(SHARE_NICE))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            SHARE.write_text(before)


@contextlib.contextmanager
def nobody_left() -> Iterator[None]:
    """Ends all processes that the block started, also those that their parents left behind.

    Raises:
        KeyboardInterrupt: SIGTERM or SIGHUP came.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        if number != signal.SIGINT:
            came.append(number)
        raise KeyboardInterrupt

    # Ctrl-C too: who starts this in the background of a shell hands SIGINT on as ignored, to pytest as well
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        # a terminal has sent Ctrl-C to all of them already; a second one would cut pytest's fixtures short
        _end_children(interrupt=bool(came) or not sys.stdin.isatty())


def _end_children(interrupt: bool) -> None:
    me = psutil.Process()
    for child in me.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if interrupt:
                child.send_signal(signal.SIGINT)
    psutil.wait_procs(me.children(), timeout=END_S)
    while alive := me.children(recursive=True):
        for child in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(alive, timeout=1)


def main(arguments: Sequence[str]) -> int:
    try:
        with nobody_left(), kept_types(ROOT, cache_folder() / "mypy"), share_of_several():
            failed = [step.name for step, has_failed in side_by_side(STEPS) if has_failed]
            say("== tests (pytest)")
            tests, later = with_tests((*PYTEST, *arguments), BESIDE, failed)
    except KeyboardInterrupt:
        say("Stopped; nothing of it is left running.")
        return 130
    return tests or (1 if failed or later else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
