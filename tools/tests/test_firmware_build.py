"""`opq-tools firmware build`: the same bytes anywhere, budgets that bind, sealed RAM code, clear errors."""

import dataclasses
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from host_library import header_folder

from opq_hil.backends.boards import BOARDS, EMULATED, board_folders
from opq_hil.backends.build_step import BuildError
from opq_hil.backends.debian_source import SourceError, SourceTree, cache_folder
from opq_hil.backends.firmware import NO_FIRMWARE
from opq_proto.errors import OpqError
from opq_proto.firmware.image import Slot, Verdict, judge, read_bundle
from opq_proto.keys.signing import SigningError, firmware_public_key, new_key
from opq_tools.firmware import build as firmware_build
from opq_tools.firmware import checks, toolchain
from opq_tools.firmware.build import Built, build, lay_out
from opq_tools.firmware.checks import check_build
from opq_tools.firmware.elf import ElfBinary, ElfFunction
from opq_tools.firmware.firmware_command import command
from opq_tools.firmware.sources import DEVICE, ROOMS, copy_sources
from opq_tools.firmware.toolchain import BudgetError, FirmwareBuildError, source_version

BOARD = "opqbox"
FOLDERS = board_folders(DEVICE)


@pytest.fixture(scope="module")
def tools() -> toolchain.Toolchain:
    try:
        return toolchain.find_toolchain()
    except OpqError as problem:
        pytest.skip(f"{NO_FIRMWARE}: {problem}")


@pytest.fixture(scope="module")
def built(tools: toolchain.Toolchain) -> dict[str, Built]:
    """Where the HIL tests have it from too, so that it is compiled once."""
    out = cache_folder() / "firmware"
    return {board: build(FOLDERS[board], tools, out=out, version=source_version()) for board in EMULATED}


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """The same sources by other paths: a copy of device/, MicroPython and Monocypher behind links.

    A second whole build, of a minute of CPU: what needs it is slow.
    """

    tools: toolchain.Toolchain
    device: Path
    out: Path
    built: Built

    def build(self) -> Built:
        """Builds it again."""
        board, out = board_folders(self.device)[BOARD], self.out
        return build(board, self.tools, out=out, version=source_version(), device=self.device)


