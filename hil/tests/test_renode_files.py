"""What can be held of the Renode files without Renode: syntax, names, references, numbers of the manuals."""

import importlib
import re
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from packaging.requirements import Requirement

from opq_hil.backends import registers, renode_robot
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.renode_archive import read_lock
from opq_proto.link import frames as link
from opq_proto.link.messages import Command, Health, Operation, Samples, Settings
from opq_proto.messages import TimeSource
from opq_tools.hil.digests import command as hil_digests
from opq_tools.hil.scenarios import run as hil_run
from opq_tools.up.up_command import command as up

HIL = Path(__file__).resolve().parents[1]
FOLDER = HIL / "renode"
CHIP, BOARD = (FOLDER / "f405.repl").read_text(), (FOLDER / "box.repl").read_text()
RESC = (FOLDER / "box.resc").read_text()
MODELS = sorted((FOLDER / "models").glob("*.cs"))
CODE = {path.stem: path.read_text() for path in MODELS}
RESERVED = {"none", "empty", "new", "init", "reset", "local", "as", "using", "true", "false"}
STOCK = {
    "IRQControllers.NVIC",
    "CPU.CortexM",
    "Miscellaneous.DWT",
    "Memory.MappedMemory",
    "Miscellaneous.LED",
}
IRQS = {  # RM0090 12.2, table 61
    "tim2": 28,
    "tim3": 29,
    "tim4": 30,
    "tim5": 50,
    "adc1": 18,
    "spi2": 36,
    "usart1": 37,
    "usart2": 38,
    "exti": 1,
}
ENTRY = re.compile(r"^(\w+): ([\w.]+) @ (.*)$")


class Entry:
    """One entry of the .repl."""

    def __init__(self, name: str, kind: str, place: str) -> None:
        self.name, self.kind, self.place = name, kind, place
        self.attributes: dict[str, str] = {}
        self.lines: list[tuple[str, str]] = []

    @property
    def bases(self) -> list[int]:
        return [int(base, 16) for base in re.findall(r"sysbus (0x[0-9A-Fa-f]+)", self.place)]


def entries() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    current: Entry | None = None
    for line in (CHIP + BOARD).splitlines():
        line = line.split("//")[0].rstrip()
        head, more = ENTRY.match(line), re.fullmatch(r"(\w+):", line)
        if head:
            current = found.setdefault(head[1], Entry(head[1], head[2], head[3]))
        elif line.startswith("    ") and current is not None:
            if "->" in line:
                source, _, target = (part.strip() for part in line.partition("->"))
                current.lines.append((source, target))
            elif ": " in line:
                key, _, value = line.strip().partition(": ")
                current.attributes[key] = value
        elif more:
            current = found.get(more[1])  # `sysbus:`, or a board adds to what its chip has
    return found


ENTRIES = entries()


def constructor(kind: str) -> list[tuple[str, str, bool]]:
    """(type, name, whether it may be left out) of a model's constructor, the machine left out."""
    text = CODE[kind]
    found = re.search(rf"public {kind}\(IMachine machine(?:, (.*?))?\)\s*(?::|\{{)", text, re.DOTALL)
    assert found, kind
    parts = [part.strip() for part in re.sub(r"\s+", " ", found[1] or "").split(",") if part.strip()]
    return [(part.split(" ")[0], part.split(" ")[1], "=" in part) for part in parts]


def numbers(text: str) -> list[int]:
    """[11-17,47] or one number."""
    found: list[int] = []
    for part in text.strip("[]").split(","):
        low, _, high = part.strip().partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def test_every_script_line_is_indented() -> None:
    for path in (FOLDER / "f405.repl", FOLDER / "box.repl", FOLDER / "box.resc"):
        for line in path.read_text().splitlines():
            assert "\t" not in line and (len(line) - len(line.lstrip(" "))) % 4 == 0, f"{path.name}: {line}"
    everything = [path.read_text() for path in FOLDER.rglob("*") if path.suffix in (".repl", ".resc", ".cs")]
    assert not [text for text in everything if "http" in text]


