"""Re-analyses that people order over REST: one at a time, each in a process of its own, with its progress.

It lies beside the rooms, as `incident_edits.py` does: Mauka's functions do the work, View knows none of them.
Jobs are kept in memory: after a restart none is known. One that was ended by it has replaced what it had
replaced, and the same order goes on from there.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Literal

from opq_cloud.config import CloudConfig
from opq_cloud.mauka.reanalysis_process import ReanalysisEnd, ReanalysisProgress
from opq_cloud.reanalysis_order import ReanalysisOrder
from opq_proto import log as logs
from opq_proto.errors import OpqError

log = logs.get(service="reanalysis")

JOBS_KEPT = 20
LONGEST_S = 6 * 3600.0
"""Then a job is ended."""
POLL_S = 0.2
PROGRAM = "import sys; from opq_cloud.mauka.reanalysis_process import main; sys.exit(main(sys.argv[1:]))"
State = Literal["running", "done", "failed", "ended"]


class ReanalysisBusyError(OpqError):
    """One runs already."""


@dataclass(frozen=True, slots=True)
class ReanalysisJob:
    """One order, and what became of it.

    Attributes:
        state: `ended` is by a person, by the end of the service, or after `LONGEST_S`.
        done, of: events; `of` is None until they are counted.
        report: as `opq-tools reanalyse --json` has it, lists of at most 1,000.
    """

    number: int
    account_id: str
    order: ReanalysisOrder
    started_ms: int
    state: State = "running"
    done: int = 0
    of: int | None = None
    ended_ms: int | None = None
    report: dict[str, object] | None = None
    error: str | None = None


OnEnd = Callable[[ReanalysisJob], None]


class ReanalysisJobs:
    """From any thread."""

    def __init__(self, config: CloudConfig) -> None:
        """`config`: of the cloud, for its store, analyses and nominal values."""
        self._config = config
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, ReanalysisJob] = OrderedDict()
        self._count = 0
        self._running: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self, order: ReanalysisOrder, account_id: str, on_end: OnEnd) -> ReanalysisJob:
        """Begin; `on_end` is called in the job's thread, before anybody sees that it is over.

        Raises:
            ReanalysisBusyError: another one runs.
        """
        with self._lock:
            newest = self._jobs.get(self._count)
            if newest is not None and newest.state == "running":
                raise ReanalysisBusyError(
                    f"re-analysis {self._count} runs; one runs at a time: wait for it, or end it"
                )
            self._count += 1
            job = ReanalysisJob(self._count, account_id, order, _now_ms())
            self._jobs[job.number] = job
            while len(self._jobs) > JOBS_KEPT:
                self._jobs.popitem(last=False)
            self._stop = threading.Event()
            self._running = threading.Thread(
                target=self._run, args=(job, self._stop, on_end), name="reanalysis", daemon=True
            )
            self._running.start()
        return job

    def jobs(self) -> list[ReanalysisJob]:
        """Those that are kept, the newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def job(self, number: int) -> ReanalysisJob | None:
        with self._lock:
            return self._jobs.get(number)

    def end(self, number: int) -> bool:
        """End it; False: it does not run."""
        with self._lock:
            job = self._jobs.get(number)
            if job is None or job.state != "running":
                return False
            self._stop.set()
        return True

    def close(self) -> None:
        """End the one that runs, and wait for its process."""
        with self._lock:
            running = self._running
            self._stop.set()
        if running is not None:
            running.join()

    def _run(self, job: ReanalysisJob, stop: threading.Event, on_end: OnEnd) -> None:
        """The process' parent is this thread: where it ends, so does the process."""
        try:
            last = self._follow(job, stop)
        except Exception as error:  # whatever it is, the job is over
            log.exception("reanalysis.failed", job=job.number)
            last = replace(job, state="failed", error=f"{type(error).__name__}: {error}")
        last = replace(last, ended_ms=_now_ms())
        log.info("reanalysis.over", job=last.number, state=last.state, events=last.done, error=last.error)
        try:
            on_end(last)
        except OpqError as error:
            log.error("reanalysis.end_not_noted", job=last.number, error=str(error))
        self._note(last)

    def _follow(self, job: ReanalysisJob, stop: threading.Event) -> ReanalysisJob:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        end_s = time.monotonic() + LONGEST_S
        with closing(Connection(ours.detach())) as pipe:
            try:
                with suppress(OSError):
                    pipe.send((self._config, job.order))
                while not stop.is_set():
                    if time.monotonic() > end_s:
                        return replace(job, state="ended", error=f"it took longer than {LONGEST_S:g} s")
                    if not pipe.poll(POLL_S):
                        continue
                    told = pipe.recv()
                    if isinstance(told, ReanalysisProgress):
                        job = self._note(replace(job, done=told.done, of=told.of))
                    elif isinstance(told, ReanalysisEnd):
                        state: State = "done" if told.error is None else "failed"
                        return replace(job, state=state, report=told.report, error=told.error)
                return replace(job, state="ended", error="it was ended; the same order goes on from there")
            except (EOFError, OSError):
                return replace(
                    job, state="failed", error="its process ended; the log of the service says why"
                )
            finally:
                process.kill()
                process.wait()

    def _note(self, job: ReanalysisJob) -> ReanalysisJob:
        with self._lock:
            if job.number in self._jobs:
                self._jobs[job.number] = job
        return job


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
