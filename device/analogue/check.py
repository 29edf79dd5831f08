"""Recomputes the front end from its parts list, and says what does not fit: python device/analogue/check.py

Every figure of a part is read from bom.csv. What is asked for stands here as constants, with its source. The
exit code is 1 if a limit is not kept; device/tests/test_analogue.py holds the firmware to the results.
"""

import csv
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from parts import HERE, Part, read_bom

Parts = Mapping[str, Part]

DECLARED_V = 230.0  # declared voltage, rms
LOW_LINE_SHARE = 0.9  # lowest steady voltage, as a share of the declared one
CLASS_A_SHARE = 1.5  # IEC 61000-4-30, class A: magnitude to 150 % of the declared voltage
CATEGORY_V = 300.0  # rated voltage of the measuring input, rms to earth
IMPULSE_V = {"CAT II 300 V": 2500.0, "CAT III 300 V": 4000.0}  # IEC 61010-2-030
FREQUENT_SURGES = "CAT II 300 V"  # thousands; the larger impulse is survived, not worn by
SOURCE_OHMS = 2.0  # IEC 61000-4-5, line to line
SHORT_8_20_S = 14e-6  # integral of the squared 8/20 us current, over its squared peak
DECAY_S = 50e-6 / math.log(2)  # the 1.2/50 us voltage falls to half in 50 us
PULSE_SHARE = {10_000: 0.29, 1_000: 0.38, 1: 0.9}
"""Share of a fuse's melting I2t that one of so many pulses may have (Littelfuse, "Fuseology")."""
ROOM_K = 300.0  # temperature of the resistors, for their noise
DRIFT_K = 40.0  # change of temperature for the drift
BOLTZMANN = 1.38e-23
BAND_HZ = 3000.0
PHASE_NS = 21_000  # WIRING.md: the setting to begin with
LSB = 65_536
PAD_MM = 3.0  # of a pin in a hole of 1.3 mm
DERATING = 0.6  # of rated power and voltage, continuously
ADAPTER_LOW_V = 4.75  # USB's least at a socket, and that of many adapters
USABLE_SHARE = 0.85  # of the cell's charge above the setting battery_low_v; no data sheet says it
LEAST_HOURS = 4.0  # on the cell while it samples
POWER: Mapping[str, Part] = read_bom(HERE / "supply.csv")  # the modules at J2 and J4


@dataclass(frozen=True, slots=True)
class Result:
    """One computed figure and its limit; `at_most` or `at_least` the limit."""

    what: str
    figure: float
    limit: float
    unit: str
    at_most: bool = True

    @property
    def kept(self) -> bool:
        return self.figure <= self.limit if self.at_most else self.figure >= self.limit


@dataclass(frozen=True, slots=True)
class Path:
    """A way from the line to a converter."""

    name: str
    gain: float
    """Of the stages behind the isolation amplifier."""
    gain_error: float
    volts_per_lsb: float
    """At the converter."""
    rail_volts: float
    """Differential, or around the middle: where the amplifier's output stops for certain."""
    reference_error: float


def series_ohms(parts: Parts) -> float:
    """The surge resistors."""
    return sum(parts[ref].value for ref in ("RS1", "RS2", "RS3") if ref in parts)


def ratio(parts: Parts) -> float:
    """Volts at the line per volt at the isolation amplifier's input."""
    low = 1 / (1 / parts["R5"].value + 1 / parts["U1"]["ohms"])
    high = sum(parts[ref].value for ref in ("R1", "R2", "R3", "R4")) + series_ohms(parts)
    return (high + low) / low


def external(parts: Parts) -> Path:
    reference = parts["U5"]["volts"]
    middle = reference * parts["R16"].value / (parts["R15"].value + parts["R16"].value)
    drive = parts["U3"]
    return Path(
        "external",
        parts["R12"].value / parts["R11"].value,
        parts["R12"]["tolerance"] + parts["R11"]["tolerance"],
        2 * reference / LSB,
        2 * (middle - drive["common_error_volts"] - drive["swing_volts"]),
        parts["U5"]["tolerance"],
    )


