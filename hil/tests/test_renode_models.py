"""The C# models of the Renode platform: they compile as C# 6, and they do what RM0090 and arithmetic say.

They run here under Mono against stubs that were written from reading Renode's sources: what Renode itself
makes of them (bus, interrupts, CPU) is not shown by this.
"""

from pathlib import Path

import numpy as np
import pytest
from renode_models import MODELS, STUBS, compiler, drive, driver, members_of_renode


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver(tmp_path_factory.mktemp("renode"))


def test_used_renode_members_exist(tmp_path: Path) -> None:
    listed = [
        line
        for line in (STUBS / "members.txt").read_text(encoding="utf-8").splitlines()
        if line and line[0] not in "#["
    ]
    assert members_of_renode(tmp_path, sorted(MODELS.glob("*.cs"))) == sorted(listed)


def test_stubs_refuse_a_bus_correctly(tmp_path: Path) -> None:
    """A chain is not an IBusPeripheral: Renode refuses it with CS1503, and so do the stubs."""
    chain = (MODELS / "Chain.cs").read_text(encoding="utf-8")
    wrong = tmp_path / "Chain.cs"
    wrong.write_text(chain.replace("machine.SystemBus.", "machine.GetSystemBus(this)."), encoding="utf-8")
    assert wrong.read_text(encoding="utf-8") != chain
    others = [path for path in sorted(MODELS.glob("*.cs")) if path.name != "Chain.cs"]
    compiler()
    with pytest.raises(AssertionError, match="CS1503"):
        members_of_renode(tmp_path, [*others, wrong])


