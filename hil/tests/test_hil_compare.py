"""`hil compare` and the digests: what was changed in a kept run is reported, and nothing else."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from model_box import ModelBox

from opq_hil.backends.backend import FirmwareRun, Image
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.firmware import Firmware
from opq_hil.gps.receiver import START_UTC_S, Gps
from opq_hil.suites import ticks
from opq_hil.suites.comparison import SavedRunError, compare, read_saved_run
from opq_hil.suites.digests import WORLDS, digest_text, read_digests, scenarios
from opq_hil.suites.run_digest import LEFT_OUT, Digest, DigestScope, differences, digest_of
from opq_hil.world.capture import Capture
from opq_hil.world.world import NS_PER_S, Played, World
from opq_proto.errors import ConfigError
from opq_proto.link import frames as link
from opq_proto.link.messages import GpsState, GpsStatus, Health, Hello, LinkMessage, Log, Samples
from opq_proto.messages import TimeSource
from opq_tools.hil.hil_command import command

KEPT = Path(__file__).parents[1] / "digests" / "qemu.json"
BLOCK, BLOCKS = 200, 12
Messages = list[LinkMessage | None]
"""None: a frame that was lost."""
HELLO = Hello(1, 7, 42, 12_000_000, 0.0158, 120.0, 60.0, 15.0, BLOCK, 38_400, "opqbox", "0.1.0")


def block(number: int, late_ns: int = 0) -> Samples:
    counts = np.arange(BLOCK, dtype=np.int16) + number
    t_ns = START_UTC_S * NS_PER_S + number * NS_PER_S // 60 + late_ns
    return Samples(number * BLOCK, t_ns, 100, TimeSource.GPS, 12_000_000, 0, counts)


def status(state: GpsState) -> GpsStatus:
    return GpsStatus(state, 9, 0, 0, 0, 0, 0, 0, 18)


def all_messages() -> Messages:
    health = Health(900, 25.0, 5.0, 4.0, 30, 0, 0, 0, 0, 0, 34_000, 1)
    blocks = [block(number) for number in range(BLOCKS)]
    lines = [Log(1, 42, 1, 5), Log(10, 2, 1, 7), Log(20, 0, 1, 900)]
    states = [status(GpsState.FREE), status(GpsState.ACQUIRING), status(GpsState.LOCKED)]
    return [HELLO, *lines[:2], states[0], *blocks[:6], states[1], lines[2], *blocks[6:], states[2], health]


def saved(
    folder: Path,
    messages: Sequence[LinkMessage | None],
    flash: bytes = bytes(0x100000),
    step_ns: int = NS_PER_S // 60,
) -> Path:
    folder.mkdir()
    lines = (
        f"{number * step_ns} {link.encode(message, number).hex()}\n"
        for number, message in enumerate(messages)
        if message is not None
    )
    (folder / "uart1.log").write_text("".join(lines))
    (folder / "world.txt").write_text("seed 1\n")
    (folder / "report.json").write_text(json.dumps({"end": "end", "flash": {"erases": 0}}))
    (folder / "flash.bin").write_bytes(flash)
    return folder


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    rows = compare(
        read_saved_run(saved(tmp_path / "a", all_messages())),
        read_saved_run(saved(tmp_path / "b", all_messages())),
    )
    assert [row.what for row in rows] == ["world", "samples", "stamps", "states", "counters", "log", "flash"]
    assert all(row.equal for row in rows)


def changed_sample(messages: Messages) -> Messages:
    at = next(
        n
        for n, message in enumerate(messages)
        if isinstance(message, Samples) and message.first_sample == 800
    )
    counts = block(4).counts.copy()
    counts[17] += 1
    return [*messages[:at], replace(block(4), counts=counts), *messages[at + 1 :]]


def late_stamp(messages: Messages) -> Messages:
    return [
        block(4, 50) if isinstance(message, Samples) and message.first_sample == 800 else message
        for message in messages
    ]


def lost_line(messages: Messages) -> Messages:
    return [None if isinstance(m, Log) and m.code == 20 else m for m in messages]


def lost_block(messages: Messages) -> Messages:
    return [None if isinstance(m, Samples) and m.first_sample == 800 else m for m in messages]


def another_state(messages: Messages) -> Messages:
    free = status(GpsState.FREE)
    return [free if isinstance(m, GpsStatus) and m.state is GpsState.LOCKED else m for m in messages]


def overrun(messages: Messages) -> Messages:
    return [replace(m, overruns=1) if isinstance(m, Health) else m for m in messages]


@pytest.mark.parametrize(
    ("change", "row", "text"),
    [
        (changed_sample, "samples", "1 of 2400 differ, the first at 817 of start 0: 21 in A, 22 in B"),
        (late_stamp, "stamps", "12 blocks, largest difference 50 ns at sample 800 of start 0"),
        (lost_line, "log", "only in A: box.clock_state 0 1"),
        (lost_block, "samples", "0 of 2200 differ; 200 are in one run only"),
        (another_state, "states", "A: free 0.050 s acquiring 0.167 s locked 0.300 s; B: free 0.050 s"),
        (overrun, "counters", "box.overruns 0 in A, 1 in B"),
    ],
)
def test_one_change_is_reported_in_its_row(
    change: Callable[[Messages], Messages], row: str, text: str, tmp_path: Path
) -> None:
    a, b = saved(tmp_path / "a", all_messages()), saved(tmp_path / "b", change(all_messages()))
    rows = {found.what: found for found in compare(read_saved_run(a), read_saved_run(b))}
    assert not rows[row].equal and rows[row].text.startswith(text)
    others = (
        {"counters"} if any(m is None for m in change(all_messages())) else set()
    )  # a frame less on the line
    assert {what for what, found in rows.items() if not found.equal} - others == {row}


def test_later_sampling_is_a_median_apart(tmp_path: Path) -> None:
    later = [
        replace(m, t_ns=m.t_ns + 1234 + 3 * (m.first_sample == 800)) if isinstance(m, Samples) else m
        for m in all_messages()
    ]
    rows = compare(
        read_saved_run(saved(tmp_path / "a", all_messages())), read_saved_run(saved(tmp_path / "b", later))
    )
    assert rows[2].text.endswith(
        "largest difference 1237 ns at sample 800 of start 0; 3 ns beside their median, 1234 ns"
    )


def test_bytes_of_flash_are_named_by_their_area(tmp_path: Path) -> None:
    flash = bytearray(0x100000)
    flash[0x9000] = flash[0x90000] = 1
    a, b = saved(tmp_path / "a", all_messages()), saved(tmp_path / "b", all_messages(), bytes(flash))
    row = compare(read_saved_run(a), read_saved_run(b))[-1]
    assert row.text == "2 bytes differ (settings 1, slot B 1), the first at 0x08009000"


def test_the_command_ends_with_1_when_something_differs(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", all_messages()), saved(tmp_path / "b", lost_line(all_messages()))
    same = CliRunner().invoke(command, ["compare", str(a), str(a)])
    assert same.exit_code == 0 and "DIFFERS" not in same.output
    found = CliRunner().invoke(command, ["compare", str(a), str(b)])
    assert found.exit_code == 1 and "log       DIFFERS  only in A: box.clock_state 0 1" in found.output
    rows = json.loads(CliRunner().invoke(command, ["compare", "--json", str(a), str(b)]).stdout)
    assert {row["what"]: row["equal"] for row in rows}["log"] is False


def test_a_folder_without_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SavedRunError, match=r"no uart1\.log in it; give the folder of one run"):
        read_saved_run(tmp_path)


# ------------------------------------------------------------------ digests, of a Box by formula

SCOPE = DigestScope(((2_400, 60_000),), (22, 23), flash=False)
WORLD = World(25 * NS_PER_S, ticks.saw(), gps=Gps(utc_start_ns=START_UTC_S * NS_PER_S + 300_000_000))


def played(folder: Path, world: World = WORLD) -> tuple[FirmwareRun, Firmware]:
    image = folder / "flash.bin"
    image.write_bytes(b"")
    firmware = Firmware(Image(BOARDS["opqbox"], image), image)
    return ModelBox().run(firmware.image, world, folder, wall_limit_s=60), firmware


def with_changed(run: FirmwareRun, change: Callable[[LinkMessage], LinkMessage | None]) -> FirmwareRun:
    log = [
        (entry.t_ns, link.encode(message, number))
        for number, entry in enumerate(run.capture.received)
        if (message := change(entry.message)) is not None
    ]
    return replace(run, capture=Capture(log))


def changed_in_the_digest(
    folder: Path, change: Callable[[LinkMessage], LinkMessage | None]
) -> tuple[Digest, list[str]]:
    run, firmware = played(folder)
    line = Log(20, 1, 2, 21_000)
    run = replace(
        run, capture=Capture([*run.capture.log, (25 * NS_PER_S, b"\0" + link.encode(line, 60_000))])
    )
    before = digest_of(run, SCOPE, firmware)
    after = digest_of(with_changed(run, change), SCOPE, firmware)
    assert not differences(before, before)
    return after, differences(before, after)


def test_one_changed_sample_is_one_that_is_wrong(tmp_path: Path) -> None:
    def change(message: LinkMessage) -> LinkMessage:
        if isinstance(message, Samples) and message.first_sample == 20_000:
            counts = message.counts.copy()
            counts[5] ^= 1
            return replace(message, counts=counts)
        return message

    digest, wrong = changed_in_the_digest(tmp_path, change)
    assert digest["samples"][0]["wrong"] == 1
    assert len(wrong) == 1 and wrong[0].startswith("samples: ")


def test_one_stamp_50_ns_off_is_reported(tmp_path: Path) -> None:
    def change(message: LinkMessage) -> LinkMessage:
        late = isinstance(message, Samples) and message.first_sample == 262_000
        return replace(message, t_ns=message.t_ns + 50) if late and isinstance(message, Samples) else message

    _, wrong = changed_in_the_digest(tmp_path, change)
    assert len(wrong) == 1 and wrong[0].startswith("stamps: most_ns of second 22 is ")


def test_stamps_2_ns_off_are_tolerated(tmp_path: Path) -> None:
    def change(message: LinkMessage) -> LinkMessage:
        return replace(message, t_ns=message.t_ns + 2) if isinstance(message, Samples) else message

    assert changed_in_the_digest(tmp_path, change)[1] == []


def test_a_lost_log_line_is_reported(tmp_path: Path) -> None:
    _, wrong = changed_in_the_digest(tmp_path, lambda message: None if isinstance(message, Log) else message)
    assert wrong == ["log: ['box.clock_state', 1, 2] is missing"]


def test_a_recording_is_found_at_any_start(tmp_path: Path) -> None:
    counts = np.random.default_rng(15).integers(-20_000, 20_000, 150_000).astype(np.int16)
    found = []
    for start_ns in (0, -5_000_000):
        folder = tmp_path / str(start_ns)
        folder.mkdir()
        run, firmware = played(folder, World(8 * NS_PER_S, Played(counts, start_ns=start_ns), gps=None))
        found.append(digest_of(run, DigestScope(((2_400, 40_000),), flash=False), firmware))
    assert found[0]["samples"] == found[1]["samples"] and found[0]["samples"][0]["wrong"] == 0


def test_the_kept_file_names_its_omissions() -> None:
    content = read_digests(KEPT)
    assert list(content["worlds"]) == list(WORLDS) and content["left_out"] == list(LEFT_OUT)
    assert digest_text(content) == KEPT.read_text()
    for digest in content["worlds"].values():
        assert all(part["wrong"] == part["missing"] == 0 for part in digest["samples"])


def test_unknown_worlds_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="world storm: no digest; there are steady, drift"):
        scenarios(["storm"], None, {})
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ConfigError, match="no digests; make them with `hil digests --keep FILE`"):
        read_digests(tmp_path / "other.json")
