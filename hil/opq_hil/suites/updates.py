"""Updates over the link, sent by a script: good ones run, bad ones leave everything as it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.backend import FirmwareRun
from opq_hil.backends.board import BoardBackend, RunningImage
from opq_hil.backends.firmware import Firmware
from opq_hil.suites.box_update import update_box
from opq_hil.suites.line_faults import logged
from opq_hil.suites.sampling import RATE_HZ
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, SkippedError, require
from opq_hil.world.capture import waveform
from opq_hil.world.line import BenchLine
from opq_hil.world.strategy import reach, when
from opq_hil.world.world import NS_PER_S, World
from opq_proto.firmware.image import (
    HEADER_BYTES,
    PIECE_BYTES,
    SIGNED_BYTES,
    Slot,
    Verdict,
    make_image,
    read_header,
)
from opq_proto.keys.signing import firmware_key
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    Health,
    LinkMessage,
    Operation,
    Resend,
    Samples,
    Status,
    UpdateData,
)
from opq_sim.box.f405_memory import FLASH, F405Memory

PIECE_NS = 14_000_000
"""A frame of 1,040 bytes is 11.3 ms on the line; its 256 words are 4 ms of programming."""
ERASE_NS = 9 * NS_PER_S
"""Three sectors of 128 KB, 2 s each at most (DS8626 table 40), and the pauses of the Box between them."""
CONFIRM_S = 14
"""From power-on until an image is confirmed: boot, and 10 s of samples without a loss."""
SECTOR_BYTES = 16 * 1024
SETTINGS_SECTOR = 2
"""The first of two; RM0090 table 5."""
DATA, EXTENDED_ADDRESS = 0, 4
"""Kinds of records in Intel's HEX files."""
BOOT_NS = 3 * NS_PER_S // 2

ScriptedMessages = tuple[tuple[int, LinkMessage | bytes], ...]


@dataclass(frozen=True, slots=True)
class UpdateScript:
    """An update as the gateway's script, and the time of its end."""

    messages: ScriptedMessages
    end_ns: int


