"""Firmware updates of Boxes: files that wait for confirmation, transfers, and their entries in the log.

A transfer is a thread of View, at most one per Box; the log of changes has its beginning and its end. One
without an end was interrupted when its View ended: its gateway may continue it, and can be asked.
"""

import hashlib
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.store.records.accounts.audit import AuditEntry, AuditFilter
from opq_cloud.store.store import CloudStore
from opq_proto.errors import OpqError
from opq_proto.firmware.image import FirmwareFile, ImageError, describe_firmware, version_number, version_text
from opq_proto.firmware.transfer import ON_TRIAL, cancel_update, follow_update, send_firmware
from opq_proto.kit import log as logs
from opq_proto.wire.command_client import CommandClient

log = logs.get(service="view")

MAX_WAITING = 4
"""Files that wait for confirmation, 2 MB each at most; the oldest is dropped."""
MAX_AT_ONCE = 8
WAITING_S = 1800.0
ANSWER_S = 5.0
CONNECT_S = 2.0
BEGUN = "began to update firmware"
"""Entry in the log of changes: the image is being sent."""
DONE = "updated firmware"
"""Entry in the log of changes: the Box runs the new image."""
FAILED = "did not update firmware"
"""Entry in the log of changes: the Box keeps its image, or did not answer."""


class FirmwareNotSentError(OpqError):
    """A transfer cannot begin."""


class _ServiceEndError(OpqError):
    """The service ends; the running transfer is left to its gateway."""


class _StoppedError(OpqError):
    """A person stopped the transfer."""


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file that a person has sent and not yet confirmed."""

    facts: FirmwareFile
    data: bytes
    since_s: float
    runs: str
    """The Box's firmware as it reports it; empty where it does not answer. The same holds for `hardware`."""
    hardware: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def version(self) -> str:
        return version_text(self.facts.version)

    @property
    def unfit(self) -> str:
        """Why the file does not fit this Box; empty where no reason is known."""
        board = self.hardware.split(" ")[0]
        if board in ("", self.facts.hardware):
            return ""
        return f"It is for {self.facts.hardware}, and the Box is {board}"

    @property
    def compared(self) -> str:
        """Compares the file with what the Box runs, in words."""
        if not self.runs:
            return "the Box's firmware is not known, because the Box does not answer or does not state it"
        try:
            ahead = self.facts.version - version_number(self.runs)
        except ImageError:
            return f"the Box runs {self.runs}, which cannot be compared"
        if ahead == 0:
            return f"the same version as {self.runs}, which the Box runs"
        if ahead > 0:
            return f"newer than {self.runs}, which the Box runs"
        return f"older than {self.runs}, which the Box runs; a Box refuses what is older"


@dataclass(frozen=True, slots=True)
class FirmwareJob:
    """One transfer as it is now; `who`: account and address. `state` is firmware_transfer's, or `ended`."""

    box_id: str
    version: int
    sha256: str
    before: str
    who: tuple[str, str]
    state: str = ""
    done: int = 0
    of: int = 0
    good: bool = False
    outcome: str = ""

    @property
    def runs(self) -> bool:
        return not self.outcome

    @property
    def version_words(self) -> str:
        return version_text(self.version)

    @property
    def may_stop(self) -> bool:
        return self.runs and self.state not in ON_TRIAL


