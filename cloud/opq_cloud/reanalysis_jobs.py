"""Re-analyses that people order over REST: one at a time, each in a process of its own, with its progress.

A file outside the rooms, as `incident_edits.py`: Mauka's functions do the work, View imports none of them.
Jobs are kept in the store, and the View that runs one records that every few seconds. One whose service
was killed or ended reads as `interrupted` until a service resumes it: replaced events are not replaced
again, a dry run begins again.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Literal

from opq_cloud.config import CloudConfig
from opq_cloud.mauka.reanalysis.process import ReanalysisEnd, ReanalysisProgress
from opq_cloud.reanalysis_order import ReanalysisOrder
from opq_cloud.store.records.accounts import REANALYSES
from opq_cloud.store.records.keyed_documents import Fields, KeyedDocuments
from opq_proto import log as logs
from opq_proto.errors import OpqError, StoreError

log = logs.get(service="reanalysis")

JOBS_KEPT = 20
LONGEST_S = 6 * 3600.0
"""A job is ended after this time."""
POLL_S = 0.2
ALIVE_S = 3.0
"""Interval at which the View that runs a job records it."""
LEASE_S = 20.0
"""A job without a record for this long no longer runs; its service was killed."""
MAX_RESUMED = 3
"""How often a job is resumed; one that ends its service each time is left after that."""
LAST_TRIES = 30
"""Tries, a second apart, to record the end of a job, until the store accepts it or the service ends."""
PROGRAM = "import sys; from opq_cloud.mauka.reanalysis.process import main; sys.exit(main(sys.argv[1:]))"
INTERRUPTED = "its service ended in the midst of it; it goes on where it was once a service runs"
LEFT = f"its service ended {MAX_RESUMED + 1} times in the midst of it; the same order goes on from there"
SUPERSEDED = "its service ended in the midst of it, and another one was ordered; what it replaced is replaced"
State = Literal["running", "done", "failed", "ended", "interrupted"]


class ReanalysisBusyError(OpqError):
    """A re-analysis runs already."""


@dataclass(frozen=True, slots=True)
class ReanalysisJob:
    """One order and its result.

    Attributes:
        state: `ended` is by a person or after `LONGEST_S`; `interrupted`: its service was killed or ended.
        done, of: events, over all its parts; `of` is None until they are counted.
        report: as in `opq-tools reanalyse --json`, lists of at most 1,000.
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
    resumed: int = 0
    """How often it was resumed after its service had ended."""


OnEnd = Callable[[ReanalysisJob], None]


def job_json(job: ReanalysisJob) -> dict[str, object]:
    """Returns the job as REST and `opq-tools reanalyse --jobs` show it."""
    return {
        "id": job.number, "state": job.state, "dry_run": job.order.dry_run, "started_ms": job.started_ms,
        "ended_ms": job.ended_ms, "done": job.done, "of": job.of, "resumed": job.resumed, "error": job.error,
        "report": job.report,
    }  # fmt: skip


def _as_document(job: ReanalysisJob, alive_ms: int) -> Fields:
    return {"key": _key(job.number), "alive_ms": alive_ms, "ending": False, "left": False, **asdict(job)}


def _job_of(document: Mapping[str, Any], now_ms: int, lease_s: float) -> ReanalysisJob:
    order = {**document["order"], "names": tuple(document["order"]["names"])}
    names = ReanalysisJob.__dataclass_fields__.keys() & document.keys() - {"order"}
    job = ReanalysisJob(order=ReanalysisOrder(**order), **{name: document[name] for name in names})
    if job.state == "running" and _is_left(document, now_ms, lease_s):
        why = INTERRUPTED if job.resumed < MAX_RESUMED else LEFT
        return replace(job, state="interrupted", ended_ms=int(document["alive_ms"]), error=why)
    return job


def _is_left(document: Mapping[str, Any], now_ms: int, lease_s: float) -> bool:
    """Returns True if no service runs it any more."""
    silent = abs(now_ms - int(document["alive_ms"])) > 1000 * lease_s
    return document["state"] == "running" and (silent or bool(document.get("left")))


def _key(number: int) -> str:
    return f"{number:012d}"


