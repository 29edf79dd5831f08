"""Settings in flash: C of the firmware on the PC, over a flash that loses its power in mid-word."""

import ctypes
import subprocess
from pathlib import Path

import pytest
from host_library import CMODULES, library, program

HERE = Path(__file__).resolve().parent
SETTINGS = CMODULES / "settings"
SOURCES = (
    *(
        SETTINGS / name
        for name in ("nor.c", "settings.c", "settings_record.c", "settings_table.c", "settings_value.c")
    ),
    CMODULES / "link" / "crc32.c",
    HERE / "nor_flash.c",
)
LOADED, BLANK, REPAIRED, SECOND_COPY, LOST = range(5)
OK, UNKNOWN_KEY, BAD_VALUE, FLASH = range(4)
SECTOR_A, SECTOR_B, SECTOR_BYTES = 0x8000, 0xC000, 0x4000


class Box:
    """Settings over a flash; `restart` loads them again."""

    def __init__(self) -> None:
        self.c = library("settings_probe", (*SOURCES, HERE / "settings_probe.c"))
        self.c.probe_get.restype = ctypes.c_char_p
        self.c.probe_bytes.restype = ctypes.POINTER(ctypes.c_uint8)
        self.c.probe_number.restype = ctypes.c_float
        self.c.probe_new(1)
        self.source = self.restart()

    def restart(self) -> int:
        self.source = self.c.probe_load()
        return self.source

    def put(self, key: str, value: str) -> int:
        return int(self.c.probe_put(key.encode(), value.encode()))

    def save(self) -> int:
        return int(self.c.probe_save())

    def get(self, key: str) -> str:
        return self.c.probe_get(key.encode()).decode()

    def flip(self, offset: int) -> None:
        self.c.probe_bytes()[offset] ^= 0x10

    def erases(self) -> int:
        return int(self.c.probe_erases(2) + self.c.probe_erases(3))


@pytest.fixture
def box() -> Box:
    return Box()


def test_a_new_box_has_standard_values(box: Box) -> None:
    assert box.source == BLANK
    assert (box.get("box_id"), box.get("nominal_v"), box.get("converter")) == ("0", "120", "board")


def test_only_saved_values_survive(box: Box) -> None:
    assert box.put("box_id", "1003") == OK
    assert box.save() == OK
    assert box.put("nominal_v", "230") == OK
    assert box.restart() == LOADED
    assert (box.get("box_id"), box.get("nominal_v")) == ("1003", "120")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("box_id", "-1"),
        ("box_id", "2147483648"),
        ("box_id", "1.0"),
        ("box_id", "1e3"),
        ("box_id", ""),
        ("box_id", "0x10"),
        ("nominal_hz", "44.9"),
        ("nominal_hz", "400"),
        ("gain", "0.49"),
        ("gain", "2.0001"),
        ("gain", "nan"),
        ("gain", "inf"),
        ("gain", "1 "),
        ("gain", "1e"),
        ("gain", "."),
        ("gain", "1.00000000000000000000000"),
        ("converter", "extern"),
        ("converter", "internal|external"),
        ("converter", ""),
        ("tcxo_ppb_per_k", "2000.5"),
        ("label_offset_s", "2"),
    ],
)
def test_a_wrong_value_changes_nothing(box: Box, key: str, value: str) -> None:
    before = box.get(key)
    assert box.put(key, value) == BAD_VALUE
    assert box.get(key) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("box_id", "2147483647"),
        ("gain", "0.5"),
        ("gain", "2"),
        ("gain", "9.98e-1"),
        ("gain", "1.00234567"),
        ("offset_lsb", "-32768"),
        ("converter", "external"),
        ("nominal_hz", "50."),
        ("nominal_hz", "45"),
        ("dip_pu", ".9"),
        ("label_offset_s", "-1"),
    ],
)
def test_a_value_at_its_limits_is_taken(box: Box, key: str, value: str) -> None:
    assert box.put(key, value) == OK
    assert box.save() == OK
    assert box.restart() == LOADED
    assert box.get(key) == value


def test_a_key_that_nobody_knows_is_refused(box: Box) -> None:
    assert box.put("colour", "red") == UNKNOWN_KEY
    assert box.put("box_i", "1") == UNKNOWN_KEY
    assert box.put("", "1") == UNKNOWN_KEY


