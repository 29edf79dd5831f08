"""Golden signals of the mains and what a Box has to say of them; `make.py` writes them.

A signal is a sum of tones whose phase is counted in 2^-32 turns per sample, so that every platform makes
the same one (to one count, by the rounding of its sine). The answers come from the amplitudes in closed
form; Urms(1/2) around a step by integrating the closed form over each cycle; the transient by the formula of
its filter. No code of the project is used.
"""

import math
from dataclasses import dataclass, field

RATE_HZ = 12_000
V_PER_LSB = 0.01
HYSTERESIS_PU = 0.02
LIMITS_PU = {1: 0.9, 2: 1.1, 3: 0.1}  # dip, swell, interruption
CROSSING_SAMPLES = 20  # where the edges are predicted across a step; a half cycle is 100
DSP_SOURCE = (
    "amplitudes in closed form; IEC 61000-4-30:2015 5.1, 5.2, 5.4; IEC 61000-4-7:2002 3.3.3 (subgroups)"
)


@dataclass(frozen=True)
class Tone:
    """amplitude_lsb x sin(2 pi (phase + step k) / 2^32) of samples begin .. end (0: to the last)."""

    hz: float
    amplitude_lsb: float
    phase_turns: float = 0.0
    begin: int = 0
    end: int = 0

    @property
    def step_q32(self) -> int:
        return round(self.hz / RATE_HZ * 2**32)

    @property
    def exact_hz(self) -> float:
        return self.step_q32 * RATE_HZ / 2**32


@dataclass(frozen=True)
class Signal:
    what: str
    tones: tuple[Tone, ...]
    nominal_hz: int = 60
    nominal_v: int = 120
    samples: int = 14_400
    dc_lsb: int = 0
    scales: tuple[tuple[int, int, int], ...] = ()  # begin, end, permille of all tones
    clip_lsb: int = 32767
    gap: tuple[int, int] | None = None  # at this sample, so many are missing
    settled: int = 0  # windows that begin before are not held to anything
    until: int = 0  # nor those that end behind (0: no limit)
    burst: bool = False  # the last tone is one; held to the transient and the frequency alone
    no_windows: bool = False
    expect: dict[str, tuple[float, float]] = field(default_factory=dict)  # beyond the closed forms


def fundamental(hz: float, amplitude_lsb: float = 16970.0, phase_turns: float = 0.1) -> Tone:
    return Tone(hz, amplitude_lsb, phase_turns)


def harmonics(hz: float, shares: dict[int, float]) -> tuple[Tone, ...]:
    base = fundamental(hz)
    tones = [base]
    for order, share in shares.items():
        exact = base.step_q32 * order * RATE_HZ / 2**32  # an exact multiple
        tones.append(Tone(exact, round(base.amplitude_lsb * share, 3), (0.37 * order) % 1.0))
    return tuple(tones)


LIMIT_SHARES = {3: 0.05, 5: 0.06, 7: 0.05, 9: 0.015, 11: 0.035, 13: 0.03, 17: 0.02, 25: 0.015, 49: 0.005}
FLAT = {5: 0.0199, 3: 0.0198, 9: 0.008, 7: 0.005}

