"""A file that ends the library which reads it is a refused recording; the process that asked goes on."""

import hashlib
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from recordings_mutated import mutated, originals
from recordings_under_test import RATE_HZ, volts

from opq_proto.errors import RecordingError
from opq_recordings import guarded
from opq_recordings.facts import RecordingFacts
from opq_recordings.guarded import why_ended
from opq_recordings.reading import read_recording
from opq_recordings.sound_file import read_sound

CRASHES = 85_511
"""Of the mutated files of hdf5-events: libhdf5 2.0.0 ends by SIGSEGV in one of its attributes."""
FOUND_WITH = ("2.0.0", "x86_64", "9df697dd6a09")
"""The library, the machine, and the file that is mutated."""
LARGE = 3 << 20
"""Samples of 4 bytes: more than is handed over as a copy."""


def crashing_file(folder: Path) -> Path:
    original = originals()["hdf5-events"][1]
    here = (h5py.version.hdf5_version, platform.machine(), hashlib.sha256(original).hexdigest()[:12])
    if here != FOUND_WITH:
        pytest.skip(f"the file that ends libhdf5 was found with {FOUND_WITH}, here is {here}")
    path = folder / "crash.h5"
    path.write_bytes(mutated(original, CRASHES))
    return path


def endless_file(folder: Path) -> Path:
    """Free space without a size in the heap of texts, which libhdf5 2.0.0 reads without end."""
    path = right_file(folder / "endless.h5")
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    size = int.from_bytes(content[first + 8 : first + 16], "little")
    free = first + 16 + -(-size // 8) * 8
    content[free + 8 : free + 16] = bytes(8)
    path.write_bytes(content)
    return path


def right_file(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("u", data=volts()).attrs.update(units="V", rate_hz=RATE_HZ)
    return path


def guard_pid() -> int:
    process = guarded._guard._process
    assert process is not None
    return process.pid


def readers() -> list[int]:
    """The processes that read a file now."""
    pid = guard_pid()
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_gone(pid: int) -> None:
    """Until a process that is not ours has ended."""
    ended = threading.Event()
    for _ in range(600):
        state = Path(f"/proc/{pid}/stat")
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        ended.wait(0.1)
    raise AssertionError(f"process {pid} is still there")


def test_a_library_crash_is_a_refusal(tmp_path: Path) -> None:
    path = crashing_file(tmp_path)
    for _ in range(2):
        with pytest.raises(RecordingError, match=r"crash.h5: is damaged; .* crashed on it \(SIGSEGV\)$"):
            read_recording(path)
    assert read_recording(right_file(tmp_path / "a.h5")).samples == len(volts())


def test_a_killed_reader_is_a_refusal(tmp_path: Path) -> None:
    read_recording(right_file(tmp_path / "a.h5"))  # the guard is there
    path, said = endless_file(tmp_path), []

    def read() -> None:
        with pytest.raises(RecordingError) as caught:
            read_recording(path)
        said.append(str(caught.value))

    reading = threading.Thread(target=read)
    reading.start()
    while not (found := readers()):
        assert reading.is_alive()
    os.kill(found[0], signal.SIGKILL)
    reading.join()
    assert said == [f"{path}: the process that read it was killed; is there enough memory for it?"]
    assert read_recording(tmp_path / "a.h5").samples == len(volts())


def test_a_guard_that_is_killed_is_replaced(tmp_path: Path) -> None:
    path = right_file(tmp_path / "a.h5")
    read_recording(path)
    former = guard_pid()
    os.kill(former, signal.SIGKILL)
    process = guarded._guard._process
    assert process is not None
    process.wait()
    assert read_recording(path).samples == len(volts()) and guard_pid() != former


@pytest.fixture
def reading_process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that has read a file and waits, and its guard."""
    path = right_file(tmp_path / "a.h5")
    script = (
        "import sys; from pathlib import Path; from opq_recordings import guarded, reading\n"
        "reading.read_recording(Path(sys.argv[1]))\n"
        "print(guarded._guard._process.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize("killed", [False, True])
def test_a_guard_ends_with_its_process(
    killed: bool, reading_process: tuple[subprocess.Popen[bytes], int]
) -> None:
    process, pid = reading_process
    assert Path(f"/proc/{pid}").exists()
    if killed:
        process.kill()
    else:
        assert process.stdin is not None
        process.stdin.close()
    assert process.wait() == (-signal.SIGKILL if killed else 0)
    wait_until_gone(pid)


def test_a_folder_without_room_is_named(tmp_path: Path) -> None:
    """The limit of file sizes stands for a full disk."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = np.tile(volts(), 20_000)
        file.create_dataset("u", data=values, chunks=(100_000,)).attrs.update(rate_hz=RATE_HZ, units="V")
    script = (
        "import resource, sys; from pathlib import Path; from opq_recordings.reading import read_recording\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "read_recording(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.h5")], capture_output=True, text=True, check=False
    )
    assert "a.h5: the folder of temporary files has no room: File too large" in done.stderr


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("dtype", ["<i4", ">f4"])
def test_large_data_sets_agree_in_every_layout(dtype: str, userblock: int, tmp_path: Path) -> None:
    values = np.resize(np.rint(100 * volts()), LARGE).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=userblock) as file:
        layouts: dict[str, dict[str, object]] = {
            "one_piece": {},
            "chunks": {"chunks": (100_000,)},
            "packed": {"compression": "gzip"},
        }
        for name, layout in layouts.items():
            of = file.create_dataset(name, data=values, **layout)
            of.attrs.update(rate_hz=RATE_HZ, units="V")
    for name in layouts:
        found = read_recording(tmp_path / "a.h5", RecordingFacts(channel=name))
        assert np.array_equal(found.volts(0, found.samples), values.astype(float))


def test_what_ended_a_process_is_named() -> None:
    assert "does not end" in why_ended(-signal.SIGXCPU)
    assert why_ended(-signal.SIGABRT).endswith("(SIGABRT)") and why_ended(3).endswith("(code 3)")


def test_a_sound_file_has_its_own_process(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(originals()["flac"][1])
    assert read_sound(path).channels[0].samples == 40
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RecordingError, match="is not a readable sound file"):
        read_sound(path)
