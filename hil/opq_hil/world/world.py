"""Everything outside the chip for one run of an emulator, and the text file that the machine reads.

One event per line, times in virtual ns (hil/README.md lists the words). A `World` is a value: the same world
gives the same file, and with `-icount` the same output of the firmware.

Readings of the chip's own converter (DS8626, STM32F405): V25 = 0.76 V and 2.5 mV/K (table 72), factory
readings at 30 and 110 degrees C and 3.3 V (table 73); RM0090 13.10. The emulated chip carries the factory
readings of this line.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_hil.gps.oscillator import Oscillator
from opq_hil.gps.receiver import Gps
from opq_proto.link import frames as link
from opq_proto.link.messages import LinkMessage
from opq_proto.time_units import NS_PER_S as NS_PER_S

INTERNAL = "adc1"
"""Input of the mains: the chip's own converter."""
EXTERNAL = "spi2"
"""Input of the mains: the 16-bit converter on SPI2."""
SAMPLE_RATE_MILLIHZ = 12_000_000


@dataclass(frozen=True, slots=True)
class Sine:
    """Mains by a formula: offset + amplitude * sin(2 pi f t + phase), in counts of the converter."""

    converter: str = EXTERNAL
    frequency_hz: float = 60.0
    amplitude_lsb: int = 20_000
    offset_lsb: int = 0
    phase_rad: float = 0.0
    dips: tuple[tuple[int, int, float], ...] = ()
    """(start ns, end ns, remaining share)."""

    def lines(self, folder: Path) -> Iterator[str]:
        yield (
            f"mains_sine {self.converter} {round(self.frequency_hz * 1e6)} {self.amplitude_lsb} "
            f"{self.offset_lsb} {round(self.phase_rad * 1000)}"
        )
        for start_ns, end_ns, share in self.dips:
            yield f"dip {start_ns} {end_ns} {round(share * 1000)}"


@dataclass(frozen=True, slots=True)
class Played:
    """Mains from an array of counts: each value holds until the next is due (zero order)."""

    counts: NDArray[np.int16]
    converter: str = EXTERNAL
    rate_millihz: int = SAMPLE_RATE_MILLIHZ
    start_ns: int = 0
    loop: bool = False

    def lines(self, folder: Path) -> Iterator[str]:
        self.counts.astype("<i2").tofile(folder / "mains.i16")
        yield f"mains {self.converter} mains.i16 {self.rate_millihz} {self.start_ns} {int(self.loop)}"


@dataclass(frozen=True, slots=True)
class BitNoise:
    """Flipped bits in the link's bytes: `per_byte` is the probability that a byte has one."""

    per_byte: float
    towards_box: bool
    seed: int = 1

    def line(self) -> str:
        direction = "rx" if self.towards_box else "tx"
        return f"noise usart1 {direction} {round(self.per_byte * 1e9)} {self.seed}"


@dataclass(frozen=True, slots=True)
class PowerScript:
    """The course of the supply: a cut ends the run; the firmware sees the rest."""

    adc: tuple[tuple[int, int, int], ...] = ()
    """(channel of ADC1, ns, count): supply, battery, temperature, reference."""
    pvd: tuple[tuple[int, bool], ...] = ()
    """(ns, True while the supply is below the detector's threshold)."""
    cut_ns: int | None = None
    cut_after: int | None = None
    """Power off in the middle of this flash program or erase, counted from 1."""

    def lines(self) -> Iterator[str]:
        yield from (f"adc {channel} {at_ns} {count}" for channel, at_ns, count in self.adc)
        yield from (f"pvd {at_ns} {int(low)}" for at_ns, low in self.pvd)
        if self.cut_ns is not None:
            yield f"cut {self.cut_ns}"
        if self.cut_after is not None:
            yield f"cut_after {self.cut_after}"


@dataclass(frozen=True, slots=True)
class RomStart:
    """A chip that was flashed over its ROM boot loader: BOOT0 is high, and the loader's Go starts the flash.

    As long as BOOT0 is high, every reset ends in the ROM again, which then waits.
    """

    go_ns: int = NS_PER_S // 1000
    boot0_low_ns: int | None = None

    def lines(self) -> Iterator[str]:
        yield "boot0 0 1"
        yield f"go {self.go_ns}"
        if self.boot0_low_ns is not None:
            yield f"boot0 {self.boot0_low_ns} 0"


