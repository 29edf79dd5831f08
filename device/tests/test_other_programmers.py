"""flash.hex and flash.dfu by other people's programmers, on a Box that had firmware before.

A programmer erases the sectors that it writes (RM0090 table 5) and no others. The files are read by the
formats' own descriptions (Intel's, ST's UM0391), and the boot loader is its own C.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from boot_on_pc import PRIVATE, START, BoxOnPc, image
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from opq_proto.firmware.image import HEADER_BYTES, Slot
from opq_sim.box.f405_memory import FLASH, F405Memory
from opq_tools.firmware.build import lay_out

Records = Iterator[tuple[int, bytes]]
SETTINGS = 0x8000


def of_hex(file: bytes) -> Records:
    high = 0
    for line in file.decode("ascii").split():
        record = bytes.fromhex(line.removeprefix(":"))
        count, address, kind = struct.unpack_from(">BHB", record)
        if kind == 4:
            high = int.from_bytes(record[4:6], "big") << 16
        elif kind == 0:
            yield high + address, record[4 : 4 + count]


def of_dfu(file: bytes) -> Records:
    (count,) = struct.unpack_from("<I", file, 11 + 270)
    at = 11 + 274
    for _ in range(count):
        address, size = struct.unpack_from("<II", file, at)
        yield address, file[at + 8 : at + 8 + size]
        at += 8 + size


def programmer(box: BoxOnPc, records: Records) -> None:
    """Erases what it touches, then writes."""
    memory, chip = F405Memory(), box.c.probe_bytes()
    memory.flash[:] = bytes(chip[: len(memory.flash)])
    written = list(records)
    for sector in {memory.sector_at(at + byte) for at, data in written for byte in range(len(data))}:
        assert memory.erase(sector)
    for address, data in written:
        memory.flash[address - FLASH : address - FLASH + len(data)] = data
    for at, byte in enumerate(memory.flash):
        chip[at] = byte


@pytest.fixture(params=[("flash.hex", of_hex), ("flash.dfu", of_dfu)], ids=["hex", "dfu"])
def flash(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[BoxOnPc, bytes, str], None]:
    """Puts an image of slot A, laid out as a build does, onto a Box."""
    name, read = request.param
    key = tmp_path / "key.pem"
    key.write_bytes(PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def put(box: BoxOnPc, content: bytes, version: str) -> None:
        for file in ("firmware_a.bin", "firmware_b.bin"):
            (tmp_path / file).write_bytes(content[HEADER_BYTES:])
        (tmp_path / "boot.bin").write_bytes(b"\x5a" * 0x3000)
        lay_out(tmp_path, "opqbox", version, key, development=False)
        programmer(box, read((tmp_path / name).read_bytes()))

    return put


@pytest.fixture
def box() -> BoxOnPc:
    """A Box with 1.0.1 in both slots: one update has confirmed itself in B."""
    found = BoxOnPc()
    found.programmer(Slot.A, image(1))
    found.start()
    found.confirm(Slot.A)
    found.init(0, 1)
    found.send(image(1, Slot.B))
    found.end()
    assert found.start().slot == Slot.B
    found.confirm(Slot.B)
    found.c.probe_bytes()[SETTINGS] = 7
    return found


@pytest.mark.parametrize("version", ["1.0.1", "1.0.0"])
def test_what_a_programmer_wrote_starts(
    box: BoxOnPc, flash: Callable[[BoxOnPc, bytes, str], None], version: str
) -> None:
    """A new build of the same version, and an older version."""
    flash(box, image(0, body_bytes=3200), version)
    plan = box.start()
    assert (plan.action, plan.slot, plan.trials) == (START, Slot.A, 1)
    assert box.c.probe_bytes()[SETTINGS] == 7


def test_a_rejected_image_gets_new_trials(flash: Callable[[BoxOnPc, bytes, str], None]) -> None:
    box = BoxOnPc()
    content = image(1, body_bytes=3200)
    flash(box, content, "1.0.1")
    for _ in range(4):
        plan = box.start()
    assert plan.action != START
    flash(box, content, "1.0.1")
    plan = box.start()
    assert (plan.action, plan.slot, plan.trials) == (START, Slot.A, 1)
