"""The converters' drivers program the registers as RM0090 wants it; in literals, to see a header's slip.

What the peripherals then do is shown under QEMU, whose models come from RM0090 and not from these files.
"""

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from host_library import CMODULES, DEVICE, WARNINGS, header_folder, program

from opq_hil.backends.boards import BOARDS

HERE = DEVICE / "tests"
IN_RAM = ("acquire", "decimate", "external_adc", "internal_adc", "ring", "slow", "trigger")
NOUNS = (*IN_RAM, "converter", "converters")
SOURCES = [*(CMODULES / "acquire" / f"{noun}.c" for noun in NOUNS), HERE / "acquire_registers.c"]
ARM = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os", "-ffunction-sections"]


def registers(converter: str, oversampling: int, board: str = "opqbox") -> Any:
    """{when: {block: {offset: value}}}; a register that is 0 is absent."""
    flags = ("-DOPQ_HOST_REGISTERS", f"-I{DEVICE / 'port'}", f"-I{header_folder(BOARDS[board])}")
    built = program("acquire_registers", SOURCES, *flags)
    done = subprocess.run(
        [str(built), converter, str(oversampling)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for line in done.stdout.splitlines():
        when, block, key, value = line.split()
        if block.isupper() or block[-1].isdigit():
            found[when][block][int(key, 16)] = int(value, 16)
        else:
            found[when][block][key] = int(value, 16 if block in ("jsqr", "jswstart") else 10)
    return found


@pytest.mark.parametrize("board", ["opqbox", "pyboard_f405"])
@pytest.mark.parametrize("oversampling", [1, 2, 4, 5])
def test_the_internal_converter_follows_rm0090(oversampling: int, board: str) -> None:
    start = registers("internal", oversampling, board)["start"]
    assert start["status"]["result"] == 0
    assert start["first"]["lead"] == 100
    rcc, tim3, adc, common = start["RCC"], start["TIM3"], start["ADC1"], start["ADC"]
    assert rcc[0x30] & 1 << 22  # AHB1ENR.DMA2EN, 7.3.10
    assert rcc[0x40] & 1 << 1  # APB1ENR.TIM3EN
    assert rcc[0x44] & 1 << 8  # APB2ENR.ADC1EN
    assert rcc[0x20] == rcc[0x24] == 0  # nothing is left in reset
    assert tim3[0x2C] == 7000 // oversampling - 1  # ARR
    assert tim3[0x28] == 0  # PSC
    assert tim3[0x04] == 0b010 << 4  # CR2.MMS: update is TRGO, 18.4.2
    assert tim3[0x00] == 1  # CR1.CEN
    assert tim3[0x0C] == 0  # no interrupt and no request of its own
    assert common[0x04] == 0b10 << 16 | 1 << 23  # CCR: ADCPRE /6 (14 MHz), TSVREFE; 13.13.16
    assert adc[0x04] == 1 << 26  # CR1.OVRIE, 12 bits, no scan
    wanted_cr2 = (
        1 << 0 | 1 << 8 | 1 << 9 | 0b1000 << 24 | 0b01 << 28
    )  # ADON DMA DDS EXTSEL=TIM3_TRGO EXTEN=rising
    assert adc[0x08] == wanted_cr2
    assert adc[0x2C] == 0  # SQR1.L: one conversion
    assert adc[0x34] == 10  # SQR3: channel 10
    assert adc[0x38] == 11 << 15  # JSQR: JL 0, JSQ4 channel 11, 13.13.12
    sampling = {10: 0b010, 11: 0b110, 12: 0b110, 16: 0b110, 17: 0b110}  # 28 and 144 cycles, 13.13.4
    assert adc[0x0C] == sum(code << 3 * (channel - 10) for channel, code in sampling.items())
    assert start["GPIOC"][0x00] & 0x3F == 0x3F  # PC0..2 analog
    dma = start["DMA2"]
    # stream 0: channel 0, very high, 16 bit both, MINC, CIRC, to memory, TC HT TE DME interrupts, EN; 10.5.5
    assert dma[0x10] == 0b11 << 16 | 1 << 13 | 1 << 11 | 1 << 10 | 1 << 8 | 0b11110 | 1
    assert dma[0x14] == 2 * 40 * oversampling  # NDTR
    assert dma[0x24] == 0  # FCR: direct mode
    nvic = start["NVIC"]
    assert nvic[0x04] == 1 << (56 - 32)  # ISER1: DMA2 stream 0
    assert nvic[0x00] == 1 << 18  # ISER0: ADC
    assert nvic[0x338] & 0xFF == 0x20  # priority 2: received bytes go first
    assert nvic[0x310] >> 16 & 0xFF == 0x20


@pytest.mark.parametrize("oversampling", [1, 5, 10])
def test_the_external_converter_follows_its_manuals(oversampling: int) -> None:
    start = registers("external", oversampling)["start"]
    assert start["status"]["result"] == 0
    rcc, tim3, spi, dma = start["RCC"], start["TIM3"], start["SPI2"], start["DMA1"]
    assert rcc[0x30] & 1 << 21  # DMA1EN
    assert rcc[0x40] & (1 << 14 | 1 << 1) == 1 << 14 | 1 << 1  # SPI2EN, TIM3EN
    assert tim3[0x2C] == 7000 // oversampling - 1
    assert tim3[0x18] == 0b110 << 4  # CCMR1: CH1 PWM mode 1, CH2 frozen; 18.4.7
    assert tim3[0x20] == 1  # CCER.CC1E, active high
    assert tim3[0x0C] == 1 << 10  # DIER.CC2DE
    cnv_low, read = tim3[0x34], tim3[0x38]
    assert cnv_low / 84e6 > 2.2e-6  # t_CONV, AD7687
    assert (read - cnv_low) / 84e6 > 22e-9  # t_EN
    assert tim3[0x24] > read  # the first look at CNV is low, and nothing is read before the first conversion
    frame_ticks = 16 * 8  # 10.5 MHz
    assert read + frame_ticks + 50 < 7000 // oversampling  # read before CNV rises again
    assert (7000 // oversampling - cnv_low) / 84e6 > 1.8e-6  # t_ACQ
    assert (
        spi[0x00] == 1 << 11 | 1 << 9 | 1 << 8 | 1 << 6 | 0b001 << 3 | 1 << 2
    )  # DFF SSM SSI SPE /4 MSTR, mode 0
    assert spi[0x04] == 1  # CR2.RXDMAEN
    rx, compare = 0x10 + 0x18 * 3, 0x10 + 0x18 * 5
    assert dma[rx] == 0b11 << 16 | 1 << 13 | 1 << 11 | 1 << 10 | 1 << 8 | 0b11110 | 1  # channel 0 (SPI2_RX)
    assert dma[rx + 4] == 2 * 40 * oversampling
    assert (
        dma[compare] == 5 << 25 | 0b11 << 16 | 1 << 13 | 1 << 11 | 1 << 8 | 0b01 << 6 | 1
    )  # channel 5 (TIM3_CH2)
    assert dma[compare + 4] == 1
    assert dma[rx + 8] == dma[compare + 8]  # both at SPI2_DR
    gpio_b, gpio_c = start["GPIOB"], start["GPIOC"]
    assert gpio_c[0x00] >> 12 & 3 == 2  # PC6 alternate
    assert gpio_c[0x20] >> 24 & 15 == 2  # AF2, TIM3_CH1
    assert gpio_b[0x00] >> 26 & 15 == 0b1010  # PB13, PB14
    assert gpio_b[0x24] >> 20 & 0xFF == 0x55  # AF5, SPI2
    assert start["NVIC"][0x00] == 1 << 14  # DMA1 stream 3
    assert start["NVIC"][0x30C] >> 16 & 0xFF == 0x20
    assert start["ADC1"][0x08] == 1  # only for the slow channels


@pytest.mark.parametrize(("converter", "oversampling"), [("internal", 5), ("external", 1)])
def test_slow_channels_stay_between_conversions(converter: str, oversampling: int) -> None:
    """The slow channels take turns and never reach into a conversion of the mains."""
    found = registers(converter, oversampling)
    channels = [found[f"half{n}"]["jsqr"]["before"] >> 15 for n in range(9)]
    wanted = [11, 12, 16, 17, 11, 12, 16, 17, 11]
    assert channels == wanted if converter == "internal" else channels[1:] == wanted[:8]
    assert all(found[f"half{n}"]["jswstart"]["after"] == 1 for n in range(9))
    assert found["late"]["jswstart"]["after"] == (converter == "external")  # its ADC1 has nothing else to do
    assert found["early"]["jswstart"]["after"] == 1
    if converter == "internal":
        assert 240 < found["early"]["waited"]["tim3"] < 300  # 40 ADC clocks of the mains, and little more
    assert found["halves"]["slow"]["readings"] == (9 if converter == "internal" else 8)


@pytest.mark.parametrize(("converter", "oversampling", "skipped"), [("internal", 5, 10), ("external", 1, 0)])
def test_an_overrun_restarts_and_is_counted(converter: str, oversampling: int, skipped: int) -> None:
    found = registers(converter, oversampling)
    assert found["halves"]["counters"] == {
        "samples": 9 * 40 - skipped,
        "missing": 0,
        "overruns": 0,
        "grid_errors": 0,
    }
    after = found["restart"]["counters"]
    assert after["overruns"] == 1
    assert skipped <= after["missing"] <= skipped + 2
    for block in ("TIM3", "SPI2", "DMA1", "DMA2"):
        for offset, value in found["start"][block].items():
            assert found["restart"][block][offset] == value, (block, hex(offset))
    assert found["restart"]["ADC1"][0x00] & 0x20 == 0
    assert found["restart"]["ADC1"][0x08] & ~(1 << 22) == found["start"]["ADC1"][0x08]


@pytest.mark.parametrize("converter", ["internal", "external"])
def test_a_stop_stops_timer_streams_and_interrupts(converter: str) -> None:
    stop = registers(converter, 1)["stop"]
    assert stop["TIM3"][0x00] == 0
    assert stop["ADC1"][0x08] == 0
    assert stop["DMA2"][0x10] == stop["DMA1"][0x10 + 0x18 * 3] == stop["DMA1"][0x10 + 0x18 * 5] == 0
    assert stop["SPI2"][0x00] == 0


@pytest.mark.parametrize("converter", ["internal", "external"])
def test_a_stopped_timer_gives_no_clock(converter: str) -> None:
    assert registers(converter, 1)["dead"]["status"]["result"] == 3


def test_erase_code_calls_nothing_in_flash(tmp_path: Path) -> None:
    compiler, dump = shutil.which("arm-none-eabi-gcc"), shutil.which("arm-none-eabi-objdump")
    if compiler is None or dump is None:
        pytest.skip("no arm-none-eabi-gcc here: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi")
    in_ram: set[str] = set()
    called: dict[str, set[str]] = {}
    for noun in IN_RAM:
        built = tmp_path / f"{noun}.o"
        folders = (CMODULES / "acquire", DEVICE / "port", header_folder(BOARDS["opqbox"]))
        source = CMODULES / "acquire" / f"{noun}.c"
        command = [compiler, *ARM, *WARNINGS, *(f"-I{folder}" for folder in folders)]
        subprocess.run([*command, "-c", str(source), "-o", str(built)], check=True, timeout=600)
        symbols = subprocess.run([dump, "-t", str(built)], capture_output=True, text=True, check=True).stdout
        in_ram |= {line.split()[-1] for line in symbols.splitlines() if ".ramfunc" in line and " F " in line}
        relocations = subprocess.run(
            [dump, "-r", "-j", ".ramfunc", str(built)], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split() for line in relocations.splitlines() if " R_ARM_" in line]
        called[noun] = {row[2].split("+")[0] for row in rows}
    assert {"opq_decimate", "opq_acquire_on_half", "DMA2_Stream0_IRQHandler", "ADC_IRQHandler"} <= in_ram
    data = {".bss", ".data", ".ramfunc"}
    for noun, names in called.items():
        assert names - in_ram - data == set(), f"{noun}.c reaches out of RAM"