def test_the_rate_is_exact_and_nothing_is_missed(program: Path, tmp_path: Path) -> None:
    (tmp_path / "world").write_text("mains_sine adc1 60000000 1500 2048 0\n")
    found = drive(program, "internal", str(tmp_path / "world"), "1")
    # an update each 7000 ticks of 84 MHz; a conversion of 28 + 12 cycles at 14 MHz ends 240 ticks after it
    assert found["conversions"] in (119_999, 120_000)
    assert found["first_half_ns"] == -(-(200 * 7000 + 240) * 250 // 21)
    assert found["second_half_ns"] == -(-(400 * 7000 + 240) * 250 // 21)
    assert found["last_half_ns"] == -(-(119_800 * 7000 + 240) * 250 // 21)
    for counter in ("missed", "preempted", "overruns", "unserviced"):
        assert found[counter] == 0
    assert found["injected"] == found["halves"]
    assert found["report"]["violations"] == [] and found["report"]["unmodelled"] == []


def test_oversampling_by_five_is_as_exact(program: Path, tmp_path: Path) -> None:
    (tmp_path / "world").write_text("mains_sine adc1 60000000 1500 2048 0\n")
    found = drive(program, "internal", str(tmp_path / "world"), "5")
    assert found["conversions"] in (599_999, 600_000) and found["missed"] == 0


def test_the_external_converter_is_bit_exact(program: Path, tmp_path: Path) -> None:
    counts = np.random.default_rng(1).integers(-32768, 32768, 2000).astype("<i2")
    counts.tofile(tmp_path / "mains.i16")
    (tmp_path / "world").write_text("mains spi2 mains.i16 12000000 0 1\n")
    found = drive(program, "external", str(tmp_path / "world"))
    sampled = [int(count) for count in found["counts"].split(",")]
    begins = {int(at) for at in np.flatnonzero(counts == sampled[0])}
    assert any(sampled == list(counts[at : at + 200]) for at in begins)
    assert found["frames"] in (found["conversions"], found["conversions"] - 1)
    assert (found["too_early"], found["unread"], found["report"]["violations"]) == (0, 0, [])


def test_pulses_survive_the_wrap(program: Path, tmp_path: Path) -> None:
    period = 1_000_000_100
    (tmp_path / "world").write_text(f"pps_train 1000000000 {period} 1 59\n")
    found = drive(program, "captures", str(tmp_path / "world"))
    ticks = [int(tick) for tick in found["ticks"].split(",")]
    assert ticks == [(10**9 + k * period) * 21 // 250 % 2**32 for k in range(59)]
    assert found["count"] == 60 * 84_000_000 % 2**32
    assert found["trigger"] == 60 * 84_000_000 // 7000 * 7000 % 2**32
    assert found["captures2"] == 60 * 12_000
    assert found["report"]["tim5"]["overcaptures1"] == 0


def test_bytes_take_their_time_on_the_line(program: Path, tmp_path: Path) -> None:
    (tmp_path / "world").write_text("bytes usart1 2000 a1a2a3\n")
    found = drive(program, "uart", str(tmp_path / "world"), str(tmp_path))
    byte_ns = 91 * 10 * 10**9 // 84_000_000
    times = [int(each.split(":")[0]) for each in found["received"].split(",")]
    assert [each.split(":")[1] for each in found["received"].split(",")] == ["a1", "a2", "a3"]
    assert times[1] - times[0] == times[2] - times[1] == byte_ns
    # four bytes, begun at 1000 ns
    assert (tmp_path / "uart1.log").read_text() == f"{1000 + 4 * byte_ns} 01020300\n"
    assert (tmp_path / "flash.bin").stat().st_size == 1 << 20


def test_a_late_cpu_loses_nothing(program: Path, tmp_path: Path) -> None:
    """Renode sleeps on to the next limit when a line rises in the instant in which WFI ends a block."""
    (tmp_path / "world").write_text(
        f"mains_sine adc1 60000000 1500 2048 0\nbytes usart1 2000 {'5a' * 3000}\n"
        "pps 300000123\npps 300400123\npvd 500020000 1\npvd 500120000 0\n"
    )
    found = drive(program, "asleep", str(tmp_path / "world"))
    assert (found["bytes"], found["overruns"]) == (3000, 0) and found["byte_late_ns"] <= 1000
    assert found["ticks"] == f"{300_000_123 * 21 // 250},{300_400_123 * 21 // 250}"
    assert found["overcaptures"] == 0
    assert found["dips"] == 1 and found["dip_late_ns"] <= 1000  # of 0.1 ms
    assert found["halves"] == 299 and found["half_late_ns"] <= 1_000_000  # the firmware's limit is 2,500,000
    assert (found["unserviced"], found["adc_rises"]) == (0, 0)


def test_the_watchdog_resets_with_its_cause(program: Path) -> None:
    found = drive(program, "watchdog")
    # (4095 + 1) * 64 / 32 kHz = 8.192 s, to the nanosecond in Drive.cs
    assert (found["before"], found["after"], found["requested"], found["stays"]) == (0, 1, 1, 1)
    assert found["csr_power"] == 1 << 25 | 1 << 26 | 1 << 27
    assert found["csr_cleared"] == 0
    assert found["csr_watchdog"] == 1 << 29 | 1 << 26
    assert found["csr_software"] == 1 << 28 | 1 << 26


def test_the_world_moves_pins_and_supply(program: Path, tmp_path: Path) -> None:
    (tmp_path / "world").write_text(
        "# a comment\npin C8 2000000 0\npvd 2500000 1\nadc 11 2600000 1234\ncut 4000000\nend 9000000\n"
    )
    found = drive(program, "world", str(tmp_path / "world"))
    assert (found["open"], found["jumper"]) == (1 << 8, 0)
    assert (found["supplied"] & 4, found["low"] & 4) == (0, 4)
    assert (found["pending"], found["line"], found["cleared"]) == (1 << 16, 1, 0)
    assert (found["supply"], found["jeoc"]) == (1234, 4)
    assert (found["before"], found["after"], found["dead"]) == ("", "cut", 1)
    assert found["report"]["end"] == "cut"
    assert found["report"]["unmodelled"] == [{"address": "0x40020840", "block": "gpioc", "times": 1}]


@pytest.mark.parametrize(("line", "words"), [("wind 3", "is no word of a world file"), ("cut soon", ":2: ")])
def test_a_wrong_line_is_named_by_number(program: Path, tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "world").write_text(f"seed 1\n{line}\n")
    refused = drive(program, "world", str(tmp_path / "world"))["refused"]
    assert f"{tmp_path}/world:2: " in refused and words in refused


def test_a_missing_file_names_its_maker(program: Path, tmp_path: Path) -> None:
    (tmp_path / "world").write_text("")
    found = drive(program, "missing", str(tmp_path / "world"))
    assert found["firmware"].startswith(f"there is no firmware {tmp_path}/world.flash: `opq-tools")
    assert found["world"].startswith(f"there is no world file {tmp_path}/world.world: set it first")


def test_flash_needs_its_keys(program: Path, tmp_path: Path) -> None:
    """It only clears bits, needs its keys, and is torn by a power cut."""
    (tmp_path / "world").write_text("seed 3\ncut_after 8\n")  # the eighth: sixth word after two and an erase
    found = drive(program, "flash", str(tmp_path / "world"))
    erased = 0xFFFF_FFFF
    assert (found["locked_word"], found["pgs"]) == (erased, 1 << 7)
    assert (found["busy"], found["idle"]) == (1 << 16, 0)
    assert found["nor"] == 0x0FF0AA55 & 0xFFFF55AA
    assert (found["erasing"], found["erased_sr"], found["erased"]) == (1 << 16, 0, erased)
    words = [found[f"word{n}"] for n in range(8)]
    assert words[:4] == [0] * 4 and words[5:] == [erased] * 3 and found["cut"] == 1
    assert (found["programs"], found["erases"]) == (7, 1)


def test_option_bytes_load_at_reset(program: Path, tmp_path: Path) -> None:
    (tmp_path / "world").write_text("seed 3\n")
    found = drive(program, "options", str(tmp_path / "world"))
    assert (found["factory"], found["busy"], found["now"]) == (0x0FFFAAED, 1, 0x0FFBAAE0)
    assert (found["refused"], found["refused_word"], found["word"]) == (1 << 4, 1 << 4, 0xFFFF_FFFF)
    assert found["after_reset"] == 0x0FFBAAE1
    assert found["report"]["flash"]["option_writes"] == 1
    assert [each["what"] for each in found["report"]["violations"]] == ["FLASH_OPTCR written while locked"]
