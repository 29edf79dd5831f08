"""The boards: `board.toml` in a board's folder is where firmware, emulators and programmers read its facts.

Our boards are the folders of device/port/boards. A board of one's own is a folder anywhere (`--board-dir`);
its name is the board's. The build writes the C header `board.h` from it: each key is a macro,
`hse_hz` is OPQ_BOARD_HSE_HZ.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from opq_hil.backends.our_sources import our_source
from opq_proto.config.settings import checked_config, unknown_key
from opq_proto.errors import ConfigError

FILE = "board.toml"
NAME = re.compile(r"[a-z0-9_]{1,15}")
"""The image header's hardware; an image is accepted by no board of another name."""
_PIN = re.compile(r"P([A-D])(1[0-5]|[0-9])")
_CHIP = re.compile(r"STM32F4(05|07|15|17|27|29|37|39)[A-Z]{2}")
_LARGER = re.compile(r"STM32F4[23]")
_SAMPLES_A_TENTH = 1200
LEAST_HEAP = 1024
"""MicroPython keeps its own table at the start of each part of the heap."""


def _pin(value: object) -> str:
    if isinstance(value, str) and _PIN.fullmatch(value):
        return value
    raise ValueError("want a pin of ports A to D, such as PA9")


def _pin_or_none(value: object) -> str:
    return "" if value == "" else _pin(value)


def _chip(value: object) -> str:
    if isinstance(value, str) and _CHIP.fullmatch(value):
        return value
    raise ValueError("want an STM32F405, 407, 415, 417, or 427 to 439, such as STM32F405RG")


def _a_pin(line: str) -> Any:
    return field(metadata={"read": _pin, "help": line})


def _a_lamp(line: str) -> Any:
    return field(metadata={"read": _pin_or_none, "help": f'{line}; "" without one'})


def _a_flag(line: str) -> Any:
    return field(metadata={"help": line})


def _limited(low: float, high: float, line: str) -> Any:
    return field(metadata={"minimum": low, "maximum": high, "help": line})


@dataclass(frozen=True, slots=True)
class Clock:
    """The chip's clock, and the supply below which its firmware stops."""

    hse_hz: int = _limited(1_000_000, 50_000_000, "at OSC_IN, whole MHz")
    hse_bypass: bool = _a_flag("true: an oscillator's output, not a crystal")
    tcxo: bool = _a_flag("whether it holds 0.1 ppm/K")
    pvd_level: int = _limited(6, 7, "of the voltage detector: 7 with 3.3 V, 6 with 3.0 V")


@dataclass(frozen=True, slots=True)
class Pins:
    """Port and number of each; which are possible is in device/README.md."""

    link_tx: str = _a_pin("USART1")
    link_rx: str = _a_pin("USART1")
    gps_tx: str = _a_pin("USART2")
    gps_rx: str = _a_pin("USART2")
    pps: str = _a_pin("TIM5_CH1")
    mains: str = _a_pin("ADC1")
    supply: str = _a_pin("ADC1: the supply before the battery's switch")
    battery: str = _a_pin("ADC1")
    cnv: str = _a_pin("TIM3_CH1")
    sck: str = _a_pin("SPI2")
    sdo: str = _a_pin("SPI2_MISO")
    led_status: str = _a_lamp("lamp")
    led_time: str = _a_lamp("lamp")
    led_fault: str = _a_lamp("lamp")
    recovery: str = _a_pin("low: the boot loader's recovery")
    repl: str = _a_pin("low: the prompt")


@dataclass(frozen=True, slots=True)
class Analogue:
    """Channels of ADC1, what is before them, and the level that lights a lamp."""

    mains_channel: int = _limited(0, 15, "of ADC1")
    supply_channel: int = _limited(0, 15, "of ADC1")
    supply_divider: float = _limited(1, 100, "volts of the supply by volts of the pin")
    battery_channel: int = _limited(0, 15, "of ADC1")
    battery_divider: float = _limited(1, 100, "volts of the battery by volts of the pin")
    temperature_channel: int = _limited(16, 18, "16, on F42x and F43x 18")
    led_on: bool = _a_flag("true: high lights")


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """The board's own analogue part before its converter; ours is that of device/analogue."""

    v_per_lsb: float = _limited(1e-6, 1, "volts at the line of a count of the 16-bit sample")
    linear_lsb: int = _limited(1, 32_767, "counts of the sample up to which every stage is linear")
    noise_lsb: float = _limited(0, 1000, "rms in 0 to 3 kHz, in counts of the sample")
    rail: int = _limited(1, 32_767, "the converter's counts from zero at which the amplifier stops")


