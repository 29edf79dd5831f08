"""`opq-tools sim show F --plot FILE`: draws each cause of a scenario once, at the Box that it affects most.

Short causes are drawn as a waveform, long ones as rms of each cycle, those of the whole system as frequency.
"""

import textwrap
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from opq_proto.errors import ConfigError
from opq_proto.kit.whole_file import whole_file
from opq_sim.power_system.disturbance_terms import HarmonicTerm, ToneTerm
from opq_sim.power_system.outlet_voltage import OutletVoltage
from opq_sim.power_system.power_scenario import PowerScenario, power_system_of
from opq_sim.power_system.power_system import KEEP_S, GridDisturbance, PowerSystem

COLUMNS = 3
INK = "#1f4e79"
"""Colour of voltages and frequency."""
LIMIT = "#888888"
"""Colour of limits."""
WAVE_HZ = 12_000.0
FINE_HZ = 1e6
"""Sampling rate for surges, which a Box's own rate would hardly show."""
SHORT_S = 0.002
"""A shorter disturbance is drawn with FINE_HZ."""
MEDIUM_S = 0.5
"""A shorter disturbance is drawn as a waveform."""
LONGEST_S = 12.0
"""A picture shows no more of a disturbance."""
ON_TOP_S = 0.03
"""Seconds drawn of a disturbance on top of the fundamental: a cycle or two show it."""
TITLE_LETTERS = 52


def save_picture(path: Path, scenario: PowerScenario) -> None:
    """Draws and saves; the file appears whole or not at all.

    Raises:
        ConfigError: nothing happens in the scenario, or the file cannot be written.
    """
    system = power_system_of(scenario)
    found: dict[str, GridDisturbance] = {}

    def keep_first(each: GridDisturbance) -> None:
        found.setdefault(each.cause.name, each)

    system.listen(keep_first)
    system.before(KEEP_S)
    if not found:
        raise ConfigError(
            f"nothing happens in the first {KEEP_S:g} s of this scenario; there is nothing to draw"
        )
    rows = -(-len(found) // COLUMNS)
    figure, places = plt.subplots(
        rows, COLUMNS, figsize=(12, 2.3 * rows), layout="constrained", squeeze=False
    )
    for axes in places.flat[len(found) :]:
        axes.set_axis_off()
    for axes, each in zip(places.flat, found.values(), strict=False):
        _draw(axes, system, each)
    try:
        with whole_file(path) as file:
            figure.savefig(file, format=path.suffix.lstrip(".") or "png", dpi=80)
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from error
    finally:
        plt.close(figure)


def _draw(axes: Axes, system: PowerSystem, found: GridDisturbance) -> None:
    terms = found.solved.terms
    lasting_s = found.solved.end_s - found.start_s
    title = textwrap.fill(found.solved.words, TITLE_LETTERS)
    axes.set_title(title, fontsize="x-small", loc="left")
    axes.tick_params(labelsize="x-small")
    axes.spines[["top", "right"]].set_visible(False)
    if terms.slips and terms.slips[0].outlets.all():
        t_s = found.start_s + np.arange(-5.0, 60.0, 0.05)
        axes.plot(t_s - found.start_s, system.hz(t_s), color=INK, linewidth=0.8)
        axes.set_ylabel("Hz", fontsize="x-small")
        return
    box_id, voltage, begun_s = _most_touched(system, found)
    axes.set_ylabel(f"Box {box_id}, V", fontsize="x-small")
    on_top = bool(terms.added) and all(isinstance(each, ToneTerm | HarmonicTerm) for each in terms.added)
    if on_top and len({each.end_s for each in terms.added}) == 1 and not _decays(found):
        lasting_s = ON_TOP_S
    if lasting_s > MEDIUM_S:
        span_s = min(1.2 * lasting_s + 0.5, LONGEST_S)
        cycle_s = 1 / voltage.nominal_hz
        starts_s = begun_s + np.arange(-0.2 * span_s, span_s, max(cycle_s, span_s / 600))
        turned = voltage.cycles(starts_s + cycle_s) - voltage.cycles(starts_s)  # 1 unless frequencies differ
        inside_s = np.arange(64) / 64 * cycle_s / np.clip(turned, 0.9, 1.1)[:, None]
        volts = voltage.volts((starts_s[:, None] + inside_s).ravel()).reshape(len(starts_s), -1)
        axes.plot(starts_s - begun_s, np.sqrt((volts**2).mean(axis=1)), color=INK, linewidth=0.8)
        for share in (0.9, 1.1):
            axes.axhline(share * voltage.nominal_v, color=LIMIT, linewidth=0.5, linestyle=":")
        return
    short = lasting_s < SHORT_S
    before_s, after_s, rate_hz = (0.0002, 0.0008, FINE_HZ) if short else (0.03, lasting_s + 0.05, WAVE_HZ)
    t_s = begun_s + np.arange(-before_s, min(after_s, MEDIUM_S), 1 / rate_hz)
    scale, unit = (1e3, " ms") if short else (1.0, " s")
    axes.plot(scale * (t_s - begun_s), voltage.volts(t_s), color=INK, linewidth=0.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}{unit}")


def _decays(found: GridDisturbance) -> bool:
    """Whether the disturbance adds an inrush, which rms shows better."""
    return any(
        isinstance(each, HarmonicTerm) and not each.profile.constant for each in found.solved.terms.added
    )


def _most_touched(system: PowerSystem, found: GridDisturbance) -> tuple[str, OutletVoltage, float]:
    """The Box whose voltage differs most from its last cycle before, its voltage, and the start there."""
    chosen, most = next(iter(system.voltages)), -1.0
    span_s = min(max(found.solved.end_s - found.start_s, 0.001), 0.5)
    offsets_s = np.arange(0.0, span_s, 1e-5 if span_s < SHORT_S else 5e-4)
    for index, (box_id, voltage) in enumerate(system.voltages.items()):
        here_s = found.start_s + float(found.solved.terms.delays_s[index]) + offsets_s
        cycles = np.ceil((span_s + 0.01) * voltage.nominal_hz) / voltage.nominal_hz
        off = voltage.volts(here_s) - voltage.volts(here_s - cycles)
        size = float(np.abs(off).max()) / voltage.nominal_v
        if size > most:
            chosen, most = box_id, size
    index = list(system.voltages).index(chosen)
    return chosen, system.voltages[chosen], found.start_s + float(found.solved.terms.delays_s[index])
