"""`opq-tools firmware where`: addresses of a crash in a program that is linked as the firmware is."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from opq_tools.firmware.firmware_command import command
from opq_tools.firmware.toolchain import PREFIX

SOURCE = """
int depth;
void opq_start(void);
__attribute__((noinline)) static int inner(int n) {
    depth = n;
    return n + 1;
}
void opq_start(void) {
    inner(3);
    inner(4);
}
"""
SCRIPT = """
SECTIONS {
    .text %(text)s : { *(.text*) }
    opq_ram_code_start = 0x20000200;
    opq_ram_code_end = 0x20000200;
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `firmware build` leaves it: boot loader and both slots, each a few functions."""
    if shutil.which(f"{PREFIX}gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not here: apt install gcc-arm-none-eabi")
    folder = tmp_path_factory.mktemp("firmware") / "opqbox"
    folder.mkdir()
    (folder / "start.c").write_text(SOURCE)
    for name, text in (("boot", "0x08000400"), ("firmware_a", "0x08020200"), ("firmware_b", "0x08080200")):
        (folder / f"{name}.ld").write_text(SCRIPT % {"text": text})
        flags = ("-mthumb", "-mcpu=cortex-m4", "-O1", "-g", "-nostdlib", "-Wl,--entry=opq_start")
        line = [f"{PREFIX}gcc", *flags, "-T", f"{name}.ld", "start.c", "-o", f"{name}.elf"]
        subprocess.run(line, cwd=folder, check=True, capture_output=True)
    (folder / "firmware.opqfw").write_bytes(b"the update file")
    sums = {"firmware.opqfw": hashlib.sha256(b"the update file").hexdigest()}
    (folder / "report.json").write_text(json.dumps({"version": "1.2.3", "sha256": sums}))
    return folder


def where(built: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["where", "--firmware", str(built.parent), *arguments])


def calls(built: Path, program: str) -> list[int]:
    """Addresses of the instructions after each call of `inner`."""
    line = [f"{PREFIX}objdump", "-d", str(built / f"{program}.elf")]
    text = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    return [int(row.split(":")[0], 16) + 4 for row in text.splitlines() if "bl\t" in row]


@pytest.mark.parametrize("program", ["boot", "firmware_a", "firmware_b"])
def test_a_return_address_names_its_calls_line(built: Path, program: str) -> None:
    first, second = calls(built, program)
    result = where(built, f"0x{first | 1:08x} {second | 1:#x}", "--of", "1.2.3")
    assert result.exit_code == 0, result.output
    rows = [row.split() for row in result.stdout.splitlines() if row.startswith("0x")]
    assert [row[1] for row in rows] == ["opq_start", "opq_start"]
    assert [row[2].rsplit("/", 1)[-1] for row in rows] == ["start.c:9", "start.c:10"]
    assert {row[3] for row in rows} == {program}


def test_non_code_addresses_are_counted_and_left_out(built: Path) -> None:
    result = where(built, "0x20001000", "0", f"{calls(built, 'boot')[0]:#x}", "--json")
    found = json.loads(result.stdout)
    assert [place["program"] for place in found["places"]] == ["boot"] and found["sure"] is False
    assert "2 of 3 addresses are not code" in where(built, "0x20001000", "0", "0x08020200").output


def test_the_elf_matches_the_flashed_file(built: Path, tmp_path: Path) -> None:
    same = where(built, "0x08020200", "--of", str(built / "firmware.opqfw"))
    assert same.exit_code == 0 and f"{built}: version 1.2.3" in same.output
    (tmp_path / "other.opqfw").write_bytes(b"another one")
    for other in (str(tmp_path / "other.opqfw"), "1.2.4"):
        refused = where(built, "0x08020200", "--of", other)
        assert refused.exit_code != 0
        assert f"is kept. There are: {built}: version 1.2.3" in str(refused.exception)


def test_what_is_no_address_says_what_one_is(built: Path) -> None:
    assert "'pc' is not an address; want for example 0x08035f0c" in where(built, "pc").output