def test_names_are_identifiers_and_types_are_known() -> None:
    for entry in ENTRIES.values():
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", entry.name) and entry.name not in RESERVED
        if entry.kind.startswith("Opq."):
            assert entry.kind[4:] in CODE, entry.kind
        else:
            assert entry.kind in STOCK, entry.kind
    assert len(ENTRIES) > 25


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.kind.startswith("Opq.")])
def test_attributes_are_constructor_parameters_letter_by_letter(name: str) -> None:
    entry = ENTRIES[name]
    parameters = constructor(entry.kind[4:])
    assert list(entry.attributes) == [
        parameter for _, parameter, optional in parameters if parameter in entry.attributes or not optional
    ]
    for kind, parameter, _ in parameters:
        value = entry.attributes.get(parameter)
        if value is None:
            continue
        if kind in ("int", "uint", "ulong", "long"):
            assert re.fullmatch(r"0x[0-9A-Fa-f]+|\d+", value), f"{name}.{parameter}"
        elif kind == "bool":
            assert value in ("true", "false")
        else:
            assert value in ENTRIES, f"{name}.{parameter}: no entry {value}"
            wanted = {"MappedMemory": "Memory.MappedMemory"}.get(kind, f"Opq.{kind}")
            assert ENTRIES[value].kind == wanted, f"{name}.{parameter}"


def test_the_chip_needs_nothing_of_boards() -> None:
    assert BOARD.count("using ") == 1 and 'using "./f405.repl"' in BOARD and "using " not in CHIP
    of_the_board = re.findall(r"^(\w+): [\w.]+ @", BOARD, re.MULTILINE)
    assert of_the_board == ["ledStatus", "ledTime", "ledFault", "world"]
    code = "\n".join(line.split("//")[0] for line in CHIP.splitlines())
    assert not [name for name in of_the_board if re.search(rf"\b{name}\b", code)]


def test_references_make_no_circle() -> None:
    done: set[str] = set()
    waiting = dict(ENTRIES)
    while waiting:
        ready = [
            name
            for name, entry in waiting.items()
            if not {value for value in entry.attributes.values() if value in ENTRIES} - done
        ]
        assert ready, f"circle among {sorted(waiting)}"
        done |= set(ready)
        for name in ready:
            del waiting[name]


def test_bases_equal_the_headers() -> None:
    names = {
        "ADC_COMMON": None,
        "NVIC": "nvic",
        "SCB": None,
        "SysTick": None,
        "CoreDebug": None,
        "FLASH": "flashInterface",
    }
    for block in registers.blocks().values():
        name = names.get(block.name, block.name.lower().replace("gpio", "gpioPort"))
        if name is None or name == "nvic":
            continue
        name = next((each for each in ENTRIES if each.lower() == name.lower()), name)
        assert ENTRIES[name].bases == [block.base], block.name
    spans = []
    for entry in ENTRIES.values():
        size = entry.attributes.get("size")
        if entry.kind.startswith("Opq.") and entry.bases:
            size = re.search(r"base\(machine, chain, (0x[0-9A-Fa-f]+)\)", CODE[entry.kind[4:]])[1]  # type: ignore[index]
        for base in entry.bases:
            spans.append((base, base + int(size or "0x1000", 16), entry.name))
    for (_, end, before), (begin, _, after) in pairwise(sorted(spans)):
        assert end <= begin, f"{before} and {after} overlap"


def test_interrupts_are_those_of_the_vector_table() -> None:
    for name, number in IRQS.items():
        assert [target for _, target in ENTRIES[name].lines] == [f"nvic@{number}"], name
    assert ENTRIES["nvic"].lines == [("IRQ", "cpu@0")]
    streams = {"dma1": [11, 12, 13, 14, 15, 16, 17, 47], "dma2": [56, 57, 58, 59, 60, 68, 69, 70]}
    for name, wanted in streams.items():
        [(source, target)] = ENTRIES[name].lines
        assert numbers(source) == list(range(8)) and numbers(target.removeprefix("nvic@")) == wanted
    for entry in ENTRIES.values():
        for source, _ in entry.lines:
            if entry.kind.startswith("Opq.") and not source.startswith("[") and not source.isdecimal():
                assert f"public GPIO {source} {{ get; private set; }}" in CODE[entry.kind[4:]], entry.name


def test_clocks_and_memory_are_those_of_the_box() -> None:
    assert ENTRIES["nvic"].attributes == {"priorityMask": "0xF0", "systickFrequency": "168000000"}
    assert ENTRIES["cpu"].attributes == {"cpuType": '"cortex-m4f"', "nvic": "nvic"}
    assert ENTRIES["dwt"].attributes["frequency"] == "168000000"
    assert ENTRIES["usart1"].attributes["frequency"] == "84000000"
    assert ENTRIES["usart2"].attributes["frequency"] == "42000000"
    sizes = {"flash": 1024, "sram": 128, "ccm": 64, "systemMemory": 32}
    for name, kib in sizes.items():
        assert int(ENTRIES[name].attributes["size"], 16) == kib * 1024, name
    assert ENTRIES["flash"].bases == [0x0800_0000, 0]
    assert (ENTRIES["sram"].bases, ENTRIES["ccm"].bases) == ([0x2000_0000], [0x1000_0000])