@dataclass(frozen=True, slots=True)
class Memory:
    """What a chip with more SRAM than the F405 may hold more of."""

    ring_s: float = field(
        default=3.2,
        metadata={"minimum": 3.2, "maximum": 6, "help": "of samples for a gateway that is away, in tenths"},
    )
    more_heap_bytes: int = field(
        default=0, metadata={"minimum": 0, "maximum": 65_536, "help": "for MicroPython, beside the CCM's"}
    )

    @property
    def ring_samples(self) -> int:
        """Whole blocks of 200."""
        return round(self.ring_s * 10) * _SAMPLES_A_TENTH


@dataclass(frozen=True, slots=True)
class Budget:
    """What a build may use."""

    flash_bytes: int = _limited(1, 391_680, "of a slot")
    sram_bytes: int = _limited(1, 196_608, "of the SRAM")
    boot_bytes: int = _limited(1, 32_768, "of sectors 0 and 1")
    interrupt_stack_bytes: int = _limited(1, 131_072, "every priority nested in its deepest")
    task_stack_bytes: int = _limited(1, 131_072, "our C below Python's own limit")


OUR_FRONT_ENDS: Mapping[str, FrontEnd] = {
    "external": FrontEnd(0.021505, 28_300, 1.10, 29_152),
    "internal": FrontEnd(0.020059, 29_700, 1.18, 1923),
}
"""Converter -> our front end, as device/analogue/check.py computes it and front_end.h has it."""
TABLES: Mapping[str, type[Any]] = {
    "clock": Clock,
    "pins": Pins,
    "analogue": Analogue,
    "front_end": FrontEnd,
    "memory": Memory,
    "budget": Budget,
}
OPTIONAL = ("front_end", "memory")
"""Tables that a board with our front end and the F405's SRAM lacks."""


@dataclass(frozen=True, slots=True)
class _Head:
    chip: str = field(metadata={"read": _chip, "help": "the whole name"})
    converter: Literal["external", "internal"] = field(metadata={"help": "of the mains, by default"})


@dataclass(frozen=True, slots=True)
class Board:
    """A board's facts."""

    name: str
    chip: str
    converter: str
    """Default of the setting `converter`: external, internal."""
    clock: Clock
    pins: Pins
    analogue: Analogue
    memory: Memory
    budget: Budget
    front_end: FrontEnd
    own_front_end: bool
    """Whether its front end is other than that of device/analogue."""

    @property
    def sram_bytes(self) -> int:
        """In one piece at 0x20000000, without the 64 KB of CCM. Source: RM0090, 2.3.1."""
        return 196_608 if _LARGER.match(self.chip) else 131_072

    @property
    def counts_per_lsb(self) -> int:
        """Samples have 16 bits; the internal converter's counts are 16 of them."""
        return 16 if self.converter == "internal" else 1

    @property
    def zero(self) -> int:
        """The converter's count at 0 V."""
        return 2048 if self.converter == "internal" else 0

    def header(self) -> str:
        """The text of `board.h`."""
        macros = {"name": f'"{self.name}"', "chip": f'"{self.chip}"'}
        macros["converter_internal"] = str(int(self.converter == "internal"))
        for table in (self.clock, self.pins, self.analogue):
            macros |= {key: _in_c(value) for key, value in asdict(table).items()}
        macros["used_pins"] = ", ".join(_in_c(pin) for pin in asdict(self.pins).values())
        macros["ring_samples"] = str(self.memory.ring_samples)
        macros["more_heap_bytes"] = str(self.memory.more_heap_bytes)
        macros["sram_bytes"] = str(self.sram_bytes)
        if self.own_front_end:
            front = self.front_end
            macros |= {
                f"{self.converter}_v_per_lsb": _in_c(front.v_per_lsb),
                f"{self.converter}_linear_lsb": str(front.linear_lsb),
                f"{self.converter}_noise_lsb": _in_c(front.noise_lsb),
            }
        lines = "".join(f"#define OPQ_BOARD_{key.upper()} {value}\n" for key, value in macros.items())
        head = f"// Written by `opq-tools firmware build` from {FILE} of {self.name}.\n"
        return f'{head}#ifndef OPQ_BOARD_H\n#define OPQ_BOARD_H\n\n#include "gpio.h"\n\n{lines}\n#endif\n'