@dataclass(frozen=True, slots=True)
class World:
    """One run, from power-on to `end_ns`."""

    end_ns: int
    mains: Sine | Played | None = field(default_factory=Sine)
    gps: Gps | None = field(default_factory=Gps)
    """None: no receiver is fitted."""
    oscillator: Oscillator = field(default_factory=Oscillator)
    power: PowerScript = field(default_factory=PowerScript)
    messages: tuple[tuple[int, LinkMessage | bytes], ...] = ()
    """(ns, message or bytes from the gateway); numbered in order of time."""
    noise: tuple[BitNoise, ...] = ()
    pins: tuple[tuple[str, int, bool], ...] = ()
    """("B2", ns, level)."""
    rom_start: RomStart | None = None
    """None: BOOT0 is low."""
    seed: int = 1
    """What memories hold at power-on, and with it the boot id; how flash tears."""
    restarted: bool = False
    """A program began the run while the supply was there: the chip reports a reset by software."""

    def write(self, folder: Path) -> Path:
        """Writes `world.txt`, and the files that it names, into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "world.txt"
        path.write_text("\n".join(self.lines(folder)) + "\n", encoding="ascii")
        return path

    def lines(self, folder: Path) -> Iterator[str]:
        """Yields the lines of the file, and writes the files that they name."""
        yield f"seed {self.seed}"
        if self.restarted:
            yield "restarted"
        if self.mains is not None:
            yield from self.mains.lines(folder)
        if self.gps is not None:
            yield from (f"pps {edge}" for edge in self.gps.pulses(self.oscillator, self.end_ns))
            text = self.gps.text(self.oscillator, self.end_ns)
            contents = "".join(f"{at} {sentence.hex()}\n" for at, sentence in text)
            (folder / "gps.txt").write_text(contents, encoding="ascii")
            yield "bytes_file usart2 gps.txt"
        for sequence, (at_ns, message) in enumerate(sorted(self.messages, key=lambda entry: entry[0])):
            frame = message if isinstance(message, bytes) else b"\0" + link.encode(message, sequence)
            yield f"bytes usart1 {at_ns} {frame.hex()}"
        yield from self.power.lines()
        yield from (f"pin {pin} {at_ns} {int(level)}" for pin, at_ns, level in self.pins)
        yield from (noise.line() for noise in self.noise)
        if self.rom_start is not None:
            yield from self.rom_start.lines()
        yield f"end {self.end_ns}"


TEMPERATURE = 16
"""Channel of ADC1 inside the chip."""
SUPPLY_CHANNEL = 11
"""Channel of ADC1 for the supply, over a divider by 2; the same on both boards."""
BATTERY_CHANNEL = 12
"""Channel of ADC1 for the battery, over a divider by 2."""
FULL_SCALE_COUNTS = 4095
VDDA_V = 3.3
V25_V = 0.76
"""Voltage of the sensor at 25 degrees (DS8626, table 72)."""
V_PER_K = 0.0025
"""Slope of the sensor (DS8626, table 72)."""
DIVIDER = 2.0
CHIP_NOISE_K = 0.5
"""Noise of one reading."""
CHIP_LAG_S = 60.0
"""Time constant of the chip behind the oscillator."""


def temperature_count(celsius: float) -> int:
    """The temperature sensor's reading, rounded."""
    return round((V25_V + V_PER_K * (celsius - 25.0)) / VDDA_V * FULL_SCALE_COUNTS)


def divided_count(volts: float) -> int:
    """Reading of a channel with a divider by 2."""
    return round(min(volts / DIVIDER, VDDA_V) / VDDA_V * FULL_SCALE_COUNTS)


def temperature_readings(oscillator: Oscillator, end_ns: int) -> tuple[tuple[int, int, int], ...]:
    """One reading a second for `PowerScript.adc`; the chip lags the oscillator, with noise."""
    chance = random.Random(1)
    chip_c = oscillator.celsius(0.0)
    found = []
    for second in range(end_ns // NS_PER_S + 1):
        found.append(
            (TEMPERATURE, second * NS_PER_S, temperature_count(chip_c + chance.gauss(0.0, CHIP_NOISE_K)))
        )
        chip_c += (oscillator.celsius(second + 0.5) - chip_c) / CHIP_LAG_S
    return tuple(found)


def voltage_readings(channel: int, volts: Sequence[tuple[float, float]]) -> tuple[tuple[int, int, int], ...]:
    """Readings of supply or battery, from (second, volts)."""
    return tuple((channel, round(at_s * NS_PER_S), divided_count(value)) for at_s, value in volts)