def update_script(image: bytes, start_ns: int, first_id: int, send_bytes: int | None = None) -> UpdateScript:
    """Begin, the header, one piece that starts the erasure, a wait, all pieces, end; answers are ignored.

    While it erases, the Box sends nothing. So every half second the script requests two seconds of earlier
    samples. `send_bytes`: stop after this many, for a truncated image.
    """
    messages: list[tuple[int, LinkMessage | bytes]] = [
        (start_ns, Command(first_id, Operation.UPDATE_BEGIN, str(len(image)))),
        (start_ns + NS_PER_S // 20, UpdateData(first_id + 1, 0, image[:HEADER_BYTES])),
        (start_ns + NS_PER_S // 4, UpdateData(first_id + 1, HEADER_BYTES, image[HEADER_BYTES:PIECE_BYTES])),
    ]
    at_ns = start_ns + ERASE_NS
    for request_ns in range(start_ns + NS_PER_S, at_ns + NS_PER_S, NS_PER_S // 2):
        newest = (request_ns - NS_PER_S // 5) * RATE_HZ // NS_PER_S
        messages.append((request_ns, Resend(max(0, newest - 5 * RATE_HZ // 2), 2 * RATE_HZ)))
    body = image[:send_bytes]
    for offset in range(HEADER_BYTES, len(body), PIECE_BYTES):
        messages.append((at_ns, UpdateData(first_id + 1, offset, body[offset : offset + PIECE_BYTES])))
        at_ns += PIECE_NS
    messages.append((at_ns + NS_PER_S // 4, Command(first_id + 2, Operation.UPDATE_END)))
    return UpdateScript(tuple(messages), at_ns + NS_PER_S // 2)


@dataclass(frozen=True, slots=True)
class Versions:
    """Images of one build under other versions, signed by the key that the boot loader knows."""

    firmware: Firmware
    running: int | None = None
    """Version that runs; None: that of the build."""

    def image(
        self,
        slot: Slot,
        step: int = 0,
        hardware: str = "",
        signed: bool = True,
        body: bytes | None = None,
    ) -> bytes:
        """The build for a slot, its version moved by `step` patches; `body`: other code in its place.

        Raises:
            SkippedError: the key is not on this machine.
        """
        if self.firmware.key is None:
            raise SkippedError("the key that signed this firmware is not here: no other version can be made")
        image = self.firmware.images()[slot]
        header = read_header(image)
        sign = firmware_key(self.firmware.key).sign if signed else None
        return make_image(
            image[HEADER_BYTES:] if body is None else body,
            hardware=hardware or self.firmware.image.board.name,
            version=(header.version if self.running is None else self.running) + step,
            slot=slot,
            label=header.label,
            flags=header.flags,
            sign=sign,
        )


def flipped(image: bytes, at: int) -> bytes:
    """The image with one bit changed."""
    return image[:at] + bytes((image[at] ^ 1,)) + image[at + 1 :]


def confirmed(bench: Bench) -> Path:
    """A flash whose image in slot A is confirmed, quick to emulate."""
    return bench.prepared(seconds=CONFIRM_S, oversampling="1")


def box_versions(bench: Bench, box: BoardBackend) -> tuple[RunningImage, Versions]:
    """What runs on a board, and images around that version.

    Raises:
        SkippedError: the build that it was flashed with is not named, or not here.
    """
    firmware = bench.firmware()
    if firmware.update is None or not firmware.update.is_file():
        raise SkippedError("needs the build that the board was flashed with: --hil-firmware, or --firmware")
    running = box.running()
    return running, Versions(firmware, running.version)


def _good_update_of_a_board(bench: Bench, box: BoardBackend) -> Figures:
    """As `good_update`, by the gateway's update, from whatever slot and version run."""
    running, versions = box_versions(bench, box)
    with bench.live(World(NS_PER_S)) as live, BenchLine(live.port, live.now_s) as line:
        reach(line, "sampling", 30)
        began_s = live.now_s()
        update_box(line, {slot: versions.image(slot, step=1) for slot in Slot})
        took_s = live.now_s() - began_s
    slot = box.running().slot
    require(slot is running.slot.other, f"slot {slot.name} runs; want {running.slot.other.name}")
    older = versions.image(running.slot)
    with BenchLine(live.port, live.now_s) as line:
        begun = line.send_command(Operation.UPDATE_BEGIN, str(len(older)), timeout_s=30)
        require(begun.status is Status.DONE, f"begin ended as {begun}")
        sent = line.send_piece(0, older[:PIECE_BYTES])
        answer = line.wait_for(Acknowledgement, 30, lambda answer: answer.command_id == sent)
    require_refused([answer], sent, Verdict.DOWNGRADE)
    return {"update_s": took_s, "slot": slot.name}


def good_update(bench: Bench) -> Figures:
    """A newer image goes into slot B, starts, is confirmed; the older one is then refused."""
    if bench.box is not None:
        return _good_update_of_a_board(bench, bench.box)
    versions = Versions(bench.firmware())
    flash = confirmed(bench)
    newer = update_script(versions.image(Slot.B, step=1), BOOT_NS, 10)
    older_ns = newer.end_ns + (CONFIRM_S + 1) * NS_PER_S
    older = versions.image(Slot.A)
    messages = (
        *newer.messages,
        (older_ns, Command(20, Operation.UPDATE_BEGIN, str(len(older)))),
        (older_ns + NS_PER_S // 20, UpdateData(21, 0, older[:PIECE_BYTES])),
    )
    run = bench.run(World(older_ns + NS_PER_S, messages=messages), flash=flash)
    answers = {answer.command_id: answer for answer in run.capture.of(Acknowledgement)}
    end = answers.get(12)
    require(end is not None and end.status is Status.DONE, f"the update ended as {end}")
    slots = [line.a for line in logged(run, "box.update_confirmed")]
    require(slots == [Slot.B], f"confirmed slots: {slots}; want [1]")
    refused(run, 21, Verdict.DOWNGRADE)
    started_ns = when(run.capture.received, "sampling", after_ns=newer.end_ns)
    before = [block for block in run.capture.fresh if block.t_ns >= 0]
    return {
        "sending_s": (newer.end_ns - BOOT_NS) / NS_PER_S,
        "to_samples_of_the_new_s": (started_ns - newer.end_ns) / NS_PER_S,
        "blocks": len(before),
    }


def refused(run: FirmwareRun, command_id: int, verdict: Verdict) -> None:
    """Requires that the last acknowledgement of this command has that verdict."""
    require_refused(run.capture.of(Acknowledgement), command_id, verdict)


def require_refused(received: Sequence[Acknowledgement], command_id: int, verdict: Verdict) -> None:
    """As `refused`, of acknowledgements."""
    answers = [answer for answer in received if answer.command_id == command_id]
    want = f"verdict {int(verdict)}"
    require(
        bool(answers) and answers[-1].status is Status.FAILED and answers[-1].detail == want,
        f"{verdict.name.lower()}: want {want}, got {answers[-1] if answers else 'no answer'}",
    )


def bad_updates(bench: Bench) -> Figures:
    """Unsigned, changed, foreign, downgraded, truncated: refused by name, no sample lost."""
    running, flash, versions = Slot.A, None, Versions(bench.firmware())
    if bench.box is None:
        flash = confirmed(bench)
    else:
        (running, _), versions = box_versions(bench, bench.box)
    free = running.other
    good = versions.image(free, step=1)
    heads: Sequence[tuple[Verdict, bytes]] = (
        (Verdict.UNSIGNED, versions.image(free, step=1, signed=False)),
        (Verdict.BAD_SIGNATURE, flipped(good, SIGNED_BYTES)),
        (Verdict.BAD_SIGNATURE, flipped(good, HEADER_BYTES // 2)),
        (Verdict.DOWNGRADE, versions.image(free, step=-1)),
        (Verdict.WRONG_HARDWARE, versions.image(free, step=1, hardware="another")),
        (Verdict.WRONG_ADDRESS, versions.image(running, step=1)),
        (Verdict.NO_MAGIC, bytes(PIECE_BYTES)),
    )
    messages: list[tuple[int, LinkMessage | bytes]] = []
    at_ns = BOOT_NS
    for number, (_, image) in enumerate(heads):
        messages.append((at_ns, Command(100 + 2 * number, Operation.UPDATE_BEGIN, str(len(image)))))
        messages.append((at_ns + NS_PER_S // 10, UpdateData(101 + 2 * number, 0, image[:PIECE_BYTES])))
        at_ns += NS_PER_S
    cut_off = update_script(good, at_ns, 200, send_bytes=len(good) // 2)
    changed = update_script(flipped(good, len(good) // 2), cut_off.end_ns + NS_PER_S, 300)
    messages += [*cut_off.messages, *changed.messages]
    run = bench.run(World(changed.end_ns + NS_PER_S, messages=tuple(messages)), flash=flash)
    for number, (verdict, _) in enumerate(heads):
        refused(run, 101 + 2 * number, verdict)
    refused(run, 202, Verdict.TRUNCATED)
    refused(run, 302, Verdict.BAD_HASH)
    whole = waveform(run.capture.of(Samples))
    require(whole.missing == 0 and whole.conflicts == 0, f"{whole.missing} samples lost over two erasures")
    health = run.capture.of(Health)[-1]
    require(health.missing_samples == 0 == health.overruns, f"{health.missing_samples} samples not taken")
    again = bench.run(World(4 * NS_PER_S), name="again", flash=run.flash)
    when(again.capture.received, "running, sampling")
    return {
        "refused": len(heads) + 2,
        "flash_operations": int(run.report.get("flash", {}).get("operations", 0)),
    }


def with_programmer(flash: bytes, records: str) -> bytes:
    """The flash after another program wrote an Intel HEX file: it erases the sectors that it writes."""
    memory, base, written = F405Memory(), 0, list[tuple[int, bytes]]()
    memory.flash[:] = flash
    for line in records.split():
        record = bytes.fromhex(line.removeprefix(":"))
        address, kind, data = int.from_bytes(record[1:3], "big"), record[3], record[4 : 4 + record[0]]
        if kind == EXTENDED_ADDRESS:
            base = int.from_bytes(data, "big") << 16
        elif kind == DATA:
            written.append((base + address, data))
    for sector in {memory.sector_at(address + at) for address, data in written for at in (0, len(data) - 1)}:
        memory.erase(sector)
    for address, data in written:
        require(memory.program(address, data), f"0x{address:08X} cannot be programmed")
    return bytes(memory.flash)


def _other_programmer_of_a_board(bench: Bench, box: BoardBackend) -> Figures:
    """As `other_programmer`, by the programmer at the bench."""
    if not box.fixtures.program_command:
        raise SkippedError("needs a programmer at the board (--program-command)")
    running, versions = box_versions(bench, box)
    written = bench.firmware().flash_hex()
    with bench.live(World(NS_PER_S)) as live, BenchLine(live.port, live.now_s) as line:
        reach(line, "sampling", 30)
        update_box(line, {slot: versions.image(slot, step=1) for slot in Slot})
    before = box.put_settings({})
    box.program(written)
    now = box.running()
    build = read_header(bench.firmware().images()[Slot.A]).version
    require(now == RunningImage(Slot.A, build), f"{now} runs after flash.hex; want slot A, version {build}")
    require(box.put_settings({}) == before, "the settings did not stay")
    return {"updated_to": running.slot.other.name, "from_b_to_a": 1}


def other_programmer(bench: Bench) -> Figures:
    """The build's flash.hex over a Box that runs a newer image in slot B: what was written runs."""
    if bench.box is not None:
        return _other_programmer_of_a_board(bench, bench.box)
    firmware, confirmed_one = bench.firmware(), confirmed(bench)
    written = firmware.flash_hex()
    records = written.read_text(encoding="ascii")
    newer = Versions(firmware).image(Slot.B, step=1)
    flash, at = bytearray(confirmed_one.read_bytes()), Slot.B.address - FLASH
    flash[at : at + len(newer)] = newer
    path = bench.folder / "newer.bin"
    path.write_bytes(flash)
    first = bench.run(World(CONFIRM_S * NS_PER_S), name="newer", flash=path)
    slots = [line.a for line in logged(first, "box.update_confirmed")]
    require(slots == [Slot.B], f"confirmed slots: {slots}; want [1]")
    assert first.flash is not None
    before = first.flash.read_bytes()
    path.write_bytes(with_programmer(before, records))
    settings = range(SETTINGS_SECTOR * SECTOR_BYTES, (SETTINGS_SECTOR + 2) * SECTOR_BYTES)
    second = bench.run(World(CONFIRM_S * NS_PER_S), name="written", flash=path)
    slots = [line.a for line in logged(second, "box.update_confirmed")]
    require(slots == [Slot.A], f"confirmed slots after flash.hex: {slots}; want [0]")
    assert second.flash is not None
    kept = second.flash.read_bytes()[settings.start : settings.stop] == before[settings.start : settings.stop]
    require(kept, "the settings did not stay")
    return {"from_b_to_a": 1}


SCENARIOS = (
    FirmwareScenario(
        "good_update", "a newer image is taken, tried, confirmed; the older one refused", good_update
    ),
    FirmwareScenario("bad_updates", "bad, truncated, downgraded, unsigned images refused", bad_updates),
    FirmwareScenario("other_programmer", "flash.hex over a newer image in slot B: it runs", other_programmer),
)
