"""Signals of other makers: the integral model of power quality disturbances, and `pypqd`.

The integral model has 29 classes. Its equations and ranges are those of Igual, Medrano, Arcega and Mantescu,
"Integral mathematical model of power quality disturbances", ICHQP 2018 (doi 10.1109/ICHQP.2018.8378902);
nothing is copied from their program. `pypqd` (GPL) makes its own signals where it is installed.

Both name a signal by the equation that made it. A standard names it by what is measured. `standard_label` is
that name, from the parts before they are added and by arithmetic of this file. Where the two names differ,
or a figure is at its limit, the signal is set apart with the reason.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RATE_HZ = 12_000.0
NOMINAL_V = {50: 230.0, 60: 120.0}
MODEL: dict[str, tuple[str, ...]] = {
    "pure": (),
    "sag": ("sag",),
    "swell": ("swell",),
    "interruption": ("interruption",),
    "spike": ("spike",),
    "ringing": ("ringing",),
    "harmonics": ("harmonics",),
    "harmonics with sag": ("harmonics", "sag"),
    "harmonics with swell": ("harmonics", "swell"),
    "flicker": ("flicker",),
    "flicker with sag": ("flicker", "sag"),
    "flicker with swell": ("flicker", "swell"),
    "sag with ringing": ("sag", "ringing in it"),
    "swell with ringing": ("swell", "ringing in it"),
    "sag with harmonics": ("sag", "harmonics in it"),
    "swell with harmonics": ("swell", "harmonics in it"),
    "notch": ("notch",),
    "harmonics with sag with flicker": ("harmonics", "sag", "flicker"),
    "harmonics with swell with flicker": ("harmonics", "swell", "flicker"),
    "sag with harmonics with flicker": ("sag", "harmonics in it", "flicker in it"),
    "swell with harmonics with flicker": ("swell", "harmonics in it", "flicker in it"),
    "sag with harmonics with ringing": ("sag", "harmonics in it", "ringing in it"),
    "swell with harmonics with ringing": ("swell", "harmonics in it", "ringing in it"),
    "harmonics with sag with ringing": ("harmonics", "sag", "ringing"),
    "harmonics with swell with ringing": ("harmonics", "swell", "ringing"),
    "harmonics with sag with flicker with ringing": ("harmonics", "sag", "flicker", "ringing"),
    "harmonics with swell with flicker with ringing": ("harmonics", "swell", "flicker", "ringing"),
    "sag with harmonics with flicker with ringing": (
        *("sag", "harmonics in it", "flicker in it", "ringing in it"),
    ),
    "swell with harmonics with flicker with ringing": (
        *("swell", "harmonics in it", "flicker in it", "ringing in it"),
    ),
}
"""The 29 classes in the order of the paper -> their parts; "in it": the level alone has it."""
KINDS = {
    "ringing": "oscillatory_transient",
    "ringing in it": "oscillatory_transient",
    "spike": "impulsive_transient",
    "notch": "periodic_notching",
    "harmonics in it": "harmonics",
    "flicker in it": "flicker",
}
"""Part -> the class that its name means, where that is another word."""
PYPQD = {
    "normal": (),
    "sag": ("sag",),
    "interruption": ("interruption",),
    "swell": ("swell",),
    "fluctuation": ("flicker",),
    "harmonics": ("harmonics",),
    "notch": ("notch at random",),
    "impulsive": ("spike",),
    "oscillatory": ("ringing",),
}
AT_LIMIT = 2.0
"""Percent of nominal: an rms this near to the limit of a level is on either side of it by small things."""
THD_PERCENT = (7.0, 9.0)
"""Around the limit of 8 %."""
LEAST_PEAK_PU = 0.1
"""A spike below twice the limit of 5 % is at the limit: it has its peak for one sample only."""
LEAST_HALF_WAVES = 3.0
LEAST_DC = 0.012
"""Direct voltage over the rms: the limit is 1.5 %."""
LEAST_SWINGS = 3.0
"""Swings that are seen in one stretch outside of levels; what swings less is a change, not a fluctuation."""


@dataclass(frozen=True, slots=True)
class ForeignSignal:
    """`apart` is None for a fair signal, otherwise why the name of its maker is not that of a standard."""

    name: str
    label: str
    """By the standard, parts joined by `+`."""
    apart: str | None
    volts: Floats
    rate_hz: float
    nominal_v: float
    nominal_hz: float


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a signal in per unit, before they are added; `within` marks the samples of its level."""

    clean: Floats
    within: NDArray[np.bool_]
    thd_percent: float = 0.0
    spike_pu: float = 0.0
    swing_hz: float = 0.0
    ring_half_waves: float = math.inf
    is_notch_turned: bool = False