SIGNALS = {
    "pure_60": Signal("120 V, 60 Hz, nothing else", (fundamental(60.0),)),
    "pure_50": Signal(
        "230 V, 50 Hz, nothing else", (fundamental(50.0, 32527.0),), nominal_hz=50, nominal_v=230
    ),
    "slow_60": Signal("the lower end of class A at 60 Hz", harmonics(51.0, FLAT)),
    "fast_60": Signal("the upper end of class A at 60 Hz", harmonics(69.0, FLAT)),
    "slow_50": Signal("the lower end of class A at 50 Hz", harmonics(42.5, FLAT), nominal_hz=50),
    "fast_50": Signal("the upper end of class A at 50 Hz", harmonics(57.5, FLAT), nominal_hz=50),
    "distorted": Signal("harmonics at the limits of EN 50160, off nominal", harmonics(59.93, LIMIT_SHARES)),
    "highest_order": Signal("order 50 alone, 2 %", harmonics(60.0, {50: 0.02})),
    "beside_the_fifth": Signal(
        "305 Hz, 5 Hz beside the fifth: in its subgroup, so it counts",
        (fundamental(60.0), Tone(305.0, 848.5, 0.2)),
        expect={"thd": (0.05, 0.0005)},
    ),
    "offset": Signal("1 % of the range of DC", harmonics(60.0, FLAT), dc_lsb=328),
    "ringing": Signal(
        "a 1,250 Hz burst of 50 V for 10 ms, whole half waves, in the third window",
        (fundamental(60.0), Tone(1250.0, 5000.0, 0.0, 6000, 6120)),
        settled=4000,
        until=8000,
        expect={"f_hz": (60.0, 0.02)},
        burst=True,
    ),
    "dip": Signal("to 70 % for ten cycles", (fundamental(60.0),), scales=((6037, 8037, 700),), settled=9000),
    "swell": Signal(
        "to 120 % for five cycles", (fundamental(60.0),), scales=((6090, 7090, 1200),), settled=9000
    ),
    "interruption": Signal(
        "nothing at all for 30 cycles",
        (fundamental(60.0),),
        samples=24_000,
        scales=((6011, 12011, 0),),
        settled=14_400,
    ),
    "no_mains": Signal(
        "no fundamental, only 50 counts elsewhere", (Tone(211.0, 40.0), Tone(1777.0, 30.0)), no_windows=True
    ),
    "clipped": Signal(
        "peaks cut at 85 %", (fundamental(60.0),), clip_lsb=14424, expect={"f_hz": (60.0, 0.0002)}
    ),
    "gap": Signal("37 samples missing", (fundamental(59.97),), gap=(7000, 37)),
}


def cut_sine(share: float) -> tuple[float, float]:
    """(rms, THD by orders 2 .. 50) of a sine of amplitude 1 cut at `share`; 2^16 samples of one cycle."""
    count = 1 << 16
    wave = [max(-share, min(share, math.sin(2 * math.pi * k / count))) for k in range(count)]
    rms = math.sqrt(sum(x * x for x in wave) / count)
    orders = []
    for order in range(1, 51, 2):  # half-wave symmetry: odd sines only
        orders.append(
            2 / count * sum(x * math.sin(2 * math.pi * order * k / count) for k, x in enumerate(wave))
        )
    return rms, math.sqrt(sum(b * b for b in orders[1:])) / orders[0]


def bessel_i0(x: float) -> float:
    term = total = 1.0
    for k in range(1, 40):
        term *= (x / 2 / k) ** 2
        total += term
    return total


def high_passed_peak_v(tone: Tone) -> float:
    """A burst's peak after 125 taps of 400 Hz, Kaiser window of beta 5.65; the fundamental leaves 0.16 V."""
    middle, cutoff = 62, 400 / RATE_HZ
    low = []
    for k in range(-middle, middle + 1):
        sinc = 1.0 if k == 0 else math.sin(2 * math.pi * cutoff * k) / (2 * math.pi * cutoff * k)
        low.append(sinc * bessel_i0(5.65 * math.sqrt(1 - (k / middle) ** 2)))
    taps = [-x / sum(low) for x in low]
    taps[middle] += 1.0
    burst = [
        tone.amplitude_lsb * math.sin(2 * math.pi * (tone.phase_turns + tone.exact_hz / RATE_HZ * k))
        for k in range(tone.begin, tone.end)
    ]
    around = [0.0] * 2 * middle + burst + [0.0] * 2 * middle
    peaks = (
        abs(sum(a * b for a, b in zip(taps, around[at : at + len(taps)], strict=True)))
        for at in range(len(around) - 2 * middle)
    )
    return max(peaks) * V_PER_LSB