def _in_c(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value!r}f"
    if isinstance(value, int):
        return f"{value}u"
    pin = _PIN.fullmatch(str(value))
    return f"OPQ_PIN({pin[1]}, {pin[2]})" if pin else "OPQ_PIN_NONE"


def board_folders(device: Path) -> Mapping[str, Path]:
    """Board -> its folder, of the boards of a `device` folder."""
    found = (path.parent for path in device.glob(f"port/boards/*/{FILE}"))
    return {folder.name: folder for folder in sorted(found)}


def read_board(folder: Path) -> Board:
    """The board of a folder.

    Raises:
        ConfigError: it has no board.toml, or a wrong one; the text has each problem and what is allowed.
    """
    path, name = folder / FILE, folder.resolve().name
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    values: dict[str, Any] = {}
    problems = list(_read(document, values))
    if not NAME.fullmatch(name):
        problems.insert(0, f"the folder's name is {name}; want 1 to 15 of a to z, 0 to 9 and _")
    if problems:
        raise ConfigError(f"{path}: {len(problems)} problems\n  " + "\n  ".join(problems))
    head, own = values["head"], values.get("front_end")
    board = Board(
        name,
        head.chip,
        head.converter,
        values["clock"],
        values["pins"],
        values["analogue"],
        values.get("memory", Memory()),
        values["budget"],
        own or OUR_FRONT_ENDS[head.converter],
        own is not None,
    )
    if wrong := _too_much(board):
        raise ConfigError(f"{path}: {wrong}")
    return board


def _too_much(board: Board) -> str:
    """What its chip or the firmware's C cannot hold; "" if nothing."""
    memory, budget = board.memory, board.budget
    if budget.sram_bytes > board.sram_bytes:
        return f"budget.sram_bytes  is {budget.sram_bytes}; the {board.chip} has {board.sram_bytes}"
    if memory != Memory() and not _LARGER.match(board.chip):
        return f"memory  needs an STM32F427 to 439, with 192 KB of SRAM; the chip is an {board.chip}"
    if abs(memory.ring_s * 10 - round(memory.ring_s * 10)) > 1e-9:
        return f"memory.ring_s  is {memory.ring_s}; want whole tenths of a second"
    if 0 < memory.more_heap_bytes < LEAST_HEAP:
        return f"memory.more_heap_bytes  is {memory.more_heap_bytes}; want 0, or at least {LEAST_HEAP}"
    return ""


def _read(document: Mapping[str, Any], values: dict[str, Any]) -> Iterator[str]:
    """Puts the tables' values into `values`; yields each problem."""
    keys = [item.name for item in fields(_Head)]
    for key in document:
        if key not in (*keys, *TABLES):
            yield f"{key}  {unknown_key(key, dict.fromkeys([*keys, *TABLES]))}"
    values["head"], wrong = checked_config(_Head, {key: document[key] for key in keys if key in document})
    yield from wrong
    for table, kind in TABLES.items():
        found = document.get(table)
        if found is None and table in OPTIONAL:
            continue
        if not isinstance(found, Mapping):
            yield f"{table}  missing: a table with {', '.join(item.name for item in fields(kind))}"
            continue
        values[table], wrong = checked_config(kind, found)
        yield from (f"{table}.{problem}" for problem in wrong)


EMULATED = ("opqbox", "pyboard_f405")
"""Boards whose firmware tests and emulators build by themselves."""
BOARDS: Mapping[str, Board] = {
    name: read_board(folder)
    for name, folder in sorted(
        board_folders(our_source("device")).items(), key=lambda found: found[0] not in EMULATED
    )
}
"""Our boards by name, those of EMULATED first."""


def read_own_board(folder: Path) -> Board:
    """The board of a folder that a user names in place of one of ours.

    Raises:
        ConfigError: as `read_board`; or the name is one of ours, whose facts are others.
    """
    board = read_board(folder)
    if board != BOARDS.get(board.name, board):
        raise ConfigError(
            f"{folder}: {board.name} is one of our boards, which has other facts and would accept this one's "
            f"images. Give the folder a name other than {', '.join(BOARDS)}"
        )
    return board
