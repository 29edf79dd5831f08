"""Urms(1/2) beside a jump of the phase, against an exact integral over the true zero crossings."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from opq_measure import cycle_starts
from opq_measure.analysis.analyser import analyze
from opq_measure.cycle_starts import cycles_from, urms_half_v, window_urms_v
from opq_measure.events.detector import Detector
from opq_measure.events.disturbance import Disturbance
from opq_measure.signal import FloatArray
from opq_measure.timebase.cycles import half_cycle_edges
from opq_measure.timebase.windows import windows_of

NOMINAL_V = 230.0
CLASS_A_PERCENT = 0.2
"""Uncertainty of Urms(1/2) that class A allows, percent of nominal (IEC 61000-4-30:2015, 5.4.5.1)."""
FINE_HZ = 256_000


@dataclass(frozen=True)
class Dip:
    """A dip or swell from `begin_s` to `end_s` whose phase jumps by `degrees` and back; 3 % of harmonics."""

    hz: float
    level: float
    degrees: float
    begin_s: float = 0.157
    end_s: float = 0.297

    def volts(self, t: FloatArray) -> FloatArray:
        inside = (t >= self.begin_s) & (t < self.end_s)
        turn = 2 * np.pi * self.hz * t + 0.7 + np.where(inside, math.radians(self.degrees), 0.0)
        wave = np.sin(turn) + sum(0.03 * np.sin(order * turn + order) for order in (3, 5, 7))
        return np.asarray(NOMINAL_V * math.sqrt(2) * np.where(inside, self.level, 1.0) * wave)

    def urms_percent(self) -> FloatArray:
        """The exact rms over one period from each zero crossing of the fundamental, before, in and after."""
        t = (np.arange(round(0.5 * FINE_HZ)) + 0.5) / FINE_HZ
        energy = np.concatenate(([0.0], np.cumsum(self.volts(t) ** 2))) / FINE_HZ
        starts: list[float] = []
        for degrees, first, stop in (
            (0.0, 0.02, self.begin_s),
            (self.degrees, self.begin_s, self.end_s),
            (0.0, self.end_s, 0.46),
        ):
            crossings = (np.arange(200) * math.pi - 0.7 - math.radians(degrees)) / (2 * math.pi * self.hz)
            starts += crossings[(crossings >= first) & (crossings < stop)].tolist()
        low, high = np.array(starts), np.array(starts) + 1 / self.hz
        places = np.arange(len(energy)) / FINE_HZ
        mean = (np.interp(high, places, energy) - np.interp(low, places, energy)) * self.hz
        return np.asarray(100 / NOMINAL_V * np.sqrt(mean))


def extreme(percent: FloatArray, level: float) -> float:
    return float(np.nanmin(percent) if level < 1 else np.nanmax(percent))


@pytest.mark.parametrize("hz", [49.5, 60.2])
@pytest.mark.parametrize("degrees", [-90, -62, 25, 48])
@pytest.mark.parametrize(("rate_hz", "level"), [(12_800, 0.8), (25_600, 0.45), (12_800, 1.3)])
def test_extremes_are_exact_beside_a_jump(hz: float, degrees: float, rate_hz: int, level: float) -> None:
    dip = Dip(hz, level, degrees)
    volts = dip.volts(np.arange(round(0.5 * rate_hz)) / rate_hz)
    found = urms_half_v(volts, half_cycle_edges(volts, rate_hz, round(hz, -1)))
    exact = extreme(dip.urms_percent(), level)
    assert abs(extreme(100 / NOMINAL_V * found, level) - exact) < CLASS_A_PERCENT


@pytest.mark.parametrize("degrees", [-80, 55])
def test_analysis_and_detector_have_one_value(degrees: float) -> None:
    dip = Dip(49.8, 0.7, degrees)
    volts = dip.volts(np.arange(6400) / 12_800)
    edges = half_cycle_edges(volts, 12_800, 50.0)
    drawn = extreme(100 / NOMINAL_V * urms_half_v(volts, edges), 0.7)
    detector = Detector(12_800, NOMINAL_V, 50.0)
    notices = detector.push_volts(volts, edges) + detector.end()
    (reported,) = [each.residual_percent for each in notices if isinstance(each, Disturbance)]
    listed = extreme(100 / NOMINAL_V * analyze(volts, 12_800, NOMINAL_V, 50.0).half_rms_v, 0.7)
    assert reported == pytest.approx(drawn, abs=0.05)
    assert listed == pytest.approx(drawn, abs=0.05)


def test_a_short_wave_keeps_the_tracked_edges() -> None:
    """A wave of one cycle has no zero crossings of its own, so its lowest value is that of its level."""
    dip = Dip(50.0, 0.44, 20.0, 0.15, 0.1702)
    volts = dip.volts(np.arange(1600) / 3200)
    found = urms_half_v(volts, half_cycle_edges(volts, 3200, 50.0))
    assert extreme(100 / NOMINAL_V * found, 0.44) == pytest.approx(44.1, abs=1.0)


@pytest.mark.parametrize("kind", ["dead line", "flicker", "dip without a jump"])
def test_without_a_jump_none_is_looked_for(kind: str) -> None:
    """A search costs as much as all other figures of a window, and such mains last."""
    t = np.arange(12_000) / 12_000
    level = {
        "dead line": 0.0 * t,
        "flicker": 1 + 0.03 * np.sign(np.sin(2 * np.pi * 8.8 * t)),
        "dip without a jump": np.where((t > 0.3) & (t < 0.6), 0.5, 1.0),
    }[kind]
    noise = np.random.default_rng(1).normal(0, 0.1, len(t))
    volts = NOMINAL_V * math.sqrt(2) * level * np.sin(2 * np.pi * 50 * t) + noise
    edges = half_cycle_edges(volts, 12_000, 50.0)
    assert not cycles_from(volts, edges, 0, len(edges) - 2)[2].any()


def test_a_jump_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the figures of a window have searched, the detector of the same samples does not search again."""
    searched: list[int] = []
    search = cycle_starts._jumps

    def counted(part: FloatArray, length: float) -> list[float]:
        searched.append(len(part))
        return search(part, length)

    monkeypatch.setattr(cycle_starts, "_jumps", counted)
    rate_hz = 12_800
    volts = Dip(50.0, 0.6, 40.0, 0.557, 0.797).volts(np.arange(rate_hz) / rate_hz)
    detector, seen = Detector(rate_hz, NOMINAL_V, 50.0), 0
    for window in windows_of(volts, rate_hz, 50.0):
        before = len(searched)
        halves = np.append(window.half_edges, window.next_half)
        window_urms_v(window, halves[np.isfinite(halves)])
        seen += len(searched) - before
        detector.push_window(window)
    detector.end()
    assert seen > 10 and len(searched) < 1.5 * seen


@pytest.mark.parametrize("jump_s", [0.22, 0.225, 0.23])
def test_no_cycle_beside_a_jump_leaves_the_samples(jump_s: float) -> None:
    t = np.arange(876) / 3200
    volts = NOMINAL_V * math.sqrt(2) * np.sin(2 * np.pi * 50 * t + np.where(t >= jump_s, np.pi / 2, 0.0))
    edges = half_cycle_edges(volts, 3200, 50.0)
    starts, lengths, beside = cycles_from(volts, edges, 0, len(edges) - 2)
    assert beside.any()
    assert (starts + lengths)[beside].max() <= len(volts)
    assert (starts == edges[:-2])[~beside].all()
