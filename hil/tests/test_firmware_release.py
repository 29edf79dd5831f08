"""A release of firmware goes through a gateway into a Box, which tries it and keeps it, or goes back.

The Box is simulated, with the checks of a real one; with -m slow it is the firmware itself in QEMU.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from in_thread import in_thread
from update_scene import Scene, WebServer, web_server
from waiting import wait_for

from opq_gateway import config
from opq_gateway.gateway import Gateway
from opq_gateway.update import decide
from opq_gateway.update.journal import UpdateFolder
from opq_hil.suites.scenario import Bench
from opq_hil.suites.updates import CONFIRM_S, Versions
from opq_hil.world.world import NS_PER_S, World
from opq_proto.firmware import transfer
from opq_proto.firmware.image import (
    HEADER_BYTES,
    Slot,
    Verdict,
    judge,
    make_image,
    pack_bundle,
    read_header,
    version_text,
)
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.signing import public_of
from opq_proto.link.log_codes import UPDATE_CONFIRMED, UPDATE_ROLLED_BACK
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    Hello,
    Log,
    Operation,
    Resend,
    Status,
    UpdateData,
)
from opq_proto.release.plan import Plan, target_name
from opq_sim.box import commands
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

KEY = Ed25519PrivateKey.generate()
VECTORS = 0x2001_0000.to_bytes(4, "little")
HANGS = b"hangs"


def images(version: str, body: bytes = b"works", key: Ed25519PrivateKey = KEY) -> bytes:
    """A firmware file for both slots; its code is a stack pointer, a reset vector and a word."""
    number = transfer.version_number(version)
    made = {}
    for slot in Slot:
        reset = (slot.address + HEADER_BYTES + 9).to_bytes(4, "little")
        facts = {"hardware": "opqbox", "version": number, "slot": slot, "sign": key.sign}
        made[slot] = make_image(VECTORS + reset + body * 500, **facts)  # type: ignore[arg-type]
    return pack_bundle(made)


@dataclass
class Flash:
    """The two slots of a Box: what runs, what comes in, and what it tries."""

    firmware: str = "1.0.0"
    slot: Slot = Slot.A
    before: str = ""
    """The version that ran before the one on trial."""
    incoming: bytearray = field(default_factory=bytearray)


class FirmwareBox(Box):
    """A simulated Box whose firmware can be replaced; it judges images as the firmware does."""

    def __init__(self, box_id: str, board: str = "opqbox") -> None:
        super().__init__(box_id, hardware=f"{board} external")
        self.board, self.flash, self.starts = board, Flash(), 0

    def hello(self) -> Hello:
        return replace(super().hello(), firmware=self.flash.firmware)

    def receive(self, data: bytes) -> None:
        for _, message in self.decoder.feed(data):
            match message:
                case Command(command_id, Operation.UPDATE_BEGIN, _):
                    self.flash.incoming.clear()
                    self.send(Acknowledgement(command_id, Status.DONE, Slot(1 - self.flash.slot).name))
                case UpdateData(command_id, offset, piece):
                    if offset == len(self.flash.incoming):
                        self.flash.incoming += piece
                    self.send(Acknowledgement(command_id, Status.DONE, str(len(self.flash.incoming))))
                case Command(command_id, Operation.UPDATE_END, _):
                    self._end_update(command_id)
                case Command():
                    commands.answer(self, message)
                case Resend():
                    self.ring.accept_resend(message)

    def _end_update(self, command_id: int) -> None:
        image, floor = bytes(self.flash.incoming), transfer.version_number(self.flash.firmware)
        slot, check = Slot(1 - self.flash.slot), public_of(KEY).is_signed
        verdict = judge(image, slot=slot, hardware=self.board, floor_version=floor, check=check)
        if verdict is not Verdict.GOOD:
            self.send(Acknowledgement(command_id, Status.FAILED, f"verdict {int(verdict)}"))
            return
        self.send(Acknowledgement(command_id, Status.DONE, slot.name))
        self.flash.before, self.flash.firmware = self.flash.firmware, version_text(read_header(image).version)
        self.starts += 1
        self.reset()
        if HANGS in image:
            self.flash.firmware = self.flash.before
            self.reset()
            self.send(Log(UPDATE_ROLLED_BACK, 0, 0, 0))
        else:
            self.flash.slot = slot
            self.send(Log(UPDATE_CONFIRMED, int(slot), 0, 0))


@dataclass
class Releases:
    """A repository on a web server, and the folder of a gateway that trusts it."""

    scene: Scene
    server: WebServer
    folder: Path

    def roll_out(self, version: str, data: bytes) -> None:
        file = self.folder / "new.opqfw"
        file.write_bytes(data)
        name = target_name("firmware", version, "opqbox")
        self.scene.repository.stage_releases({name: (file, {"kind": "firmware", "version": version})})
        self.scene.publish()
        self.scene.repository.put_plan(Plan("firmware", version), self.scene.online)

    @contextmanager
    def gateway(self, ports: Mapping[str, str | Path]) -> Iterator[Gateway]:
        """A gateway of these Boxes; its uplink reaches no broker."""
        data = self.folder / "D"
        KeyFolder(data / "curve").ensure(list(ports))
        self.scene.trust(UpdateFolder(data / "gateway").path)
        lines = [f'data_dir = "{data}"', 'health_endpoint = "127.0.0.1:0"', "[uplink]"]
        lines += [
            f'{name}_endpoint = "ipc://{data / name[0]}"' for name in ("trigger", "command", "response")
        ]
        lines += ["[update]", f'url = "{self.server.url}"']
        for box_id, port in ports.items():
            lines += ["[[box]]", f'id = "{box_id}"', f'port = "{port}"']
        (data / "gateway.toml").write_text("\n".join(lines))
        gateway = Gateway(config.load(data / "gateway.toml"))
        with in_thread(gateway.run):
            yield gateway

    def reported(self, box_id: str, words: str, seconds: float = 60.0) -> str:
        """What the next report with these words says of the Box's firmware."""
        begin = len(self.server.reports)

        def found() -> list[str]:
            said = [str(each["firmware"].get(box_id, "")) for each in self.server.reports[begin:]]
            return [each for each in said if words in each]

        return str(wait_for(found, seconds)[0])


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    monkeypatch.setattr(decide, "FIRST_S", 0.1)
    monkeypatch.setattr(decide, "LOOK_S", 0.2)
    monkeypatch.setattr(transfer, "POLL_S", 0.02)
    scene = Scene(tmp_path / "repository")
    with web_server(tmp_path / "repository") as server:
        yield Releases(scene, server, tmp_path)