class FirmwareJobs:
    """One per View; may be called from any thread."""

    def __init__(
        self, addresses: ServiceAddresses, store: CloudStore, administrator: Path | None = None
    ) -> None:
        """`administrator`: the private file with which the gateways' orders are proved."""
        self._administrator = administrator
        self._addresses = addresses
        self._store = store
        self._lock = threading.Lock()
        self._waiting: dict[str, WaitingFile] = {}
        self._jobs: dict[str, FirmwareJob] = {}
        self._stopping: set[str] = set()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def put_waiting(self, box_id: str, data: bytes, runs: str, hardware: str) -> None:
        """Holds a file until a person confirms it. `runs`, `hardware`: as the Box reports them, or empty.

        Raises:
            ImageError: no Box accepts it.
        """
        facts = describe_firmware(data)
        with self._lock:
            self._waiting.pop(box_id, None)
            while len(self._waiting) >= MAX_WAITING:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[box_id] = WaitingFile(facts, data, time.monotonic(), runs, hardware)

    def waiting(self, box_id: str) -> WaitingFile | None:
        with self._lock:
            found = self._waiting.get(box_id)
        return found if found is not None and time.monotonic() - found.since_s < WAITING_S else None

    def put_aside(self, box_id: str) -> None:
        with self._lock:
            self._waiting.pop(box_id, None)

    def job(self, box_id: str) -> FirmwareJob | None:
        """The transfer that runs here, or the last one that did."""
        with self._lock:
            return self._jobs.get(box_id)

    def last(self, box_id: str) -> AuditEntry | None:
        """The log's entry about the newest transfer; BEGUN means that no end is noted."""
        every = self._store.people.changes.every(AuditFilter(subject=f"box {box_id}"))
        return next((each for each in every if each.what in (BEGUN, DONE, FAILED)), None)

    def send(self, box_id: str, sha256: str, who: tuple[str, str]) -> None:
        """Begins a transfer of the waiting file. Raises FirmwareNotSentError."""
        file = self.waiting(box_id)
        if file is None or file.sha256 != sha256:
            raise FirmwareNotSentError("The file that you saw is not held here any more; choose it again")
        if file.unfit:
            raise FirmwareNotSentError(file.unfit)
        running, last = self.job(box_id), self.last(box_id)
        if not (running and running.runs) and last is not None and last.what == BEGUN:
            raise FirmwareNotSentError("The result of the last update is not known; ask for it first")
        job = FirmwareJob(box_id, file.facts.version, sha256, file.runs, who)
        self._begin(job, file.data)
        self.put_aside(box_id)

    def follow(self, box_id: str, who: tuple[str, str]) -> None:
        """Asks for the result of a transfer that was interrupted. Raises FirmwareNotSentError."""
        last = self.last(box_id)
        if last is None or last.what != BEGUN:
            raise FirmwareNotSentError("No update of this Box was interrupted")
        noted, version = last.after, version_number(last.after["to"])
        self._begin(FirmwareJob(box_id, version, noted["sha256"], noted.get("from", ""), who), None)

    def stop(self, box_id: str) -> bool:
        """Stops a transfer. Returns False where none runs, or the Box has the whole file."""
        with self._lock:
            job = self._jobs.get(box_id)
            if job is None or not job.may_stop:
                return False
            self._stopping.add(box_id)
            return True

    def close(self) -> None:
        """Ends the threads; a gateway may continue its transfer."""
        self._closed.set()
        for thread in self._threads:
            thread.join(ANSWER_S + CONNECT_S)

    def _begin(self, job: FirmwareJob, data: bytes | None) -> None:
        with self._lock:
            running = [each.box_id for each in self._jobs.values() if each.runs]
            if job.box_id in running:
                raise FirmwareNotSentError("Firmware is on its way to this Box already")
            if len(running) >= MAX_AT_ONCE:
                raise FirmwareNotSentError(f"{len(running)} Boxes get firmware now; wait until one has it")
            self._stopping.discard(job.box_id)
            self._jobs[job.box_id] = job
        try:
            if data is not None:
                self._note(job, BEGUN)
        except OpqError:
            with self._lock:
                del self._jobs[job.box_id]
            raise
        thread = threading.Thread(target=self._run, args=(job, data), name="view.firmware", daemon=True)
        with self._lock:
            self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()

    def _run(self, job: FirmwareJob, data: bytes | None) -> None:
        try:
            good, outcome = self._carry_out(job, data)
        except _ServiceEndError:
            return
        except OpqError as error:
            good, outcome = False, str(error)
        except Exception as error:  # the transfer is over, for any error
            log.exception("firmware.failed", box_id=job.box_id)
            good, outcome = False, f"{type(error).__name__}: {error}"
        job = replace(job, state="ended", good=good, outcome=outcome)
        try:
            self._note(job, DONE if good else FAILED)
        except OpqError as error:
            log.error("firmware.end_not_noted", box_id=job.box_id, error=str(error))
        with self._lock:
            self._jobs[job.box_id] = job

    def _carry_out(self, job: FirmwareJob, data: bytes | None) -> tuple[bool, str]:
        """Whether the Box runs the firmware, and the result in words."""

        def show(state: str, done: int, of: int) -> None:
            if self._closed.is_set():
                raise _ServiceEndError("the service ends")
            with self._lock:
                now = self._jobs[job.box_id] = replace(job, state=state, done=done, of=of)
                if job.box_id in self._stopping and now.may_stop:
                    raise _StoppedError(f"Stopped by a person ({state})")

        addresses = self._addresses
        with CommandClient(addresses.commands, addresses.answers, CONNECT_S, self._administrator) as client:
            try:
                if data is not None:
                    send_firmware(client, job.box_id, data, ANSWER_S, show)
                end = follow_update(client, job.box_id, job.version, ANSWER_S, show)
                return True, end.words
            except _StoppedError as error:
                cancel_update(client, job.box_id, ANSWER_S)
                return False, f"{error}; the Box keeps its firmware if it has not verified the whole file"

    def _note(self, job: FirmwareJob, what: str) -> None:
        after = {"from": job.before, "to": version_text(job.version), "sha256": job.sha256}
        after["outcome"] = job.outcome
        kept = {name: text for name, text in after.items() if text}
        self._store.people.changes.add(*job.who, what, f"box {job.box_id}", None, kept)
