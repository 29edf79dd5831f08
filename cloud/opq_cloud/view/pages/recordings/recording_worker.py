"""The process that examines one uploaded recording: `python -m …recording_worker FOLDER`.

`FOLDER/order.json` says which file of `FOLDER/sent` it is and what the visitor states of it; the answer goes
to `FOLDER/answer.json`. It confines itself before it reads a byte of the file: limits of memory, time and
files, no network, no file of others, so that a hostile file can only spoil its own answer.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from opq_analyze.measuring import measured
from opq_analyze.page import body_of
from opq_analyze.phases import phases_of
from opq_measure.events.limits import Limits
from opq_plugins.sandbox import landlock, protection, system_calls
from opq_proto.errors import OpqError
from opq_recordings.facts import RecordingFacts
from opq_recordings.guarded import guard_by_this_process
from opq_recordings.reading import read_recording

MEMORY_BYTES = 3 << 30
"""Address space of the process, libraries and mapped files included, before any recording."""
MEMORY_BYTES_FOR_MB = 48 << 20
"""Further address space for each MB of the largest recording; a recording of 64 MB takes half of it."""
UNPACKED_BYTES_FOR_MB = 8 << 20
"""Most that a zip may unpack to, and the largest file, for each MB of the largest recording."""
CPU_S = 100
"""Limit of the process's CPU time."""
OPEN_FILES = 256
"""Limit of the process's open files."""


def main() -> None:
    folder = Path(sys.argv[1])
    order = json.loads((folder / "order.json").read_text())
    largest_mb = int(order["largest_mb"])
    os.nice(int(order["niceness"]))
    os.chdir(folder / "sent")  # a confined process changes into no folder
    confine(folder, largest_mb)
    guard_by_this_process()
    answer = examined(Path(order["file"]), RecordingFacts(**order["facts"]), largest_mb)
    (folder / "answer.json").write_text(json.dumps(answer))


def examined(path: Path, given: RecordingFacts, largest_mb: int) -> dict[str, str]:
    """`body`, the page of the recording as HTML, or `refused`, one sentence."""
    limits = Limits()
    try:
        with np.errstate(all="ignore"):
            recording = read_recording(path, given, UNPACKED_BYTES_FOR_MB * largest_mb)
            found = measured(recording, limits)
            return {"body": body_of(found, limits, *phases_of(found, given, limits))}
    except OpqError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {
            "refused": f"{path}: needs more memory than an upload may have; opq-tools analyze has no limit"
        }
    except OSError as error:
        return {"refused": f"{path}: cannot be read: {error.strerror or error}"}


def confine(folder: Path, largest_mb: int) -> None:
    """Drops the rights that reading a file does not need, as far as this kernel supports that."""
    protection.first_to_go()
    memory_bytes = max(MEMORY_BYTES, MEMORY_BYTES_FOR_MB * largest_mb)
    protection.limit(memory_bytes, CPU_S, UNPACKED_BYTES_FOR_MB * largest_mb, OPEN_FILES, 0)
    protection.end_with_parent()
    protection.no_new_privileges()
    version = landlock.version()
    landlock.restrict(landlock.Allowed(folder, writable=(folder,)), version)
    system_calls.restrict((), signals_are_limited=version >= landlock.SIGNALS_VERSION)


if __name__ == "__main__":
    main()