@pytest.fixture(scope="module")
def elsewhere(tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    folder = tmp_path_factory.mktemp("elsewhere")
    device = folder / "box"
    shutil.copytree(DEVICE, device, ignore=shutil.ignore_patterns("tests", "__pycache__"))

    def moved(tree: SourceTree, name: str) -> SourceTree:
        (folder / name).symlink_to(tree.path)
        return dataclasses.replace(tree, path=folder / name)

    micropython, monocypher = moved(tools.micropython, "upy"), moved(tools.monocypher, "mono")
    other = dataclasses.replace(tools, micropython=micropython, monocypher=monocypher)
    built = build(
        board_folders(device)[BOARD], other, out=folder / "out", version=source_version(), device=device
    )
    return Elsewhere(other, device, folder / "out", built)


@pytest.mark.timeout(600)
def test_every_board_builds_within_its_budgets(built: dict[str, Built]) -> None:
    assert set(built) <= set(FOLDERS) == set(BOARDS)
    for each in built.values():
        assert not each.figures.excesses
        assert each.figures.heap_bytes >= 40 * 1024
        assert each.sources["micropython"].startswith("1.25")
        told = {"boot.bin", "firmware_a.bin", "firmware_b.bin", "flash.bin", "firmware.opqfw"}
        assert set(each.sha256) == told
        report = json.loads((each.folder / "report.json").read_text())
        assert report["figures"]["flash_bytes"] == each.figures.flash_bytes


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_build_is_reproducible_across_folders(built: dict[str, Built], elsewhere: Elsewhere) -> None:
    # flash.bin holds the signature too: Ed25519 has no randomness
    assert elsewhere.built.sha256 == built[BOARD].sha256


def test_both_update_images_verify_for_their_slot_only(built: dict[str, Built], tmp_path: Path) -> None:
    """An image is refused in the other slot, and under another key."""
    key, other = tmp_path / "key.pem", tmp_path / "other.pem"
    for path in (key, other):
        new_key(path)
    for name in ("firmware_a.bin", "firmware_b.bin", "boot.bin"):
        shutil.copy(built[BOARD].folder / name, tmp_path)
    lay_out(tmp_path, BOARD, "9.8.7-rc1", key, development=False)
    images = read_bundle((tmp_path / "firmware.opqfw").read_bytes())
    assert set(images) == set(Slot)
    for slot, image in images.items():
        for path, verdict in ((key, Verdict.GOOD), (other, Verdict.BAD_SIGNATURE)):
            check = firmware_public_key(path).is_signed
            assert judge(image, slot=slot, hardware=BOARD, floor_version=0x09080007, check=check) is verdict
    flash = (tmp_path / "flash.bin").read_bytes()
    assert len(flash) == 1 << 20 and flash[0x20000 : 0x20000 + len(images[Slot.A])] == images[Slot.A]


def test_the_programmers_flash_is_the_same(
    built: dict[str, Built], tools: toolchain.Toolchain, tmp_path: Path
) -> None:
    folder = built[BOARD].folder
    flash = (folder / "flash.bin").read_bytes()
    objcopy = shutil.which("arm-none-eabi-objcopy") or "arm-none-eabi-objcopy"
    command = (
        objcopy,
        "-I",
        "ihex",
        "-O",
        "binary",
        "--gap-fill",
        "0xff",
        folder / "flash.hex",
        tmp_path / "hex",
    )
    subprocess.run(command, check=True, timeout=600)
    assert (tmp_path / "hex").read_bytes() == flash.rstrip(b"\xff").ljust(
        (tmp_path / "hex").stat().st_size, b"\xff"
    )

    dfu = (folder / "flash.dfu").read_bytes()
    assert dfu[:6] == b"DfuSe\x01" and dfu[11:17] == b"Target" and dfu[-8:-5] == b"UFD"
    assert int.from_bytes(dfu[6:10], "little") == len(dfu) - 16
    at = 11 + 274
    for _ in range(int.from_bytes(dfu[11 + 270 : 11 + 274], "little")):
        address, size = struct.unpack_from("<II", dfu, at)
        assert dfu[at + 8 : at + 8 + size] == flash[address - 0x0800_0000 :][:size]
        at += 8 + size
    assert at == len(dfu) - 16
    if suffix := shutil.which("dfu-suffix"):
        told = subprocess.run(
            (suffix, "-c", folder / "flash.dfu"), capture_output=True, text=True, check=True
        )
        assert "0x0483" in told.stdout and "0xdf11" in told.stdout.lower()


def test_an_excess_over_budget_is_named(built: dict[str, Built], tmp_path: Path) -> None:
    folder, port = tmp_path / "built", tmp_path / "port"
    folder.mkdir()
    for path in built[BOARD].folder.glob("*.[eb][li][fn]"):
        shutil.copy(path, folder)
    port.mkdir()
    shutil.copy(DEVICE / "port/stack.toml", port)
    budgets = {**dataclasses.asdict(BOARDS[BOARD].budget), "flash_bytes": 1000}
    (excess,) = check_build(folder, built[BOARD].folder / "obj", port, budgets).excesses
    assert re.fullmatch(r"flash_bytes: \d+ of 1000", excess)


@pytest.mark.slow
def test_an_excess_over_budget_is_refused(elsewhere: Elsewhere) -> None:
    budget = board_folders(elsewhere.device)[BOARD] / "board.toml"
    kept = budget.read_text()
    budget.write_text(re.sub(r"flash_bytes = \d+", "flash_bytes = 1000", kept))
    try:
        with pytest.raises(BudgetError, match=r"flash_bytes: \d+ of 1000"):
            elsewhere.build()
    finally:
        budget.write_text(kept)


def test_the_compiled_copy_follows_changed_sources_only(
    tmp_path: Path,
) -> None:
    checkout, other, copy = tmp_path / "checkout", tmp_path / "other", tmp_path / "copy"
    for folder in (checkout, other):
        for room in ROOMS:
            (folder / room / "boards").mkdir(parents=True)
            (folder / room / "same.c").write_text("int same;\n")
            (folder / room / "boards" / "changed.h").write_text("int first;\n")
    (checkout / "app" / "gone.py").write_text("")
    (checkout / "tests").mkdir()
    (checkout / "tests" / "test_it.py").write_text("")
    copy_sources(checkout, copy)
    (other / "port" / "boards" / "changed.h").write_text("int other;\n")
    for path in copy.rglob("*.[ch]"):
        os.utime(path, (1, 1))

    copy_sources(other, copy)

    def content(folder: Path) -> dict[Path, str]:
        return {path.relative_to(folder): path.read_text() for path in folder.rglob("*.*")}

    assert content(copy) == content(other)
    renewed = {path.relative_to(copy) for path in copy.rglob("*.*") if path.stat().st_mtime != 1}
    assert renewed == {Path("port/boards/changed.h")}


@pytest.mark.slow
def test_only_what_changed_is_compiled_again(elsewhere: Elsewhere) -> None:
    objects = elsewhere.out / BOARD / "obj"
    before = {path: path.stat().st_mtime_ns for path in objects.rglob("*.o")}
    with (elsewhere.device / "port/led.c").open("a") as source:
        source.write("// one line more\n")
    again = elsewhere.build()
    changed = {path.name for path, made in before.items() if path.stat().st_mtime_ns != made}
    assert changed == {"led.o"}
    assert again.sha256 == elsewhere.built.sha256


@pytest.mark.slow
def test_an_interrupt_in_flash_is_refused_by_name(elsewhere: Elsewhere) -> None:
    tick = elsewhere.device / "port/tick.c"
    kept = tick.read_text()
    assert "OPQ_RAMFUNC int64_t opq_tick_now" in kept
    tick.write_text(kept.replace("OPQ_RAMFUNC int64_t opq_tick_now", "int64_t opq_tick_now"))
    try:
        with pytest.raises(
            BudgetError, match=r"opq_tick_now lies in flash and is called by .*TIM5_IRQHandler"
        ):
            elsewhere.build()
    finally:
        tick.write_text(kept)


def test_mains_stack_holds_both_budgets(built: dict[str, Built]) -> None:
    reserve = re.search(r"STACK_RESERVE = (\d+)", (DEVICE / "port/main.c").read_text())
    assert reserve is not None
    for each in built.values():
        wanted = each.figures.budgets["interrupt_stack_bytes"] + each.figures.budgets["task_stack_bytes"]
        assert int(reserve[1]) >= wanted + 1024  # MicroPython's own between two of its checks


RAM, FLASH = 0x20000100, 0x08020400


def binary(*functions: ElfFunction) -> ElfBinary:
    return ElfBinary({}, {}, {function.name: function for function in functions})


def test_a_deep_call_into_flash_is_found() -> None:
    handler = ElfFunction("TIM5_IRQHandler", RAM, 8, calls={"helper"})
    helper = ElfFunction("helper", RAM + 8, 8, calls={"slow"})
    slow = ElfFunction("slow", FLASH, 8)
    assert checks.leaks(binary(handler, helper, slow), {}) == [
        "slow lies in flash and is called by helper (TIM5_IRQHandler)"
    ]
    assert checks.leaks(binary(handler, helper), {}) == []


def test_flash_constants_and_unnamed_pointers_are_leaks() -> None:
    handler = ElfFunction("TIM5_IRQHandler", RAM, 8, data={FLASH + 0x1000, 0x40000C10}, indirect=1)
    found = checks.leaks(binary(handler), {})
    assert len(found) == 2
    assert "reads a constant in flash at 0x08021400" in found[0]
    assert "through a pointer" in found[1]
    named = checks.leaks(binary(handler, ElfFunction("target", RAM + 8, 4)), {"TIM5_IRQHandler": ("target",)})
    assert len(named) == 1


def test_the_deepest_call_chain_is_summed() -> None:
    top = ElfFunction("top", FLASH, 8, calls={"left", "right"}, frame_bytes=8)
    left = ElfFunction("left", FLASH + 8, 8, frame_bytes=100)
    right = ElfFunction("right", FLASH + 16, 8, calls={"leaf"}, frame_bytes=16)
    leaf = ElfFunction("leaf", FLASH + 24, 8, frame_bytes=40)
    depths = checks.Depths(binary(top, left, right, leaf), {"leaf": 96}, {})
    assert depths.below("top") == checks.Depth(8 + 16 + 96, ("top", "right", "leaf"))


def test_recursion_has_no_bound_and_is_refused() -> None:
    ring = ElfFunction("a", FLASH, 8, calls={"b"}), ElfFunction("b", FLASH + 8, 8, calls={"a"})
    with pytest.raises(FirmwareBuildError, match="a > b > a is recursive"):
        checks.Depths(binary(*ring), {}, {}).below("a")


def test_dynamic_frames_exceed_any_budget() -> None:
    lines = ["device/a.c:3:5:one\t48\tstatic", "device/b.c:9:1:one\t24\tstatic", "x.c:1:1:two\t8\tdynamic"]
    assert checks.frames_of(lines) == {"one": 48, "two": checks.UNBOUNDED}


def test_without_a_compiler_its_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None if "gcc" in name else f"/bin/{name}")
    with pytest.raises(
        FirmwareBuildError, match="sudo apt install gcc-arm-none-eabi libnewlib-arm-none-eabi"
    ):
        toolchain.find_toolchain()