class ReanalysisJobs:
    """Used from any thread. Methods raise StoreError where the database refuses."""

    def __init__(
        self,
        config: CloudConfig,
        documents: Callable[[], KeyedDocuments],
        lease_s: float = LEASE_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`config`: of the cloud, for its store, analyses and nominal values; `documents`: have the jobs."""
        self._config = config
        self._documents = documents
        self._lease_s = lease_s
        self._now_s = monotonic_s
        self._seen: tuple[object, float] = None, 0.0
        """Last record of the newest job, and since when it has been unchanged."""
        self._lock = threading.Lock()
        self._own: int | None = None
        """The job that runs here."""
        self._running: threading.Thread | None = None
        self._stop = threading.Event()
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None

    def start(self, order: ReanalysisOrder, account_id: str, on_end: OnEnd) -> ReanalysisJob:
        """Begins a job; `on_end` is called in the job's thread, before the job is shown as over.

        Raises:
            ReanalysisBusyError: another one runs, here or at another View of this store.
        """
        with self._lock:
            kept = self.jobs()
            running = next((each.number for each in kept if each.state == "running"), None)
            number = 1 + max((each.number for each in kept), default=0)
            job = ReanalysisJob(number, account_id, order, _now_ms())
            document = _as_document(job, job.started_ms)
            if running is None and not self._documents().insert(REANALYSES, _key(number), document):
                running = number  # another View was first
            if running is None:
                among = (each.number for each in self.jobs() if each.state == "running")
                running = next((each for each in among if each != number), None)
                if running is not None:  # another View has just resumed it
                    self._documents().remove(REANALYSES, _key(number))
            if running is not None:
                raise ReanalysisBusyError(
                    f"re-analysis {running} runs; one runs at a time: wait for its end, or stop it"
                )
            for old in kept[JOBS_KEPT - 1 :]:
                self._documents().remove(REANALYSES, _key(old.number))
            for old in kept:
                if old.state == "interrupted":  # from here on for good
                    self._note(replace(old, error=SUPERSEDED if old.error == INTERRUPTED else old.error))
            self._begin(job, on_end)
        return job

    def watch(self, on_end: OnEnd) -> None:
        """Resumes jobs that an ended service left, now and later, until `close`; may be called again."""
        self._closed.clear()

        def watching() -> None:
            while not self._closed.is_set():
                try:
                    self.resume(on_end)
                except StoreError as error:
                    log.warning("reanalysis.not_looked_for", error=str(error))
                self._closed.wait(ALIVE_S)

        self._watch = threading.Thread(target=watching, name="reanalysis.watch", daemon=True)
        self._watch.start()

    def resume(self, on_end: OnEnd) -> ReanalysisJob | None:
        """Resumes the newest job if it is interrupted; None: it is not, or another View was first."""
        with self._lock:
            newest = self._documents().newest(REANALYSES, "", 1)
            runs_here = self._running is not None and self._running.is_alive()
            if not newest or runs_here or self._closed.is_set():
                return None
            left = _job_of(newest[0], _now_ms(), self._lease_s)
            if left.state != "interrupted" or left.error != INTERRUPTED or not self._is_still(newest[0]):
                return None
            job = replace(left, state="running", ended_ms=None, error=None, resumed=left.resumed + 1)

            def claimed(was: Fields) -> Fields | None:
                mine = was.get("resumed", 0) == left.resumed and _is_left(was, _now_ms(), self._lease_s)
                return _as_document(job, _now_ms()) if mine else None

            if not self._documents().change(REANALYSES, _key(job.number), claimed):
                return None
            if self._documents().newest(REANALYSES, "", 1)[0]["number"] != job.number:
                self._note(replace(left, error=SUPERSEDED, resumed=job.resumed))
                return None
            log.info("reanalysis.resumed", job=job.number, times=job.resumed, done=job.done, of=job.of)
            self._begin(job, on_end)
        return job

    def _is_still(self, found: Fields) -> bool:
        """Whether its record does not change while we watch: a differing clock is no reason to resume it."""
        word, now_s = (found["number"], found["alive_ms"]), self._now_s()
        if word != self._seen[0]:
            self._seen = word, now_s
        return bool(found.get("left")) or now_s - self._seen[1] > 2 * ALIVE_S

    def _begin(self, job: ReanalysisJob, on_end: OnEnd) -> None:
        """Starts the thread of a job; the caller holds the lock."""
        self._stop, self._own = threading.Event(), job.number
        self._running = threading.Thread(
            target=self._run, args=(job, self._stop, on_end), name="reanalysis", daemon=True
        )
        self._running.start()

    def jobs(self) -> list[ReanalysisJob]:
        """Returns the jobs that are kept, the newest first."""
        now_ms = _now_ms()
        found = self._documents().newest(REANALYSES, "", JOBS_KEPT)
        return [_job_of(each, now_ms, self._lease_s) for each in found]

    def job(self, number: int) -> ReanalysisJob | None:
        found = self._documents().get(REANALYSES, _key(number))
        return None if found is None else _job_of(found, _now_ms(), self._lease_s)

    def end(self, number: int) -> bool:
        """Ends a job, also where another View runs it; False: it does not run."""
        job = self.job(number)
        if job is None or job.state != "running":
            return False
        with self._lock:
            if number == self._own:
                self._stop.set()
                return True
        return self._documents().change(REANALYSES, _key(number), lambda was: {**was, "ending": True})

    def close(self) -> None:
        """Ends the process of the running job, which is left to the next service, and waits for it."""
        self._closed.set()
        with self._lock:
            running, watch = self._running, self._watch
            self._stop.set()
        for thread in (watch, running):
            if thread is not None:
                thread.join()

    def _run(self, job: ReanalysisJob, stop: threading.Event, on_end: OnEnd) -> None:
        """Runs a job; this thread is the process' parent: when it ends, so does the process."""
        try:
            last = self._follow(job, stop)
        except Exception as error:  # whatever it is, the job is over
            log.exception("reanalysis.failed", job=job.number)
            last = replace(job, state="failed", error=f"{type(error).__name__}: {error}")
        if last.state == "running":
            log.info("reanalysis.left", job=last.number, done=last.done, of=last.of)
            self._note(last, left=True)
            return
        if self._end_state(last) == "taken":
            log.warning("reanalysis.taken", job=last.number, done=last.done, of=last.of)
            with self._lock:
                self._own = None
            return
        last = replace(last, ended_ms=_now_ms())
        log.info("reanalysis.over", job=last.number, state=last.state, events=last.done, error=last.error)
        try:
            on_end(last)
        except OpqError as error:
            log.error("reanalysis.end_not_noted", job=last.number, error=str(error))
        for _ in range(LAST_TRIES):
            if self._note(last) or self._closed.wait(1.0):
                return

    def _follow(self, job: ReanalysisJob, stop: threading.Event) -> ReanalysisJob:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        end_s, alive_s = time.monotonic() + LONGEST_S, time.monotonic() + ALIVE_S
        with closing(Connection(ours.detach())) as pipe:
            try:
                with suppress(OSError):
                    pipe.send((self._config, job.order))
                while not stop.is_set():
                    if time.monotonic() > end_s:
                        return replace(job, state="ended", error=f"it took longer than {LONGEST_S:g} s")
                    if time.monotonic() >= alive_s:
                        alive_s = time.monotonic() + ALIVE_S
                        self._note(job)
                        if self._end_state(job):
                            break
                    if not pipe.poll(POLL_S):
                        continue
                    message = pipe.recv()
                    if isinstance(message, ReanalysisProgress):
                        job = replace(job, done=message.done, of=message.of)
                        self._note(job)
                    elif isinstance(message, ReanalysisEnd):
                        state: State = "done" if message.error is None else "failed"
                        return replace(job, state=state, report=message.report, error=message.error)
                if self._closed.is_set():
                    return job  # the next service resumes it
                return replace(job, state="ended", error="it was ended; the same order goes on from there")
            except (EOFError, OSError):
                return replace(
                    job, state="failed", error="its process ended; the log of the service says why"
                )
            finally:
                process.kill()
                process.wait()

    def _note(self, job: ReanalysisJob, left: bool = False) -> bool:
        """Records a job; returns whether the store accepted it. `left`: no service runs it from now on."""

        def changed(was: Fields) -> Fields | None:
            if was.get("resumed", 0) != job.resumed:
                return None  # another View has resumed it
            return {**_as_document(job, _now_ms()), "ending": was["ending"], "left": left}

        try:
            self._documents().change(REANALYSES, _key(job.number), changed)
        except StoreError as error:
            log.warning("reanalysis.not_noted", job=job.number, error=str(error))
            return False
        return True

    def _end_state(self, job: ReanalysisJob) -> Literal["taken", "ending", ""]:
        """Whether another View has resumed it, after a long time without a record, or was asked to end it."""
        with suppress(StoreError):
            found = self._documents().get(REANALYSES, _key(job.number))
            if found is not None and found.get("resumed", 0) != job.resumed:
                return "taken"
            return "ending" if found is None or found["ending"] else ""
        return ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