def model_signal(name: str, hz: int, cycles: int, index: int, snr_db: float) -> ForeignSignal:
    """One signal of the integral model, as long as so many cycles."""
    key = [list(MODEL).index(name), hz, cycles, index]
    rng = np.random.default_rng([2018, *key])
    parts = _model_parts(MODEL[name], rng, hz, cycles)
    return finished(name, MODEL[name], parts, rng, RATE_HZ, hz, snr_db)


def pypqd_signal(
    make: Callable[..., list[dict[str, object]]], name: str, hz: int, cycles: int, index: int, snr_db: float
) -> ForeignSignal:
    """One signal of `pypqd`; `make` is its function of this name.

    What it drew is in its answer, but for the sizes of harmonics and the places of levels, which are found
    in its samples.
    """
    key = [3200, list(PYPQD).index(name), hz, cycles, index]
    rng = np.random.default_rng(key)
    np.random.seed(int(rng.integers(1 << 31)))  # it draws from the generator of NumPy that all share
    seconds = cycles / hz
    nodes = int(seconds * RATE_HZ)
    (made,) = make(fundamental_freq=hz, signal_duration=seconds, sampling_freq=RATE_HZ)
    clean = np.asarray(made["Values"], dtype=np.float64)
    rate_hz = (nodes - 1) / seconds  # its time axis has both ends
    t_s = np.arange(nodes) / rate_hz
    peak, angle = (float(np.asarray(made[each])) for each in ("Amplitude", "Phase angle"))
    bare = peak * np.sin(2 * np.pi * hz * t_s - angle)
    within = np.zeros(nodes, dtype=np.bool_)
    thd_percent = spike_pu = swing_hz = 0.0
    if name in ("sag", "swell", "interruption"):
        differs = np.flatnonzero(np.abs(clean - bare) > 1e-9)
        within[differs[0] : differs[-1] + 1] = True
    elif name == "harmonics":
        lines = np.abs(np.fft.rfft(np.interp(np.arange(cycles * 64) / (64 * hz), t_s, clean)))[::cycles]
        thd_percent = 100 * float(np.sqrt(np.sum(lines[2:9] ** 2)) / lines[1])
    elif name == "impulsive":
        spike_pu = float(np.abs(clean - bare).max())
    elif name == "fluctuation":
        swing_hz = float(np.asarray(made["Fluctuation frequency"]))
    parts = Parts(clean, within, thd_percent, spike_pu, swing_hz)
    return finished(name, PYPQD[name], parts, rng, rate_hz, hz, snr_db)


