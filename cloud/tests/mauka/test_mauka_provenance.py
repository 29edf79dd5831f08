"""Where findings come from: stamped by whoever runs an analysis, the same for the same settings."""

from dataclasses import dataclass

import pytest

from opq_cloud.mauka.running.calls.event_analysis import analyse_event, by_nominal
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.mauka.running.known.provenance import VERSION, provenance_of, settings_hash
from opq_plugins.sdk.modules import Analysis
from opq_proto.decision import Nominal
from opq_proto.messages import Event, Finding


def rms(**settings: float) -> Analysis:
    (analysis,) = load_analyses([("rms_voltage", settings)])
    return analysis


def test_the_hash_follows_only_the_settings() -> None:
    """Not their order, nor a Box's nominal values."""
    assert settings_hash({"a": 1, "b": 2}) == settings_hash({"b": 2, "a": 1})
    assert settings_hash({"a": 1}) != settings_hash({"a": 2})
    plain, same = provenance_of(rms()), provenance_of(rms(sag_percent=90.0))
    assert plain == same, "a default that is set is the same setting"
    assert plain != provenance_of(rms(sag_percent=95.0))
    assert plain != provenance_of(rms(nominal_v=230.0)), "the user's own, for every Box"
    assert (plain.analysis, plain.version) == ("rms_voltage", VERSION)


@dataclass(frozen=True, slots=True)
class Config:
    shout: bool = False


def boastful(event: Event, config: Config) -> list[Finding]:
    return [Finding("noise", wave.box_id, 1, 2, 0, analysis="rms_voltage") for wave in event.waveforms]


def broken(event: Event, config: Config) -> list[Finding]:
    raise ArithmeticError("no")


def test_a_findings_own_origin_is_replaced(recorded_event: Event) -> None:
    """What a finding states about its origin does not count."""
    analyses = [Analysis("boastful", boastful, Config()), Analysis("broken", broken, Config())]
    result = analyse_event(recorded_event, analyses, lambda box_id: Nominal(120.0, 60.0), {})
    assert [one.analysis for one in result.findings] == ["boastful", "boastful"]
    assert result.failed == {"broken": "ArithmeticError: no"}


def test_other_nominal_values_are_analysed_apart(recorded_event: Event) -> None:
    """Boxes with other nominal values form a separate part."""
    parts = by_nominal(recorded_event, lambda wave: Nominal(230.0 if wave.box_id == "2" else 120.0, 60.0))
    boxes = {nominal.volts: [wave.box_id for wave in part.waveforms] for nominal, part in parts.items()}
    assert boxes == {120.0: ["1"], 230.0: ["2"]}


@pytest.fixture
def recorded_event() -> Event:
    import numpy as np

    from opq_proto.messages import TimeSource, Waveform

    counts = np.zeros(1200, np.int16)
    waves = tuple(Waveform(box, 0, 1000, TimeSource.GPS, 12_000_000, 0.02, 0, counts) for box in ("1", "2"))
    return Event(7, 0, 10**9, waves)