def test_numbers_come_back_within_a_float(box: Box) -> None:
    for text in ("1.00234567", "9.98e-1", "0.5", "1.9999999"):
        box.put("gain", text)
        assert box.c.probe_number(b"gain") == pytest.approx(float(text), rel=2**-23)
    box.put("box_id", "2147483647")
    assert box.c.probe_integer(b"box_id") == 2147483647


def test_saving_without_a_change_writes_nothing(box: Box) -> None:
    box.put("box_id", "7")
    box.save()
    writes = box.c.probe_operations()
    assert box.put("box_id", "7") == OK
    assert box.save() == OK
    assert box.c.probe_operations() == writes


def test_four_hundred_saves_cost_one_erase(box: Box) -> None:
    """The figure of settings.h: 16 KB hold a snapshot and about 400 saves of one value."""
    box.put("gain", "1.5")
    box.save()
    first = box.erases()
    saves = 0
    while box.erases() == first:
        box.put("gain", f"1.{1000 + saves % 1000}")
        assert box.save() == OK
        saves += 1
    assert 400 <= saves <= 500
    assert box.erases() == first + 1
    assert box.restart() == LOADED
    assert box.get("gain") == f"1.{1000 + (saves - 1) % 1000}"


def test_a_damaged_newer_copy_yields(box: Box) -> None:
    box.put("gain", "1.5")
    box.save()
    saves = 0
    while box.c.probe_bytes()[SECTOR_B] != ord("O"):  # until the snapshot in the other sector
        box.put("gain", f"1.{1000 + saves}")
        box.save()
        saves += 1
    newest, before = box.get("gain"), f"1.{1000 + saves - 2}"
    assert box.restart() == LOADED
    assert box.get("gain") == newest
    box.flip(SECTOR_B + 14)
    assert box.restart() == SECOND_COPY
    assert box.get("gain") == before
    box.put("gain", "1.25")
    assert box.save() == OK
    assert box.restart() == LOADED
    assert box.get("gain") == "1.25"


def test_a_damaged_only_copy_gives_standards(box: Box) -> None:
    box.put("gain", "1.5")
    box.save()
    box.flip(SECTOR_A + 5)
    assert box.restart() == LOST
    assert box.get("gain") == "1"
    box.put("gain", "1.75")
    assert box.save() == OK
    assert box.restart() in (LOADED, SECOND_COPY)
    assert box.get("gain") == "1.75"


def test_damage_in_the_middle_keeps_earlier_values(box: Box) -> None:
    for value in ("1.5", "1.6", "1.7"):
        box.put("gain", value)
        box.save()
    record = 24 + 12  # begin .. sequence, "gain=1.5\n" and three ones, sum, done, settled
    box.flip(SECTOR_A + 2 * record + 13)
    assert box.restart() == REPAIRED
    assert box.get("gain") == "1.6"
    assert box.restart() == LOADED


def test_low_power_saves_nothing(box: Box) -> None:
    box.put("gain", "1.5")
    box.c.probe_low_power(1)
    assert box.save() == FLASH
    assert box.get("gain") == "1.5"
    box.c.probe_low_power(0)
    assert box.save() == OK
    assert box.restart() == LOADED
    assert box.get("gain") == "1.5"


def test_other_firmwares_settings_are_counted(box: Box) -> None:
    box.put("gain", "1.5")
    box.save()
    assert box.c.probe_store_foreign(b"gain=17\ncolour=red\nbox_id=5\n") == OK
    assert box.restart() == LOADED
    assert (box.get("gain"), box.get("box_id")) == ("1.5", "5")
    assert box.c.probe_rejected() == 2


def run_cuts(seeds: int, timeout_s: int) -> dict[str, int]:
    cutter = program("power_cuts_settings", (*SOURCES, HERE / "power_cuts_settings.c"), optimise="-O2")
    done = subprocess.run(
        [cutter, str(seeds)], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    words = done.stdout.split()
    figures = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    print(done.stdout.strip(), done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return figures


def test_a_save_survives_any_power_cut() -> None:
    """The power goes at every write of a save and old or new values hold."""
    figures = run_cuts(seeds=60, timeout_s=600)
    assert figures["cuts"] >= 6_000
    assert figures["corrupt"] == figures["bricked"] == 0
    assert figures["old"] > 0
    assert figures["new"] > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_sixty_thousand_cuts_of_saves_corrupt_nothing() -> None:
    figures = run_cuts(seeds=600, timeout_s=800)
    assert figures["cuts"] >= 60_000
    assert figures["corrupt"] == figures["bricked"] == 0
