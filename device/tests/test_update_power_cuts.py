"""An update cut at every write: the old or the new firmware starts, whole, and the next update works."""

import hashlib
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from boot_on_pc import BOOT, FLASH, HERE, UPDATE, ed25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from host_library import program

from opq_proto.firmware.image import Slot, make_image

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = PRIVATE.public_key().public_bytes_raw()
SOURCES = (*UPDATE, BOOT / "boot.c", FLASH, HERE / "cut_box.c", HERE / "power_cuts_update.c")
FIRMWARE_BYTES = 190_000
"""About what the app has (device/port)."""


def fast(message: bytes) -> bytes:
    """cut_box.c, FAST."""
    return hashlib.sha256(KEY + message).digest() * 2


def images(folder: Path, body_bytes: int, sign: Callable[[bytes], bytes]) -> Path:
    """Four versions for either slot, and the key."""
    source = random.Random(1)
    folder.mkdir()
    for version in range(4):
        for slot in Slot:
            vectors = struct.pack("<II", 0x2002_0000, slot.address + 512 + 9)
            image = make_image(
                vectors + source.randbytes(body_bytes - len(vectors)),
                hardware="opqbox",
                version=0x0100_0000 + version,
                slot=slot,
                sign=sign,
            )
            (folder / f"v{version}_{slot.name}.bin").write_bytes(image)
    (folder / "key").write_bytes(KEY)
    return folder


def cut(
    cutter: Path, folder: Path, first: int, step: int, seeds: int, kind: str = "", timeout_s: int = 600
) -> dict[str, int]:
    command = [str(cutter), str(folder), str(first), str(step), str(seeds), *([kind] if kind else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    print(done.stdout.strip(), done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def fast_cutter() -> Path:
    return program("power_cuts_update_fast", SOURCES, "-DFAST", f"-I{BOOT}", optimise="-O2")


def real_cutter() -> Path:
    sources, flags = ed25519()
    return program("power_cuts_update", (*SOURCES, *sources), *flags, "-fno-sanitize=all", optimise="-O1")


def test_an_update_survives_any_power_cut(tmp_path: Path) -> None:
    """The power goes at every write of an update and old or new starts."""
    figures = cut(fast_cutter(), images(tmp_path / "images", 1024, fast), 1, 1, 2)
    assert figures["cuts"] >= 4_000
    assert figures["corrupt"] == figures["bricked"] == 0
    assert min(figures["old"], figures["new"], figures["rolled_back"]) > 0


def test_the_same_with_real_signatures(tmp_path: Path) -> None:
    figures = cut(real_cutter(), images(tmp_path / "images", 1024, PRIVATE.sign), 1, 40, 1)
    assert figures["cuts"] >= 50
    assert figures["corrupt"] == figures["bricked"] == 0


@pytest.mark.soak
@pytest.mark.timeout(2000)
def test_small_updates_survive_every_cut(tmp_path: Path) -> None:
    figures = cut(fast_cutter(), images(tmp_path / "images", 1024, fast), 1, 1, 60, timeout_s=1900)
    assert figures["cuts"] >= 140_000
    assert figures["corrupt"] == figures["bricked"] == 0


@pytest.mark.soak
@pytest.mark.timeout(2000)
def test_signed_updates_survive_every_write(tmp_path: Path) -> None:
    figures = cut(real_cutter(), images(tmp_path / "images", 1024, PRIVATE.sign), 1, 1, 1, timeout_s=1900)
    assert figures["cuts"] >= 2_000
    assert figures["corrupt"] == figures["bricked"] == 0


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_long_updates_survive_every_write(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", FIRMWARE_BYTES, fast)
    cutter = program(
        "power_cuts_update_long",
        SOURCES,
        "-DFAST",
        f"-I{BOOT}",
        "-DSTARTS=1",
        "-fno-sanitize=all",
        optimise="-O3",
    )
    figures = cut(cutter, folder, 1, 1, 1, kind="0", timeout_s=2900)
    assert figures["cuts"] >= FIRMWARE_BYTES // 4
    assert figures["corrupt"] == figures["bricked"] == 0