def test_an_unhealthy_release_is_tried_once(releases: Releases) -> None:
    box = FirmwareBox("1")
    with BoxHost([FirmwareBox("2", "another"), box]) as host:
        ports = {"2": host.ports["2"], "1": host.ports["1"]}
        releases.roll_out("1.1.0", images("1.1.0"))
        with releases.gateway(ports):
            assert releases.reported("1", "1.1.0 ") == "1.1.0 confirmed"
            releases.roll_out("1.2.0", images("1.2.0", HANGS))
            assert "went back to the firmware before; it runs 1.1.0" in releases.reported("1", "1.2.0 ")
            assert (box.flash.firmware, box.starts) == ("1.1.0", 2)
        with releases.gateway(ports):  # also after a restart it remembers
            assert "1.2.0 failed: Box 1: " in releases.reported("1", "1.2.0 ")
            assert box.starts == 2
            releases.roll_out("1.3.0", images("1.3.0", key=Ed25519PrivateKey.generate()))
            assert "signed by another key" in releases.reported("1", "1.3.0 failed")
        assert (box.flash.firmware, box.starts) == ("1.1.0", 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_firmware_returns_from_a_bad_release(releases: Releases, hil_bench: Bench) -> None:
    """The firmware itself is replaced by a release and comes back from a bad one."""
    versions = Versions(hil_bench.firmware("opqbox"))

    def made(step: int, change: Callable[[bytes], bytes] = lambda image: image) -> tuple[str, bytes]:
        """The build as a later version, which it also reports."""
        found = {}
        for slot in Slot:
            image = versions.image(slot)
            before, after = (version_text(read_header(image).version + more) for more in (0, step))
            text = [f"{each}\0\0".encode() for each in (before, after)]
            head, body = image[:HEADER_BYTES], image[HEADER_BYTES:]
            assert body.count(text[0]) == 1 and len(text[0]) == len(text[1])
            body = change(head + body.replace(*text))[HEADER_BYTES:]
            found[slot] = versions.image(slot, step, body=body)
        return after, pack_bundle(found)

    flash = hil_bench.prepared("opqbox", seconds=CONFIRM_S, oversampling="1", box_id="1")
    with (
        hil_bench.live(World(36_000 * NS_PER_S), flash=flash) as box,
        releases.gateway({"1": box.port}) as gateway,
    ):
        wait_for(lambda: gateway.statuses["1"].hello, 300)
        version, data = made(1)
        releases.roll_out(version, data)
        assert releases.reported("1", f"{version} ", 1500) == f"{version} confirmed"
        hello = gateway.statuses["1"].hello
        assert hello is not None and hello.firmware.startswith(version)
        bad, data = made(2, hanging)
        releases.roll_out(bad, data)
        assert "went back to the firmware before" in releases.reported("1", f"{bad} ", 1500)
        hello = gateway.statuses["1"].hello
        assert hello is not None and hello.firmware.startswith(version)


def hanging(image: bytes) -> bytes:
    """The image with a jump to itself as its first instruction."""
    reset = int.from_bytes(image[HEADER_BYTES + 4 : HEADER_BYTES + 8], "little") & ~1
    at = reset - read_header(image).load_address
    return image[:at] + b"\xfe\xe7" + image[at + 2 :]