def test_the_script_includes_every_model() -> None:
    [include] = re.findall(r"^include (.*)$", RESC, re.MULTILINE)
    assert sorted(include.split()) == [f"$ORIGIN/models/{path.name}" for path in MODELS]
    order = [
        "include ",
        "mach create",
        "LoadPlatformDescription",
        "world Load",
        "macro reset",
        "runMacro $reset",
    ]
    places = [RESC.index(word) for word in order]
    assert places == sorted(places)
    assert "sysbus.cpu VectorTableOffset 0x08000000" in RESC and "PerformanceInMips 125" in RESC
    assert "LoadELF" not in RESC, "it would undo an update at each reset"
    for variable in ("name", "world", "firmware"):
        assert re.search(rf"^\${variable}\?=", RESC, re.MULTILINE), f"${variable} must be overridable"


@pytest.mark.parametrize("name", list(CODE))
def test_a_models_class_is_its_files(name: str) -> None:
    text = CODE[name]
    assert "namespace Antmicro.Renode.Peripherals.Opq\n" in text
    if name != "OpqCommon":
        assert re.search(rf"public class {name} : ", text)
    for word in ("DateTime", "Stopwatch", "Thread", "new Random", "Task."):
        assert word not in text
    assert all(line == line.rstrip() and "\t" not in line for line in text.splitlines())


@pytest.mark.parametrize("name", [name for name, text in CODE.items() if "enum Registers" in text])
def test_every_register_is_defined_once_with_32_bits(name: str) -> None:
    text = CODE[name]
    enum = re.search(r"enum Registers : long\s*\{(.*?)\}", text, re.DOTALL)
    assert enum
    members = {found[0]: int(found[1], 16) for found in re.findall(r"(\w+) = (0x[0-9A-Fa-f]+)", enum[1])}
    assert len(set(members.values())) == len(members) and all(at % 4 == 0 for at in members.values())
    defined = re.findall(r"Define\(\(long\)Registers\.(\w+)(?: \+ n \* StreamBytes)?, (\w+), (\w+)\);", text)
    assert [found[0] for found in defined] == list(members)
    for _, reset, mask in defined:
        for value in (reset, mask):
            assert not value.startswith("0x") or int(value, 16) < 1 << 32
    size = int(re.search(r"base\(machine, chain, (0x[0-9A-Fa-f]+)\)", text)[1], 16)  # type: ignore[index]
    assert max(members.values()) < size


def header_bits() -> list[tuple[str, str, int, str]]:
    """(block, register, bits, macro) of every named bit in the header."""
    found = []
    for macro, text in re.findall(
        r"^#define ([A-Z]\w+) (.*?)(?: //.*)?$", registers.HEADERS[0].read_text(), re.MULTILINE
    ):
        parts = macro.split("_")
        if bit := re.fullmatch(r"OPQ_BIT\((\d+)\)", text):
            found.append((parts[0], parts[1], 1 << int(bit[1]), macro))
        elif bits := re.fullmatch(r"\(UINT32_C\((\w+)\) << (\d+)\)", text):
            found.append((parts[0], parts[1], int(bits[1], 0) << int(bits[2]), macro))
    return found


def test_named_bits_are_writable() -> None:
    """Flags that hardware sets are read-only or come from a callback; the others must not be lost."""
    models = {"RCC": "Rcc", "TIM": "Tim", "ADC": "Adc1", "SPI": "Spi2", "USART": "Usart", "PWR": "Pwr"}
    by_hardware = ("RDY", "SWS", "CSSF", "CSSC", "RSTF", "RMVF", "_SR_", "_EGR_", "PVDO", "SWSTART", "PLLRDY")
    checked = 0
    for block, register, bits, macro in header_bits():
        if block not in models or any(word in macro for word in by_hardware):
            continue
        name = {"CCR": "CommonCCR"}.get(register, register) if block == "ADC" else register
        mask = re.search(rf"Define\(\(long\)Registers\.{name}, \w+, (0x[0-9A-F]+)\)", CODE[models[block]])
        assert mask, f"{macro}: no register {name} in {models[block]}.cs"
        assert bits & ~int(mask[1], 16) == 0, f"{macro} is outside the mask of {models[block]}.cs"
        checked += 1
    assert checked > 60