def closed_form(signal: Signal) -> dict[str, tuple[float, float]]:
    """Quantity -> (value, tolerance) that every settled window has to show."""
    base, *others = [tone for tone in signal.tones if tone.end == 0]
    square = sum(tone.amplitude_lsb**2 for tone in (base, *others)) / 2 + signal.dc_lsb**2
    thd = math.sqrt(sum(tone.amplitude_lsb**2 for tone in others)) / base.amplitude_lsb
    found = {
        "rms_v": (math.sqrt(square) * V_PER_LSB, 2e-5 * math.sqrt(square) * V_PER_LSB),
        "f_hz": (base.exact_hz, 1e-4),
        "thd": (thd, 3e-4),
    }
    if signal.clip_lsb < base.amplitude_lsb:
        rms, thd = cut_sine(signal.clip_lsb / base.amplitude_lsb)
        found["rms_v"] = (rms * base.amplitude_lsb * V_PER_LSB, 1e-4 * base.amplitude_lsb * V_PER_LSB)
        found["thd"] = (thd, 5e-4)
    found |= signal.expect
    if signal.burst:
        found = {"f_hz": found["f_hz"], "trans_v": (high_passed_peak_v(signal.tones[-1]), 0.3)}
    return {} if signal.no_windows else found


def half_cycle_rms_pu(signal: Signal) -> list[tuple[float, float]]:
    """(begin in samples, Urms(1/2) as a share of nominal) of each cycle between the true zero crossings."""
    [base] = signal.tones
    half = RATE_HZ / base.exact_hz / 2
    first = -base.phase_turns % 0.5 * 2 * half
    found = []
    begin = first
    while begin + 2 * half <= signal.samples:
        steps = 4000
        total = 0.0
        for step in range(steps):
            at = begin + (step + 0.5) * 2 * half / steps
            scale = next((s / 1000 for a, b, s in signal.scales if a - 0.5 <= at < b - 0.5), 1.0)
            turns = base.phase_turns + base.exact_hz / RATE_HZ * at
            total += (scale * base.amplitude_lsb * V_PER_LSB * math.sin(2 * math.pi * turns)) ** 2
        found.append((begin, math.sqrt(total / steps) / signal.nominal_v))
        begin += half
    return found


def crossings(signal: Signal) -> list[tuple[int, bool, float]]:
    """(kind, entering, first sample of the cycle) in order of time."""
    beyond: set[int] = set()
    found = []
    for begin, share in half_cycle_rms_pu(signal):
        for kind, limit in LIMITS_PU.items():
            past = (share - limit) * (1 if kind == 2 else -1)
            if kind not in beyond and past > 0:
                beyond.add(kind)
                found.append((kind, True, begin))
            elif kind in beyond and past <= -HYSTERESIS_PU:
                beyond.discard(kind)
                found.append((kind, False, begin))
    return found


def dsp_case(name: str) -> str:
    signal = SIGNALS[name]
    lines = [
        f"# source: {DSP_SOURCE}",
        "# tolerance: behind each value",
        f"case {name}",
        f"what {signal.what}",
    ]
    lines += [f"rate_hz {RATE_HZ}", f"nominal_hz {signal.nominal_hz}", f"nominal_v {signal.nominal_v}"]
    lines += [f"v_per_lsb {V_PER_LSB}", f"samples {signal.samples}", f"dc_lsb {signal.dc_lsb}"]
    lines += [
        f"limits_pu {LIMITS_PU[1]} {LIMITS_PU[2]} {LIMITS_PU[3]} {HYSTERESIS_PU}",
        f"clip_lsb {signal.clip_lsb}",
    ]
    for tone in signal.tones:
        phase = round(tone.phase_turns * 2**32) % 2**32
        end = tone.end or signal.samples
        lines.append(f"tone {tone.step_q32} {phase} {tone.amplitude_lsb!r} {tone.begin} {end}")
    lines += [f"scale {begin} {end} {permille}" for begin, end, permille in signal.scales]
    if signal.gap:
        lines.append(f"gap {signal.gap[0]} {signal.gap[1]}")
    lines.append(f"settled {signal.settled} {signal.until or signal.samples}")
    for key, (value, tolerance) in closed_form(signal).items():
        lines.append(f"window {key} {value:.9g} {tolerance:.3g}")
    if signal.no_windows:
        lines.append("windows 0")
    for kind, entering, begin in crossings(signal) if signal.scales else []:
        lines.append(f"crossing {kind} {int(entering)} {round(begin)} {CROSSING_SAMPLES}")
    return "\n".join(lines) + "\n"