def test_objects_of_a_killed_make_are_rebuilt(
    tools: toolchain.Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A make that leaves an object and goes on for ever; then one that does nothing."""
    make = tmp_path / "make"
    make.write_text(
        '#!/bin/sh\nfor word; do case "$word" in BUILD=*) folder=${word#BUILD=};; esac; done\n'
        'mkdir -p "$folder" && echo half > "$folder/half.o" && echo "CC half.c" && sleep 600\n'
    )
    make.chmod(0o755)
    objects = tmp_path / "out" / BOARD / "obj"
    slow = dataclasses.replace(tools, make=str(make))
    with monkeypatch.context() as patched:
        patched.setattr(firmware_build, "MAKE_LIMIT_S", 0.3)
        with pytest.raises(BuildError, match=rf"make of port of {BOARD} took longer than .*CC half\.c"):
            build(FOLDERS[BOARD], slow, out=tmp_path / "out", version="1.0.0")
    assert (objects / "half.o").exists()
    make.write_text("#!/bin/sh\necho 'half.c:1: error: no' && exit 2\n")
    for _ in range(2):
        with pytest.raises(FirmwareBuildError, match=r"half\.c:1: error: no"):
            build(FOLDERS[BOARD], slow, out=tmp_path / "out", version="1.0.0")
        assert not (objects / "half.o").exists()
    (objects / "good.o").touch()
    with pytest.raises(FirmwareBuildError, match=r"half\.c:1: error: no"):
        build(FOLDERS[BOARD], slow, out=tmp_path / "out", version="1.0.0")
    assert (objects / "good.o").exists()  # after a make that ended by itself, objects are used again


def test_a_wrong_micropython_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICROPYTHON_DIR", str(tmp_path))
    with pytest.raises(SourceError, match="no source of micropython"):
        toolchain.micropython_tree()
    (tmp_path / "py").mkdir()
    header = "".join(
        f"#define MICROPY_VERSION_{part} {n}\n"
        for part, n in zip(("MAJOR", "MINOR", "MICRO"), (1, 19, 1), strict=True)
    )
    (tmp_path / "py/mpconfig.h").write_text(header)
    with pytest.raises(SourceError, match=r"micropython 1\.19\.1; want 1\.25\.x"):
        toolchain.micropython_tree()


def test_offline_without_a_kept_tree_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> SourceTree:
        raise SourceError("micropython: the list of trixie cannot be read: no network")

    monkeypatch.delenv("MICROPYTHON_DIR", raising=False)
    monkeypatch.setattr(toolchain, "fetch", offline)
    with pytest.raises(SourceError, match="no network"):
        toolchain.micropython_tree()


def test_an_unknown_board_lists_the_known_ones(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["build", "--board", "nucleo", "--out", str(tmp_path)])
    assert done.exit_code == 2 and all(board in done.output for board in BOARDS)


def test_a_wrong_key_is_reported_early(tools: toolchain.Toolchain, tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="no such key"):
        build(FOLDERS[BOARD], tools, out=tmp_path / "out", version="1.0.0", key=tmp_path / "no such key")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--board", "nucleo", "disco_f407 or nucleo_f429zi"),
        ("--version", "next", "three numbers"),
    ],
)
def test_a_wrong_build_option_ends_with_two(option: str, value: str, why: str) -> None:
    done = CliRunner().invoke(command, ["build", option, value])
    assert done.exit_code == 2
    assert option in done.stderr and why in done.stderr


def test_a_path_unfit_for_make_is_reported_early(tools: toolchain.Toolchain, tmp_path: Path) -> None:
    with pytest.raises(FirmwareBuildError, match="cannot contain a blank"):
        build(FOLDERS[BOARD], tools, out=tmp_path / "my firmware", version="1.0.0")


@pytest.mark.parametrize("board", EMULATED)
def test_a_plain_make_calls_the_build(board: str, tmp_path: Path) -> None:
    """As users of MicroPython's ports type it; ours needs files that only the build makes."""
    (tmp_path / "opq-tools").write_text('#!/bin/sh\necho "called: $@"\n')
    (tmp_path / "opq-tools").chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    chosen = [] if board == EMULATED[0] else [f"BOARD={board}"]
    line = ["make", "-C", str(DEVICE / "port"), *chosen]
    done = subprocess.run(line, env=path, capture_output=True, text=True, check=False)
    assert f"called: firmware build --board {board}\n" in done.stdout, done.stderr


def test_a_build_names_its_board_by_its_header(built: dict[str, Built]) -> None:
    """`sys.implementation._build`; its makefile is not told a second time."""
    for board, found in built.items():
        header = found.folder / "obj/genhdr/opq_version.h"
        assert f'MICROPY_HW_BOARD_NAME "{board}"' in header.read_text()


def test_cppcheck_has_nothing_to_say() -> None:
    if shutil.which("cppcheck") is None:
        pytest.skip("cppcheck is not here: apt install cppcheck")
    rooms = [*DEVICE.glob("cmodules/*/"), DEVICE / "port", header_folder(BOARDS[BOARD]), DEVICE / "boot"]
    command = [
        "cppcheck",
        "--quiet",
        "--std=c11",
        "--enable=warning,performance,portability",
        "--inline-suppr",
        "--error-exitcode=1",
        "--suppress=missingInclude",
        "-D__arm__",
        "--suppress=uninitvar:*/clock/seconds.c",  # an insertion sort: [k - 1] was written the round before
        "--suppress=comparePointers",  # of a linker's symbols, which are addresses and no objects
        *(f"-I{room}" for room in rooms),
        *(str(DEVICE / room) for room in ("cmodules", "port", "boot")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert not done.stderr and done.returncode == 0, done.stderr


FALSE_FINDINGS = (
    "clock/module.c:",  # no NMEA sentence gives OPQ_GPS_LEAP, with which alone `leap` is read
)
"""Files in which -fanalyzer takes a value for uninitialised, which no path of the program reads."""


def test_the_analyzer_of_gcc_has_nothing_to_say(tools: toolchain.Toolchain, built: dict[str, Built]) -> None:
    """Each C file of ours, by the compiler of the firmware, with the headers that its build made."""
    objects = built[BOARD].folder / "obj"
    rooms = [*DEVICE.glob("cmodules/*/"), DEVICE / "port", DEVICE / "boot", objects, objects / "genhdr"]
    command = [
        "arm-none-eabi-gcc",
        *("-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
        *("-std=gnu11", "-Os", "-DNDEBUG", "-fno-strict-aliasing", "-DOPQ_RING_SAMPLES=38400"),
        f"-DOPQ_PUBLIC_KEY={{{','.join('0' * 32)}}}",
        *("-fanalyzer", "-S", "-o", os.devnull),
        *(f"-I{room}" for room in rooms),
        *("-isystem", str(tools.micropython.path), "-isystem", str(tools.monocypher.path)),
    ]
    for source in [*DEVICE.glob("cmodules/*/*.c"), *DEVICE.glob("port/*.c"), *DEVICE.glob("boot/*.c")]:
        done = subprocess.run([*command, source], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        warnings = [line for line in done.stderr.splitlines() if "[-Wanalyzer" in line]
        assert all(any(each in line for each in FALSE_FINDINGS) for line in warnings), done.stderr
