"""The boot loader as a binary: fits its sectors, the same bytes anywhere, its key where the app looks."""

import hashlib
import shutil
import struct
from pathlib import Path

import pytest
from boot_on_pc import KEY, make_boot
from host_library import DEVICE

from opq_hil.backends.boards import EMULATED

BUDGET_BYTES = 32 * 1024
INFO = 0x7F80


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first board's build."""
    folder = tmp_path_factory.mktemp("boot")
    done = make_boot(folder, EMULATED[0])
    assert done.returncode == 0, done.stderr
    return folder


def judge(folder: Path, board: str) -> None:
    binary = (folder / "boot.bin").read_bytes()
    assert len(binary) == BUDGET_BYTES
    code = len(binary[:INFO].rstrip(b"\xff"))
    print(f"{board}: {code} of {BUDGET_BYTES} bytes")
    assert code < INFO
    stack, reset = struct.unpack_from("<II", binary)
    assert stack == 0x2002_0000
    assert 0x0800_0000 < reset < 0x0800_0000 + code
    magic, version, hardware, key, check = struct.unpack_from("<4sI16s32sI", binary, INFO)
    assert (magic, version, key) == (b"OPQI", 0x0100_0000, KEY)
    assert hardware.rstrip(b"\0").decode() == board
    assert check & 1
    assert 0x0800_0000 < check < 0x0800_0000 + code


def test_it_fits_and_shows_its_key(built: Path) -> None:
    judge(built, EMULATED[0])


@pytest.mark.parametrize("board", EMULATED[1:])
def test_it_does_on_the_other_boards_too(tmp_path: Path, board: str) -> None:
    done = make_boot(tmp_path, board)
    assert done.returncode == 0, done.stderr
    judge(tmp_path, board)


def test_the_boot_loader_is_reproducible(built: Path, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere" / "device"
    shutil.copytree(DEVICE, there, ignore=shutil.ignore_patterns("tests", "app", "__pycache__"))
    done = make_boot(tmp_path / "build", EMULATED[0], room=there / "boot")
    assert done.returncode == 0, done.stderr
    first, second = (
        hashlib.sha256((folder / "boot.bin").read_bytes()) for folder in (built, tmp_path / "build")
    )
    assert first.hexdigest() == second.hexdigest()


@pytest.mark.parametrize("key", ["", "00" * 31, "00" * 33, "zz" * 32])
def test_a_key_that_is_none_stops_the_build(tmp_path: Path, key: str) -> None:
    done = make_boot(tmp_path, EMULATED[0], key)
    assert done.returncode != 0
    assert "Ed25519 public key" in done.stderr


def test_no_function_exceeds_the_stack(built: Path) -> None:
    """The signature check runs on the app's stack too (handover.h): its chain by -fstack-usage."""
    frames = {}
    for usage in built.glob("*.su"):
        for line in usage.read_text().splitlines():
            place, size, _ = line.split("\t")
            frames[place.rsplit(":", 1)[1]] = int(size)
    assert frames["opq_ed25519_check"] + frames["crypto_eddsa_check_equation"] < 1600
    assert max(size for name, size in frames.items() if "argon2" not in name) < 1200
