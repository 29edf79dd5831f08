"""Triggers and analyses for tests of their host, of Makai and of Mauka."""

from pathlib import Path
from typing import Any

import numpy as np
from plugin_zips import manifest, stored, zipped

from opq_proto.messages import Event, Gap, Measurement, Metric, TimeSource, Waveform

TRIGGER = '''
"""Loud: rms above a limit; what the metrics `do_...` say as well."""
import os
import time
from dataclasses import dataclass, field

from opq_proto.decision import Decision

name = "loud"


@dataclass(frozen=True)
class Config:
    limit: float = field(default=@LIMIT@, metadata={"minimum": 0})


def begin(config):
    return 0


def decide(measurement, nominal, config, seen):
    metrics = measurement.metrics
    if "do_crash" in metrics:
        os._exit(9)
    if "do_hang" in metrics:
        time.sleep(1000)
    if "do_raise" in metrics:
        raise KeyError("raised")
    if "do_not_open" in metrics:
        open("/nowhere/limits.json")
    if "do_wrong" in metrics:
        return "nonsense", seen
    if "do_nan" in metrics:
        return Decision("rms", float("nan"), 0.0, ""), seen
    rms = metrics["rms"].max
    if rms <= config.limit:
        return None, seen + 1
    span = (1, 2) if "do_span" in metrics else None
    return Decision("@METRIC@", rms, config.limit, f"{seen} before, {nominal.volts:g} V", span), seen + 1
'''
HANDING_ON = """

def export_state(seen):
    return {"seen": seen}


def import_state(version, data, config):
    return data["seen"]
"""
ANALYSIS = '''
"""Peak: the highest count."""
import os
from dataclasses import dataclass

from opq_proto.messages import Event, Finding

name = "peak"
takes, gives = Event, Finding


@dataclass(frozen=True)
class Config:
    nominal_v: float = 120.0
    least: float = 0.0


def begin(config):
    return 0


def analyse(event, config, seen):
    if event.event_id == 13:
        os._exit(9)
    if event.event_id == 14:
        return [Finding("peak", "9", 0, 1, 0)], seen
    if event.event_id == 15:
        return 5, seen
    found = []
    for wave in event.waveforms:
        peak = max(abs(wave.volts))
        if peak > config.least:
            why = f"@TOLD@ {seen} before, {wave.source.name} {len(wave.gaps)} gaps"
            start_ns, end_ns = wave.start_ns, wave.end_ns
            found.append(Finding(name, wave.box_id, start_ns, end_ns, 0, residual_v=peak,
                                 residual_percent=100 * peak / config.nominal_v, because=why))
    return found, seen + 1
'''


def trigger_zip(
    folder: Path,
    version: str = "1.0.0",
    *,
    mode: str = "process",
    limit: float = 130.0,
    metric: str = "rms",
    more: str = "",
    code: str = TRIGGER,
) -> str:
    """The plug-in `loud` with the trigger `loud`, as a URL."""
    code = code.replace("@LIMIT@", str(limit)).replace("@METRIC@", metric) + more
    files = {
        "plugin.json": manifest("loud", version, kind="trigger", mode=mode),
        "triggers/loud.py": code,
    }
    return stored(folder, zipped(files), f"loud{version}.zip")


def analysis_zip(
    folder: Path,
    version: str = "1.0.0",
    *,
    mode: str = "process",
    told: str = "",
    more: str = "",
    code: str = ANALYSIS,
) -> str:
    """The plug-in `peak` with the analysis `peak`, as a URL."""
    files = {
        "plugin.json": manifest("peak", version, kind="analysis", mode=mode),
        "analyses/peak.py": code.replace("@TOLD@", told) + more,
    }
    return stored(folder, zipped(files), f"peak{version}.zip")


def measured(rms: float = 120.0, at_ms: int = 1000, **metrics: float) -> Measurement:
    told = {key: Metric(value, value, value) for key, value in {"rms": rms, **metrics}.items()}
    return Measurement("4", at_ms, told, source=TimeSource.GPS, nominal_v=120.0)


def heard(event_id: int = 1, **waves: Any) -> Event:
    counts = np.array([0, 100, -300, 20], np.int16)
    wave = Waveform("4", 10**18, 50, TimeSource.GPS, 12_000_000, 0.5, 7, counts, (Gap(9, 2, "lost"),))
    return Event(event_id, 10**18, 10**18 + 10**9, (wave,), {"5": "no answer"})