def test_the_lock_names_a_renode(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, name in (("x86_64", "linux"), ("aarch64", "linux-arm64")):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        lock = read_lock()
        assert lock.url.endswith(f"v{lock.version}/renode-{lock.version}.{name}-portable-dotnet.tar.gz")


def test_robot_keywords_exist(tmp_path: Path) -> None:
    pytest.importorskip("robot", reason="no robotframework here: pip install 'opq-toolkit[dev]'")
    library = f"Library          {FOLDER / 'robot' / 'opqframes.py'}"
    stub = f"Resource         {HIL / 'tests' / 'renode_keywords.resource'}"
    box = (FOLDER / "robot" / "box.resource").read_text()
    (tmp_path / "box.resource").write_text(
        re.sub(r"^Library .*$", f"{library}\n{stub}", box, flags=re.MULTILINE)
    )
    suites = sorted((FOLDER / "robot").glob("*.robot"))
    for suite in suites:
        text = suite.read_text()
        alone = "box.resource" not in text  # Renode adds its own keywords to a suite by itself
        head = f"*** Settings ***\n{stub}\n" if alone else "*** Settings ***\n"
        (tmp_path / suite.name).write_text(text.replace("*** Settings ***\n", head, 1))
    line = [
        sys.executable,
        "-m",
        "robot",
        "--dryrun",
        "--output",
        "NONE",
        "--report",
        "NONE",
        "--log",
        "NONE",
        str(tmp_path),
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout
    assert sorted(suite.stem for suite in suites) == sorted(renode_robot.SUITES)
    for suite in suites:
        text = suite.read_text()
        tests = re.findall(r"^Should .*$", text, re.MULTILINE)
        assert tests and len(re.findall(r"^    \[Tags\]", text, re.MULTILINE)) == len(tests), suite.name
        assert "Test Timeout" in text and "1e-" not in text
        for run in re.findall(r"(?:Run Box|Play Box|Boot Box) +(\S+)", text):
            assert re.fullmatch(r"\d+\.\d+|\$\{seconds\}", run), f"{suite.name}: {run}"


def robot_library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER / "robot")
    return importlib.import_module("opqframes")


def test_the_robot_library_writes_worlds_and_reads_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opqframes = robot_library(monkeypatch)
    world = Path(
        opqframes.write_world(str(tmp_path), 3.0, outage="1-2", ppb=20, put="gain=1.5", cut_after=3)
    ).read_text()
    assert "cut_after 3" in world and "end 3000000000" in world and "bytes usart1 3000000000" in world
    quiet = Path(opqframes.write_world(str(tmp_path / "quiet"), 2.0, gps="none")).read_text()
    assert "pps" not in quiet
    (tmp_path / "uart1.log").write_text("44332 01020300\n")
    assert opqframes.bad_frames_of(str(tmp_path)) == 1 and opqframes.blocks_of(str(tmp_path)) == 0
    written = opqframes.write_world(str(tmp_path / "ask"), 5.0, gps="none", get_settings=True)
    assert link.encode(Command(99, Operation.GET_SETTINGS), 0).hex() in Path(written).read_text()
    with pytest.raises(AssertionError, match="no settings"):
        opqframes.settings_of(str(tmp_path))
    old = {"nominal_hz": "60", "gain": "1"}
    (tmp_path / "uart1.log").write_text(f"5 {link.encode(Settings(99, tuple(old.items())), 0).hex()}\n")
    assert opqframes.settings_of(str(tmp_path)) == old
    opqframes.one_setting_changed(old, {**old, "nominal_hz": "50"}, "nominal_hz", "50")
    for torn in (old, {**old, "nominal_hz": "50", "gain": "2"}, {"nominal_hz": "50"}):
        with pytest.raises(AssertionError):
            opqframes.one_setting_changed(old, torn, "nominal_hz", "50")
    (tmp_path / "report.json").write_text('{"flash": {"operations": 11}}')
    assert opqframes.flash_operations_of(str(tmp_path)) == 11


@pytest.mark.parametrize(
    ("missing", "off_ns", "counted", "refused"),
    [
        (569, 0, 569, ""),  # as Renode played it: 640 samples after 5.850625009 s it is 5.903958343 s
        (609, 12, 609, ""),
        (569, 13, 569, "off across the hole"),
        (569, -83_333, 569, "off across the hole"),
        (569, 0, 568, "Health"),
        (489, 0, 489, "489"),
        (680, 0, 680, "680"),
    ],
)
def test_a_hole_needs_the_boxs_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int, off_ns: int, counted: int, refused: str
) -> None:
    """Calls the keyword with the limits that faults.robot gives it."""
    [(least, most)] = re.findall(
        r"One Hole Is Reported +\S+ +(\d+) +(\d+)", (FOLDER / "robot" / "faults.robot").read_text()
    )
    after = 71 + missing
    times_ns = (5_850_625_009, 5_850_625_009 + after * 10**12 // 12_000_000 + off_ns)
    messages = [
        Samples(first, t_ns, 0xFFFF_FFFF, TimeSource.FREE, 12_000_000, 0, np.zeros(71, np.int16))
        for first, t_ns in zip((60_000, 60_000 + after), times_ns, strict=True)
    ]
    health = Health(6000, None, None, None, 10, 1, 0, counted, 0, 0, 9000, 1)
    frames = b"".join(link.encode(message, number) for number, message in enumerate([*messages, health]))
    (tmp_path / "uart1.log").write_text(f"5 {frames.hex()}\n")
    wrong = pytest.raises(AssertionError, match=refused) if refused else nullcontext()
    with wrong:
        robot_library(monkeypatch).one_hole_is_reported(str(tmp_path), least, most)


def test_our_versions_admit_those_that_renodes_runner_pins() -> None:
    page = (FOLDER / "README.md").read_text()
    [line] = re.findall(r"^    pip install (robotframework==.*)$", page, re.MULTILINE)
    pins = dict(word.strip("'").split("==") for word in line.split())
    ours = tomllib.loads((HIL.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    ranges = {found.name: found.specifier for room in ours.values() for found in map(Requirement, room)}
    assert {"robotframework", "psutil", "pyyaml"} <= ranges.keys() & pins.keys()
    for name in ranges.keys() & pins.keys():
        assert pins[name].replace("*", "1") in ranges[name], name
    assert "5.9.3" in ranges["psutil"]  # of 1.16.1


def test_every_model_has_a_row() -> None:
    page = (FOLDER / "README.md").read_text().split("## Our models", 1)[1].split("\n## ", 1)[0]
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(CODE)


def test_the_pages_commands_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (FOLDER / "README.md").read_text()
    with pytest.raises(SystemExit):
        renode_robot.main(["--help"])
    options = {"opq_hil.backends.renode_robot": set(re.findall(r"--[a-z-]+", capsys.readouterr().out))}
    for name, found in (("hil run", hil_run), ("hil digests", hil_digests), ("up", up)):
        options[f"opq-tools {name}"] = {option for each in found.params for option in each.opts}
    checked = 0
    for line in re.findall(r"^    (.*)$", page, re.MULTILINE):
        words = line.split("#")[0].split()
        for program, known in options.items():
            if program in " ".join(words):
                used = {word for word in words if word.startswith("--")}
                assert used <= known, f"{line}: {used - known}"
                checked += 1
        for word in words:
            if re.match(r"hil/.*\.\w+$", word):
                assert (HIL.parent / word).exists(), f"{line}: {word}"
    assert checked >= 9


def test_a_halted_processor_is_started_again() -> None:
    """A machine's reset ends `IsHalted true` in the newest Renode and not in 1.16.1."""
    text = (FOLDER / "robot" / "faults.robot").read_text()
    tests = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    halts = [test for test in tests if "IsHalted" in test]
    assert len(halts) == 2
    for test in halts:
        assert re.findall(r"sysbus\.cpu IsHalted ?(\w*)", test) == ["true", "false"], test


def test_the_suite_names_pins_and_pace() -> None:
    text = (FOLDER / "robot" / "prompt.robot").read_text()
    device = HIL.parent / "device"
    pins = {name.upper(): (pin[1], pin[2:]) for name, pin in asdict(BOARDS["opqbox"].pins).items()}
    port, number = pins["REPL"]
    assert f"sysbus.gpioPort{port} Drive {number} false" in text
    lamps = {"LED_STATUS": "ledStatus", "LED_TIME": "ledTime", "LED_FAULT": "ledFault"}
    for name, lamp in lamps.items():
        port, number = pins[name]
        assert (number, f"{lamp}@0") in ENTRIES[f"gpioPort{port}"].lines, name
    assert "sysbus.ledStatus " in text
    assert "SLOW_MS = 1000\n" in (device / "app" / "leds.py").read_text()
    assert "onDuration=1    offDuration=1 " in text