def internal(parts: Parts) -> Path:
    volts = parts["U8"]["volts"]
    return Path(
        "internal",
        parts["R34"].value / parts["R32"].value,
        parts["R34"]["tolerance"] + parts["R32"]["tolerance"],
        volts / LSB,
        volts / 2 - parts["U6"]["swing_volts"],
        parts["U8"]["tolerance"],
    )


def v_per_lsb(parts: Parts, path: Path) -> float:
    return path.volts_per_lsb / (parts["U1"]["gain"] * path.gain) * ratio(parts)


def isolation_lsb(parts: Parts, path: Path, volts: float, error: float) -> float:
    """Counts that so many volts at the isolation amplifier give, `error` off nominal."""
    return volts * parts["U1"]["gain"] * path.gain / path.volts_per_lsb * (1 + error)


def linear_lsb(parts: Parts, path: Path) -> int:
    """The count below which every stage is in its specified range with all tolerances, in whole hundreds."""
    error = parts["U1"]["gain_error"] + path.gain_error + path.reference_error
    isolation = isolation_lsb(parts, path, parts["U1"]["linear_volts"], -error)
    return int(min(isolation, rail_lsb(path), LSB / 2 - 1) // 100 * 100)


def rail_lsb(path: Path) -> float:
    """The count at which the amplifier before the converter stops at the latest that is certain."""
    return path.rail_volts / path.volts_per_lsb


def ranges(parts: Parts) -> Iterator[Result]:
    crest = DECLARED_V * CLASS_A_SHARE * math.sqrt(2)
    for path in (external(parts), internal(parts)):
        volts = v_per_lsb(parts, path)
        yield Result(f"{path.name}: volts of a count", volts * 1000, 25.0, "mV")
        linear = linear_lsb(parts, path) * volts
        yield Result(f"{path.name}: linear to, class A and 20 %", linear, 1.2 * crest, "V", False)
        yield Result(f"{path.name}: rail beyond the limit", rail_lsb(path) * volts, linear, "V", False)
        error = parts["U1"]["gain_error"] + path.gain_error + path.reference_error + divider_error(parts)
        yield Result(f"{path.name}: gain error before calibration", 100 * error, 3.0, "%")
    leg = (
        parts["U5"]["volts"] / 2
        - parts["U1"]["linear_volts"] * parts["U1"]["gain"] * external(parts).gain / 2
    )
    yield Result(
        "external: a leg above ground at the linear limit", leg, parts["U3"]["swing_volts"], "V", False
    )


def divider_error(parts: Parts) -> float:
    """Tolerances of the divider, and of the input's resistance that shunts it."""
    shunt = parts["R5"].value / (parts["R5"].value + parts["U1"]["ohms"])
    own = parts["R1"]["tolerance"] + parts["R5"]["tolerance"]
    surge = series_ohms(parts) / ratio(parts) / parts["R5"].value * parts["RS1"]["tolerance"]
    return own + shunt * parts["U1"]["ohms_error"] + surge


def drift(parts: Parts) -> Iterator[Result]:
    ppm = (
        parts["R1"]["ppm"]
        + parts["R5"]["ppm"]
        + parts["R12"]["ppm"]
        + parts["R11"]["ppm"]
        + parts["U5"]["ppm"]
    )
    yield Result(
        f"external: resistors and reference over {DRIFT_K:g} K, worst", ppm * DRIFT_K / 1e4, 0.5, "%"
    )


def butterworth_mfb(parts: Parts) -> tuple[float, float]:
    """Corner in Hz and Q of one leg of the driver."""
    r1, r2, r3 = (parts[ref].value for ref in ("R11", "R12", "R13"))
    c1, c2 = parts["C11"].value, parts["C12"].value
    root = math.sqrt(r2 * r3 * c1 * c2)
    return 1 / (2 * math.pi * root), root / (c2 * (r2 + r3 + r2 * r3 / r1))


def sallen_key(parts: Parts) -> tuple[float, float]:
    r1, r2 = parts["R35"].value, parts["R36"].value
    c1, c2 = parts["C35"].value + parts["C36"].value, parts["C37"].value
    root = math.sqrt(r1 * r2 * c1 * c2)
    return 1 / (2 * math.pi * root), root / (c2 * (r1 + r2))


def second_order(hz: float, corner_hz: float, q: float) -> complex:
    s = 1j * hz / corner_hz
    return 1 / (1 + s / q + s * s)


def response(parts: Parts, hz: float, chain: str) -> complex:
    """Gain of the whole chain, 1 at DC."""
    low = 1 / (1 / parts["R5"].value + 1 / parts["U1"]["ohms"])
    found = 1 / (1 + 2j * math.pi * hz * low * parts["C5"].value)
    found /= 1 + 1j * hz / parts["U1"]["hertz"]
    if chain == "external":
        pole = 2 * math.pi * parts["R14"].value * parts["C14"].value
        return found * second_order(hz, *butterworth_mfb(parts)) / (1 + 1j * hz * pole)
    pole = 2 * math.pi * parts["R37"].value * parts["C38"].value
    return found * second_order(hz, *sallen_key(parts)) / (1 + 1j * hz * pole)


def decibels(value: complex) -> float:
    return 20 * math.log10(abs(value))


def bandwidth(parts: Parts) -> Iterator[Result]:
    for chain, (corner_hz, q), folds_hz, least_db in (
        ("external", butterworth_mfb(parts), 117e3, -39.0),
        ("internal", sallen_key(parts), 57e3, -26.5),
    ):
        yield Result(f"{chain}: corner of the filter", corner_hz / 1000, 12.5, "kHz")
        yield Result(f"{chain}: Q, 0.707 is Butterworth", q, 0.74, "")
        yield Result(f"{chain}: droop at 3 kHz", -decibels(response(parts, BAND_HZ, chain)), 0.06, "dB")
        yield Result(
            f"{chain}: at {folds_hz / 1000:g} kHz, folded",
            decibels(response(parts, folds_hz, chain)),
            least_db,
            "dB",
        )
        off_s = abs(delay_s(parts, chain) - PHASE_NS * 1e-9)
        yield Result(f"{chain}: delay at DC, off the setting phase_ns", off_s * 1e6, 1.0, "us")


def delay_s(parts: Parts, chain: str) -> float:
    """Returns the delay of a slow signal: from the phase at 1 Hz, plus what the isolation amplifier adds."""
    phase = -math.atan2(response(parts, 1.0, chain).imag, response(parts, 1.0, chain).real) / (2 * math.pi)
    return phase + max(0.0, parts["U1"]["delay_s"] - 1 / (2 * math.pi * parts["U1"]["hertz"]))


def noise_v(parts: Parts, chain: str) -> float:
    """Returns the noise as it looks at the line, volts rms in 0 to 3 kHz."""
    return math.hypot(*noises_v(parts, chain))


def noises_v(parts: Parts, chain: str) -> tuple[float, float]:
    """Returns the front end's share of it, and that of the converter with the sample's rounding."""
    scale = ratio(parts) / parts["U1"]["gain"]
    full = parts["U1"]["linear_volts"] * parts["U1"]["gain"] / math.sqrt(2)
    amplifier = full / 10 ** (parts["U1"]["snr_db"] / 20) * math.sqrt(BAND_HZ / parts["U1"]["snr_hertz"])
    resistor = math.sqrt(4 * BOLTZMANN * ROOM_K * parts["R5"].value * BAND_HZ) * parts["U1"]["gain"]
    if chain == "external":
        gain, rate = external(parts).gain, parts["U4"]["samples_per_s"] * 0.48
        legs = 8 * BOLTZMANN * ROOM_K * (parts["R12"].value + parts["R13"].value * (1 + gain) ** 2)
        driver = math.sqrt((legs + (parts["U3"]["noise"] * (1 + gain)) ** 2) * BAND_HZ) / gain
        own = parts["U5"]["volts"] / math.sqrt(2) / 10 ** (parts["U4"]["sinad_db"] / 20)
    else:
        gain, rate = internal(parts).gain, 60_000.0
        legs = 8 * BOLTZMANN * ROOM_K * (parts["R34"].value + parts["R35"].value)
        driver = math.sqrt((legs + 2 * (parts["U6"]["noise"] * (1 + gain)) ** 2) * BAND_HZ) / gain
        own = parts["U8"]["volts"] / 2 / math.sqrt(2) / 10 ** ((6.02 * parts["U9"]["enob"] + 1.76) / 20)
    converter = own / gain * math.sqrt(BAND_HZ / (rate / 2))
    path = external(parts) if chain == "external" else internal(parts)
    rounding = v_per_lsb(parts, path) * math.sqrt(BAND_HZ / 6000.0 / 12)  # white up to 6 kHz
    return scale * math.hypot(amplifier, resistor, driver), math.hypot(scale * converter, rounding)


def effective_bits(parts: Parts, path: Path) -> float:
    """Returns the bits of the whole chain: the largest sine in its linear range against its noise."""
    crest = linear_lsb(parts, path) * v_per_lsb(parts, path)
    return (20 * math.log10(crest / math.sqrt(2) / noise_v(parts, path.name)) - 1.76) / 6.02


def noise(parts: Parts) -> Iterator[Result]:
    for path, most_mv, least in ((external(parts), 30.0, 13.5), (internal(parts), 100.0, 11.5)):
        volts = noise_v(parts, path.name)
        yield Result(f"{path.name}: noise at the line, 0 to 3 kHz", volts * 1000, most_mv, "mV")
        yield Result(
            f"{path.name}: effective bits of the chain", effective_bits(parts, path), least, "", False
        )


def power(parts: Parts) -> Iterator[Result]:
    low = 1 / (1 / parts["R5"].value + 1 / parts["U1"]["ohms"])
    amps = CATEGORY_V / (ratio(parts) * low)
    for ref in ("R1", "R2", "R3", "R4", "R5"):
        part = parts[ref]
        watts = amps**2 * part.value
        yield Result(f"{ref}: power at 300 V", watts * 1000, DERATING * part["watts"] * 1000, "mW")
        yield Result(f"{ref}: volts at 300 V", amps * part.value, DERATING * part["volts"], "V")
    idle = amps + parts["RV1"]["leak_amps"]
    yield Result("RS1: power at 300 V", idle**2 * parts["RS1"].value, DERATING * parts["RS1"]["watts"], "W")
    yield Result("RV1: power at 300 V", CATEGORY_V * parts["RV1"]["leak_amps"] * 1000, 100.0, "mW")
    yield Result("RV1: line voltage", CATEGORY_V, parts["RV1"]["volts_rms"], "V")
    yield Result("J1: voltage", CATEGORY_V, parts["J1"]["volts_rms"], "V")
    yield Result("XF1: voltage", CATEGORY_V, parts["XF1"]["volts_rms"], "V")
    yield Result("F1: current", idle * 1000, DERATING * parts["F1"]["amps"] * 1000, "mA")
    hot = parts["U1"]["hot_amps"] * parts["U2"]["volts_out"]
    yield Result("U2: load on the hot side", hot * 1000, DERATING * parts["U2"]["watts"] * 1000, "mW")
    cold = sum(parts[ref]["amps"] for ref in ("U3", "U4", "U5")) + parts["U1"]["cold_amps"]
    yield Result("5 V for the front end", (hot / parts["U2"]["efficiency"] / 5.0 + cold) * 1000, 100.0, "mA")
    vdda = 2 * parts["U6"]["amps"] / 2 + parts["U7"]["amps"] + parts["U9"]["amps_vdda"]
    yield Result("U8: load on VDDA", vdda * 1000, DERATING * parts["U8"]["amps_out"] * 1000, "mA")
    legs = (parts["U5"]["volts"] / 2 + 1.0) / parts["R12"].value
    yield Result(
        "R12: power at the rail",
        legs**2 * parts["R12"].value * 1000,
        DERATING * parts["R12"]["watts"] * 1000,
        "mW",
    )


@dataclass(frozen=True, slots=True)
class Surge:
    """One impulse at the crest of the mains: what the fuse, the resistors and the varistor see."""

    peak_amps: float
    i2t: float
    varistor_joules: float


def surge(parts: Parts, impulse_v: float) -> Surge:
    """An impulse between L and N.

    With resistance the current follows the 1.2/50 us voltage down to the varistor's; without, the generator
    gives its 8/20 us current. For the current the varistor has its lowest voltage, for its energy the
    highest.
    """
    volts = impulse_v + CATEGORY_V * math.sqrt(2)
    ohms = SOURCE_OHMS + series_ohms(parts)
    clamp = parts["RV1"]["least_volts"]
    peak = (volts - clamp) / ohms
    x = clamp / volts
    end = DECAY_S * math.log(1 / x)
    squares = (
        volts**2 * DECAY_S * (1 - x * x) / 2 - 2 * volts * clamp * DECAY_S * (1 - x) + clamp**2 * end
    ) / ohms**2
    charge = (volts * DECAY_S * (1 - x) - clamp * end) / ohms
    if series_ohms(parts) < 5 * SOURCE_OHMS:
        squares, charge = peak**2 * SHORT_8_20_S, peak * 20e-6
    return Surge(peak, squares, charge * parts["RV1"]["clamp_volts"])


def melting_i2t(fuse: Part) -> float:
    """The least that opens it: ten times its current, for the shortest time that its data sheet allows."""
    return (10 * fuse["amps"]) ** 2 * fuse["shortest_s_at_1000"]


def opening_s(fuse: Part, amps: float) -> float:
    """The longest time to open, between the points of its data sheet; for ever below 210 %."""
    share = 100 * amps / fuse["amps"]
    points = [(at, fuse[f"longest_s_at_{at}"]) for at in (210, 400, 1000)]
    if share < points[0][0]:
        return math.inf
    for (low, slow), (high, fast) in pairwise(points):
        if share <= high:
            return slow * (share / low) ** (math.log(fast / slow) / math.log(high / low))
    return points[-1][1]


def surges(parts: Parts) -> Iterator[Result]:
    fuse, varistor, resistor = parts["F1"], parts["RV1"], parts["RS1"]
    for name, impulse in IMPULSE_V.items():
        found = surge(parts, impulse)
        pulses = 10_000 if name == FREQUENT_SURGES else 1
        yield Result(
            f"F1: I2t of an impulse, {name}, {pulses:,} times",
            found.i2t * 1000,
            PULSE_SHARE[pulses] * melting_i2t(fuse) * 1000,
            "mA2s",
        )
        yield Result(f"RV1: current, {name}", found.peak_amps, varistor["clamp_amps"], "A")
        yield Result(f"RV1: energy, {name}", found.varistor_joules, 0.1 * varistor["joules"], "J")
        yield Result(
            f"RS1: energy, {name}",
            found.i2t * resistor.value,
            0.1 * resistor["overload_watts"] * resistor["overload_s"],
            "J",
        )
    at_input = varistor["clamp_volts"] / ratio(parts)
    yield Result("U1: input while the varistor clamps", at_input, parts["U1"]["most_volts"], "V")
    each = varistor["clamp_volts"] * parts["R1"].value / (ratio(parts) * parts["R5"].value)
    yield Result("R1: volts while the varistor clamps", each, parts["R1"]["volts"], "V")
    worst = IMPULSE_V["CAT III 300 V"] + CATEGORY_V * math.sqrt(2)
    through = worst / sum(parts[ref].value for ref in ("R1", "R2", "R3", "R4"))
    yield Result(
        "U1: current with the varistor gone, CAT III", through * 1000, parts["U1"]["most_amps"] * 1000, "mA"
    )
    yield from shorted_varistor(parts)


def shorted_varistor(parts: Parts) -> Iterator[Result]:
    """A worn varistor conducts: the fuse has to open before a resistor burns, and can break what there is."""
    fuse, resistor = parts["F1"], parts["RS1"]
    ohms = series_ohms(parts)
    amps = (
        LOW_LINE_SHARE * DECLARED_V / ohms if ohms else math.inf
    )  # the less current, the more energy before it opens
    seconds = opening_s(fuse, amps)
    yield Result("F1: longest time to open, varistor shorted", seconds, 5.0, "s")
    yield Result(
        "RS1: energy until then",
        amps**2 * resistor.value * seconds,
        resistor["overload_watts"] * resistor["overload_s"],
        "J",
    )
    yield Result("F1: volts", DECLARED_V, fuse["volts_rms"], "V")
    most = DECLARED_V / ohms if ohms else math.inf
    yield Result("F1: breaks a shorted varistor", most, fuse["breaking_amps"], "A")


def clearances(parts: Parts) -> Iterator[Result]:
    with (HERE / "clearances.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        least = max(float(row["least_clearance_mm"]), float(row["least_creepage_mm"]))
        what = f"{row['where']}, {row['insulation']}, {row['category']}"
        yield Result(what, float(row["drawn_mm"]), least, "mm", False)
    pads = max(float(row["drawn_mm"]) for row in rows if row["where"] == "L to N before the fuse")
    yield Result("J1: between the pads of L and N", parts["J1"]["pitch_mm"] - PAD_MM, pads, "mm", False)
    reinforced = [row for row in rows if row["insulation"] == "reinforced"]
    for ref in ("U1", "U2"):
        part = parts[ref]
        for figure in ("clearance", "creepage"):
            least = max(float(row[f"least_{figure}_mm"]) for row in reinforced)
            yield Result(f"{ref}: {figure} of the package", part[f"{figure}_mm"], least, "mm", False)
        yield Result(f"{ref}: working voltage", part["working_volts_rms"], CATEGORY_V, "V", False)
        # reinforced insulation withstands 160 % of the impulse of basic insulation (IEC 60664-1, 5.1.6)
        yield Result(f"{ref}: impulse", part["impulse_volts"], 1.6 * IMPULSE_V["CAT III 300 V"], "V", False)
        yield Result(f"{ref}: reinforced", part["reinforced"], 1, "", False)


def clock(parts: Parts) -> Iterator[Result]:
    """The oscillator's levels at OSC_IN (DS8626, high-speed external user clock)."""
    oscillator, chip = parts["Y1"], parts["U9"]
    yield Result("Y1: high level, share of VDD", oscillator["high_share"], chip["high_share"], "", False)
    yield Result("Y1: low level, share of VDD", oscillator["low_share"], chip["low_share"], "")
    yield Result("Y1: rise", oscillator["rise_s"] * 1e9, chip["rise_s"] * 1e9, "ns")
    yield Result("Y1: slope over temperature", oscillator["ppm_per_k"], 0.1, "ppm/K")


def load_w(parts: Parts, power: Parts, chip_amps: float) -> float:
    """Watts that the Box takes from its 5 V: the front end, and by U12 and U8 what has 3.3 V."""
    five_v = power["U11"]["volts"]
    hot = parts["U1"]["hot_amps"] * parts["U2"]["volts_out"] / parts["U2"]["efficiency"] / five_v
    five = hot + parts["U1"]["cold_amps"] + sum(parts[ref]["amps"] for ref in ("U3", "U4", "U5", "U6", "U7"))
    lamps = sum((power["U12"]["volts"] - parts[d]["volts"]) / parts["R51"].value for d in ("D1", "D2", "D3"))
    three = chip_amps + parts["U9"]["amps_vdda"] + parts["Y1"]["amps"] + lamps
    return (five + three + power["GPS1"]["amps"]) * five_v


def cell_amps(power: Parts, watts: float) -> float:
    """Amperes from the cell at its nominal voltage, for so many watts of the boost converter's output."""
    return watts / power["U11"]["efficiency"] / power["BT1"]["volts"]


def supply(parts: Parts, power: Parts = POWER) -> Iterator[Result]:
    """Charge, current by mode and hours on the cell; the chip's currents are upper ones."""
    cell, charger, boost = power["BT1"], power["U10"], power["U11"]
    watts = {mode: load_w(parts, power, parts["U9"][f"amps_{mode}"]) for mode in ("run", "sleep")}
    amps = {mode: cell_amps(power, found) for mode, found in watts.items()}
    yield Result("5 V while it samples", watts["run"] / boost["volts"] * 1000, 300.0, "mA")
    yield Result("5 V while it waits for its supply", watts["sleep"] / boost["volts"] * 1000, 300.0, "mA")
    chip = parts["U9"]["amps_run"] + parts["Y1"]["amps"]
    yield Result("U12: load on 3.3 V", chip * 1000, DERATING * power["U12"]["amps_out"] * 1000, "mA")
    yield Result("BT1: current while it samples", amps["run"] * 1000, cell["discharge_amps"] * 100, "mA")
    hours = cell["amp_hours"] * USABLE_SHARE / amps["run"]
    yield Result("BT1: hours until battery_low_v while it samples", hours, LEAST_HOURS, "h", False)
    rest = cell["amp_hours"] * (1 - USABLE_SHARE) / amps["sleep"]
    yield Result("BT1: hours from then until it is empty", rest, 0.5, "h", False)
    ohms = cell["ohms"] + power["U13"]["ohms"] + charger["ohms"]
    yield Result("BT1: volts lost before the boost converter", amps["run"] * ohms, 0.2, "V")
    charge = charger["program_volts"] / power["R61"].value
    yield Result("BT1: charge current", charge, DERATING * cell["charge_amps"], "A")
    most = charger["volts"] * (1 + charger["volts_error"])
    yield Result("BT1: charge voltage", most, cell["charge_volts"], "V")
    yield Result("BT1: hours to charge, at constant current alone", cell["amp_hours"] / charge, 8.0, "h")
    total = charge + charger["amps_charging"] + watts["run"] / boost["efficiency"] / ADAPTER_LOW_V
    yield Result("U10: current while it charges and samples", total, charger["amps_in"], "A")
    yield Result("J7: current while it charges and samples", total, DERATING * power["J7"]["amps"], "A")
    yield Result("J8: current of the cell", charge, DERATING * power["J8"]["amps"], "A")
    start = charger["volts"] + charger["start_volts"]
    yield Result("U10: starts at an adapter's least", start, ADAPTER_LOW_V, "V")
    yield Result("U13: opens at", power["U13"]["least_volts"], cell["least_volts"], "V", False)
    yield Result("GPS1: PPS at the chip's pin", power["GPS1"]["pulse_volts"], 3.6, "V")


CHECKS = (ranges, drift, bandwidth, noise, power, surges, clearances, clock, supply)


def results(parts: Parts) -> dict[str, list[Result]]:
    return {check.__name__: list(check(parts)) for check in CHECKS}


def main() -> int:
    found = results(read_bom())
    for name, rows in found.items():
        print(f"\n{name}")
        for row in rows:
            sign, word = ("<=" if row.at_most else ">="), ("" if row.kept else "  DOES NOT FIT")
            print(f"  {row.what:<64} {row.figure:>10.4g} {sign} {row.limit:<8.4g} {row.unit}{word}")
    bad = sum(not row.kept for rows in found.values() for row in rows)
    print(f"\n{sum(map(len, found.values()))} figures, {bad} beyond their limits")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
