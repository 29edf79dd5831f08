"""Examines an uploaded recording in a separate process, in a folder that is removed afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog

from opq_cloud.view.web import dear_work
from opq_cloud.view.web.forms import SentFile
from opq_proto.kit.plain_text import one_line
from opq_recordings.facts import RecordingFacts
from opq_recordings.packed import COMPANION_SUFFIXES

log = structlog.get_logger()

LONGEST_S = 120.0
POLL_S = 0.02
LARGEST_ANSWER = 8 << 20
WORKER = "opq_cloud.view.pages.recordings.recording_worker"


class NotExaminedError(Exception):
    """Why there is no page, in a sentence for people; `status` of HTTP."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class RecordingExaminer:
    """One per View; the page bounds how many are examined at once."""

    def __init__(self) -> None:
        self._closing = threading.Event()

    def close(self) -> None:
        """Ends what runs."""
        self._closing.set()

    def examine(
        self,
        files: Sequence[SentFile],
        given: RecordingFacts,
        largest_mb: int,
        gone: Callable[[], bool] = lambda: False,
    ) -> str:
        """The page of the recording as HTML. Blocks for as long as it takes, at most `LONGEST_S`.

        Args:
            files: the recording, with the files that belong to it.
            largest_mb: what its process may take is by this.
            gone: whether the client has left, which ends it.
        Raises:
            NotExaminedError: it cannot be read or measured.
        """
        names = [checked_name(each.name) for each in files]
        try:
            with tempfile.TemporaryDirectory(prefix="opq-examined-", ignore_cleanup_errors=True) as name:
                folder = Path(name)
                (folder / "sent").mkdir()
                for sent_name, each in zip(names, files, strict=True):
                    each.file.seek(0)
                    with (folder / "sent" / sent_name).open("wb") as file:
                        shutil.copyfileobj(each.file, file, 1 << 20)
                order = {
                    "file": main_name(names),
                    "facts": asdict(given),
                    "largest_mb": largest_mb,
                    "niceness": dear_work.NICENESS,
                }
                (folder / "order.json").write_text(json.dumps(order))
                return self._answer_of(folder, gone)
        except OSError as error:
            log.warning("recording.not_examined", why=str(error))
            raise NotExaminedError(
                f"View cannot keep the file while it is read: {error.strerror}.", 503
            ) from error

    def _answer_of(self, folder: Path, gone: Callable[[], bool]) -> str:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "OPENBLAS_NUM_THREADS": "1",
        }
        with (folder / "said.txt").open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        end_s = time.monotonic() + LONGEST_S
        try:
            while process.poll() is None and time.monotonic() < end_s and not self._closing.wait(POLL_S):
                if gone():
                    break
        finally:
            late = process.poll() is None
            if late:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started
            process.wait()
        if late:
            raise NotExaminedError(
                f"It takes longer than {LONGEST_S:g} s; send a shorter part, or use opq-tools analyze, which "
                "has no such limit.",
                413,
            )
        answer = folder / "answer.json"
        if process.returncode or not answer.is_file() or answer.stat().st_size > LARGEST_ANSWER:
            said_last = (folder / "said.txt").read_bytes()[-2000:].decode("utf-8", "replace")
            log.error("recording.worker_failed", code=process.returncode, said=said_last)
            raise NotExaminedError(
                "Reading it took more memory or time than an upload may have; opq-tools analyze has no such "
                "limits.",
                413,
            )
        found: dict[str, str] = json.loads(answer.read_bytes())
        if "refused" in found:
            raise NotExaminedError(one_line(found["refused"]))
        return found["body"]


def main_name(names: Sequence[str]) -> str:
    """The file that is the recording: not one that belongs to another.

    Raises:
        NotExaminedError: several recordings were sent.
    """
    found = [each for each in names if Path(each).suffix.lower() not in COMPANION_SUFFIXES]
    if len(found) > 1:
        raise NotExaminedError(
            f"{', '.join(found)} are {len(found)} recordings; send one, with the files that belong to it."
        )
    return found[0] if found else names[0]


def checked_name(name: str) -> str:
    """The name that a sent file gets in a folder of its own. Raises NotExaminedError: none for a file."""
    found = one_line(name).strip()
    if found.strip(". ") == "" or "/" in found or len(found.encode()) > 200:
        raise NotExaminedError(f"{name!r:.60} is not a name for a file.")
    return found