def _model_parts(names: tuple[str, ...], rng: np.random.Generator, hz: int, cycles: int) -> Parts:
    count, cycle = round(cycles / hz * RATE_HZ), RATE_HZ / hz
    t_s = np.arange(count) / RATE_HZ
    angle = 2 * np.pi * hz * t_s - rng.uniform(-np.pi, np.pi)
    level, swing, harmonics = np.zeros(count), np.zeros(count), np.zeros(count)
    thd_percent = swing_hz = spike_pu = 0.0
    if names and {"sag", "swell", "interruption"} & set(names):
        length = round(rng.uniform(1, cycles - 1) * cycle)
        first = int(rng.integers(0, count - length + 1))
        size = {"sag": (-0.9, -0.1), "swell": (0.1, 0.8), "interruption": (-1.0, -0.9)}
        kind = next(each for each in names if each in size)
        level[first : first + length] = rng.uniform(*size[kind])
    within = level != 0
    if any(each.startswith("harmonics") for each in names):
        orders = (3, 5, 7) if names == ("harmonics",) else (3, 5)
        shares = rng.uniform(0.05, 0.15, len(orders))
        for order, share in zip(orders, shares, strict=True):
            harmonics += share * np.sin(order * 2 * np.pi * hz * t_s - rng.uniform(-np.pi, np.pi))
        thd_percent = 100 * math.hypot(*shares)
    if any(each.startswith("flicker") for each in names):
        swing_hz = rng.uniform(8, 25)
        swing = rng.uniform(0.05, 0.1) * np.sin(2 * np.pi * swing_hz * t_s)
    rings, half_waves, is_turned = np.zeros(count), math.inf, False
    if any(each.startswith("ringing") for each in names):
        if "ringing in it" in names:
            inside = np.flatnonzero(within)
            fifth = round(cycle / 5)
            length = round(rng.uniform(fifth, len(inside)))
            first = int(inside[0]) + round(rng.uniform(0, len(inside) - length))
        else:
            length = round(rng.uniform(0.5, cycles / 3.33) * cycle)
            first = int(rng.integers(0, count - length + 1))
        after_s = t_s[first : first + length] - first / RATE_HZ
        size, decay_s, ring_hz = rng.uniform(0.1, 0.8), rng.uniform(0.008, 0.04), rng.uniform(300, 900)
        ring = np.sin(2 * np.pi * ring_hz * after_s - rng.uniform(-np.pi, np.pi))
        half_waves = 2 * ring_hz * min(length / RATE_HZ, decay_s * math.log(5))
        rings[first : first + length] = size * np.exp(-after_s / decay_s) * ring
    wave = np.sin(angle)
    if "harmonics in it" in names:
        clean = wave + (wave + harmonics) * level * (1 + swing) + rings * (1 + swing)
    elif names[:1] == ("flicker",):
        clean = wave * (1 + level + swing)
    else:
        clean = ((wave + harmonics) * (1 + level) + rings) * (1 + swing)
    if "spike" in names:
        first, length = round(rng.uniform(1, cycles - 1) * cycle), round(0.001 * RATE_HZ)
        after_s = np.arange(length) / RATE_HZ
        spike = rng.uniform(0.222, 1.11) * (np.exp(-750 * after_s) - np.exp(-344 * after_s))
        clean[first : first + length] -= spike
        spike_pu = float(np.abs(spike).max())
    if "notch" in names:
        per_cycle = int(rng.choice([1, 2, 4, 6]))
        width, depth = rng.uniform(0.01, 0.05), rng.uniform(0.1, 0.4)
        begin = rng.uniform(0, 1 / per_cycle - width)
        turned = np.mod(hz * t_s - begin, 1 / per_cycle)
        clean = clean - np.where(turned < width, depth * np.sign(wave), 0.0)
        is_turned = bool(np.any((turned[1:] < width) & (wave[1:] * wave[:-1] < 0)))
    return Parts(clean, within, thd_percent, spike_pu, swing_hz, half_waves, is_turned)


def finished(
    name: str,
    names: tuple[str, ...],
    parts: Parts,
    rng: np.random.Generator,
    rate_hz: float,
    hz: int,
    snr_db: float,
) -> ForeignSignal:
    label, apart = standard_label(names, parts, rate_hz, hz)
    noise = 10 ** (-snr_db / 20) * rng.standard_normal(len(parts.clean))
    volts = NOMINAL_V[hz] * (math.sqrt(2) * parts.clean + noise)
    return ForeignSignal(name, label, apart, volts, rate_hz, NOMINAL_V[hz], float(hz))


