"""Robot library: a world for the Box to live through, and what its log says afterwards.

Plain Python on opq_hil and opq_proto; it knows nothing of Renode, and tests/test_renode_files.py tries it
without one. Folders hold no spaces: Renode's commands take none.
"""

import json
import sys
import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
for room in ("proto", "gateway", "hil"):  # renode-test runs in its own environment
    sys.path.insert(0, str(ROOT / room))

from opq_hil.gps.oscillator import Oscillator  # noqa: E402
from opq_hil.gps.receiver import Gps  # noqa: E402
from opq_hil.suites.sampling import nothing_missed, stamp_steps  # noqa: E402
from opq_hil.suites.updates import flipped, update_script  # noqa: E402
from opq_hil.world.capture import Capture, holes, read_log  # noqa: E402
from opq_hil.world.strategy import when  # noqa: E402
from opq_hil.world.world import NS_PER_S, BitNoise, PowerScript, Sine, World  # noqa: E402
from opq_proto.firmware.image import Slot, read_bundle  # noqa: E402
from opq_proto.link.messages import (  # noqa: E402
    Acknowledgement,
    Command,
    Health,
    Hello,
    Log,
    Operation,
    Samples,
    Settings,
)

ROBOT_LIBRARY_SCOPE = "TEST"
TICK_NS = 12
"""One tick of 84 MHz, rounded up."""
UPDATE_AT_S = 15
"""The image that runs must have confirmed itself before it takes another: 10 s of samples."""


def make_folder() -> str:
    """A new folder for one run."""
    return tempfile.mkdtemp(prefix="opq-renode-")


def write_world(
    folder: str,
    seconds: float,
    gps: str = "good",
    outage: str = "",
    ppb: int = 0,
    cut_after: int = 0,
    noise: float = 0.0,
    put: str = "",
    get_settings: bool = False,
) -> str:
    """Write a world file; its path.

    `gps`: good or none; `outage`: "30-60", seconds without sky; `put`: settings such as oversampling=1,
    separated by commas, sent at 3 s; `get_settings`: requested at 3 s.
    """
    receiver = None
    if gps != "none":
        spans = tuple(tuple(float(at) for at in span.split("-")) for span in outage.split(",") if span)
        receiver = Gps(jitter_ns=20.0, outages=spans)  # type: ignore[arg-type]
    messages = [
        (3 * NS_PER_S + 50_000_000 * number, Command(100 + number, Operation.PUT_SETTING, setting))
        for number, setting in enumerate(filter(None, put.split(",")))
    ]
    if get_settings:
        messages.append((3 * NS_PER_S, Command(99, Operation.GET_SETTINGS)))
    return _written(
        folder,
        World(
            round(float(seconds) * NS_PER_S),
            mains=Sine(),
            gps=receiver,
            oscillator=Oscillator(offset_ppb=float(ppb)),
            power=PowerScript(cut_after=int(cut_after) or None),
            noise=(BitNoise(float(noise), False, 5), BitNoise(float(noise), True, 6)) if float(noise) else (),
            messages=tuple(messages),
        ),
    )


def write_update_world(folder: str, update: str, flip: int = -1, send_bytes: int = 0) -> tuple[str, str]:
    """A world in which the gateway sends the image for slot B; its path and seconds. `flip`: in this byte."""
    image = read_bundle(Path(update).read_bytes())[Slot.B]
    sent = image if int(flip) < 0 else flipped(image, int(flip))
    telling = update_script(sent, UPDATE_AT_S * NS_PER_S, 200, int(send_bytes) or None)
    end_ns = telling.end_ns + 20 * NS_PER_S
    return _written(folder, World(end_ns, messages=telling.messages)), f"{end_ns / NS_PER_S:.3f}"


def _written(folder: str, world: World) -> str:
    return str(world.write(Path(folder)))


def _capture(folder: str) -> Capture:
    return read_log(Path(folder) / "uart1.log")


def hello_of(folder: str) -> Hello:
    """The last hello."""
    return _capture(folder).of(Hello)[-1]


def starts_of(folder: str) -> int:
    """How many different starts sent a hello."""
    return len({hello.boot_id for hello in _capture(folder).of(Hello)})


def no_sample_is_missing(folder: str, since_s: float, end_s: float) -> int:
    """Blocks; fails with the hole."""
    return nothing_missed(_capture(folder), float(since_s), float(end_s))


def first_second_of(folder: str, state: str, after_s: float = 0) -> float:
    """When a state such as "sampling, locked" was first reached."""
    return when(_capture(folder).received, state, round(float(after_s) * NS_PER_S)) / NS_PER_S


def largest_stamp_step_ns(folder: str) -> int:
    """The largest step of the stamps against their samples, while locked."""
    return stamp_steps(_capture(folder), Gps(jitter_ns=20.0))


def log_codes_of(folder: str) -> list[int]:
    """In order."""
    return [line.code for line in _capture(folder).of(Log)]


def answers_to(folder: str, command_id: int) -> list[str]:
    """`STATUS detail` of each acknowledgement of a command."""
    found: Iterable[Acknowledgement] = _capture(folder).of(Acknowledgement)
    return [
        f"{answer.status.name} {answer.detail}".strip()
        for answer in found
        if answer.command_id == int(command_id)
    ]


def blocks_of(folder: str) -> int:
    """Blocks of samples that arrived."""
    return len(_capture(folder).of(Samples))


def settings_of(folder: str) -> dict[str, str]:
    """The last answer to `get_settings`; fails when there is none."""
    answers = _capture(folder).of(Settings)
    assert answers, f"no settings in {folder}"
    return dict(answers[-1].values)


def one_setting_changed(old: dict[str, str], new: dict[str, str], key: str, value: str) -> None:
    """`key` has another value now, this one; all others are as before."""
    assert old != new and {**old, key: value} == new, (old, new)


def flash_operations_of(folder: str) -> int:
    """Programs and erases of a run, as the report counts them."""
    return int(json.loads((Path(folder) / "report.json").read_text())["flash"]["operations"])


def bad_frames_of(folder: str) -> int:
    """Frames with a wrong CRC."""
    return _capture(folder).counters["crc_errors"]


def flash_differs_outside_slot_b(before: str, after: str) -> bool:
    """Whether anything but slot B and the settings changed."""

    def rest(path: str) -> bytes:
        data = Path(path).read_bytes().ljust(1 << 20, b"\xff")
        return data[:0x8000] + data[0x10000:0x20000] + data[0x20000 : 0x80000 - 1024] + data[0xE0000:]

    return rest(before) != rest(after)


def one_hole_is_reported(folder: str, least: str, most: str) -> None:
    """One hole of so many samples; the Box's own account of it is the same, and stamps go on across it."""
    capture = _capture(folder)
    gaps = holes(capture.fresh)
    assert len(gaps) == 1 and int(least) <= gaps[0][1] <= int(most), gaps
    [(before, after)] = [
        (before, after)
        for before, after in pairwise(capture.fresh)
        if after.first_sample > before.first_sample + len(before.counts)
    ]
    samples = after.first_sample - before.first_sample
    off_ns = after.t_ns - before.t_ns - samples * 10**12 // before.rate_millihz
    assert abs(off_ns) <= TICK_NS, f"the stamps are {off_ns} ns off across the hole of {gaps[0][1]} samples"
    health = capture.of(Health)[-1]
    assert (health.missing_samples, health.overruns) == (gaps[0][1], 1), health