def standard_label(names: tuple[str, ...], parts: Parts, rate_hz: float, hz: int) -> tuple[str, str | None]:
    """The class by the standards, and why the signal is set apart, or None."""
    meant = {KINDS.get(each, each) for each in names} - {"notch at random"}
    rms = _sliding_rms(parts.clean, rate_hz / hz)
    kinds, why = _levels(rms, rate_hz / hz)
    kinds |= meant - {"sag", "swell", "interruption"}
    if "harmonics in it" in names:
        kinds -= {"harmonics", "flicker"}
        why = "harmonics and flicker in a level only (61000-4-30, 4.7: its windows are flagged)"
    if "notch at random" in names:
        kinds, why = kinds or {"none"}, "notches at other angles in each cycle (IEEE 1159, 4.5.4: periodic)"
    elif why is None and kinds != meant:
        why = "its Urms(1/2) makes another level (61000-4-30, 5.4)"
    if "harmonics" in kinds and parts.thd_percent < THD_PERCENT[1]:
        why = why or "THD at its limit (7 to 9 %)"
    if "oscillatory_transient" in kinds and parts.ring_half_waves < LEAST_HALF_WAVES:
        why = why or "a ringing of fewer than three half waves (IEEE 1159, 4.2: unidirectional)"
    if names == ("notch",) and abs(parts.clean.mean()) * math.sqrt(2) > LEAST_DC:
        why = why or "its notches have direct voltage"
    if parts.is_notch_turned:
        why = why or "a notch that turns with the voltage's sign (IEEE 519: the line is short-circuited)"
    if "spike" in names and parts.spike_pu < LEAST_PEAK_PU:
        why = why or "spike at its limit (less than 10 % of the peak)"
    if "flicker" in kinds and _swings(parts, parts.within, rate_hz) < LEAST_SWINGS:
        why = why or "fewer than three swings outside of levels (61000-4-15)"
    if "flicker" in kinds and _swings(parts, _beyond(parts, rms), rate_hz) < LEAST_SWINGS:
        why = why or "its swings are levels themselves, beyond 90 or 110 % (61000-4-30, 4.7: flagged)"
    return "+".join(sorted(kinds)) or "none", why


def _sliding_rms(clean: Floats, cycle: float) -> Floats:
    """The rms, in per unit, of the cycle from each sample on."""
    power = np.concatenate(([0.0], np.cumsum(clean * clean)))
    at = np.arange(0, len(clean) - cycle)
    ends = np.interp(at + cycle, np.arange(len(power)), power)
    return np.asarray(np.sqrt(2 * (ends - power[: len(at)]) / cycle))


def _levels(rms: Floats, cycle: float) -> tuple[set[str], str | None]:
    """Levels by Urms(1/2), whatever the instants at which its half cycles begin."""
    half = round(cycle / 2)
    rows = rms[: len(rms) // half * half].reshape(-1, half)
    lows, highs = 100 * rows.min(axis=0), 100 * rows.max(axis=0)  # of each alignment of the half cycles
    kinds: set[str] = set()
    at_limit = False
    for values, limit, sign in ((lows, 90.0, 1), (highs, 110.0, -1), (lows, 10.0, 1)):
        beyond = sign * (limit - values)
        at_limit = at_limit or bool(beyond.min() < AT_LIMIT and beyond.max() > -AT_LIMIT)
    if lows.max() < 10:
        kinds.add("interruption")
    elif lows.max() < 90:
        kinds.add("sag")
    if highs.min() > 110:
        kinds.add("swell")
    return kinds, "a level at its limit (within 2 % of nominal)" if at_limit else None


def _swings(parts: Parts, level: NDArray[np.bool_], rate_hz: float) -> float:
    """Swings in the longest stretch outside of a level."""
    free = np.concatenate(([0], (~level).astype(np.int8), [0]))
    bounds = np.flatnonzero(np.diff(free))
    longest = max((bounds[1::2] - bounds[::2]).tolist(), default=0)
    return parts.swing_hz * longest / rate_hz


def _beyond(parts: Parts, rms: Floats) -> NDArray[np.bool_]:
    """The samples of its level, and of those that the swings themselves make."""
    level = parts.within.copy()
    cycle = len(level) - len(rms)
    for at in np.flatnonzero((rms < 0.9) | (rms > 1.1)):
        level[at : at + cycle] = True
    return level
