"""Impulsive and oscillatory transients: the wave leaves its steady course for less than a cycle.

In: Event.  Out: Finding, in time order.  State: none.
A transient that comes with a dip, such as at its beginning, is a separate finding; the dip names the
incident. With `compat` it works as the original's TransientPlugin, which also names arcing and notching.
Source: IEEE 1159-2019, 4.1 and table 2; the measuring is `opq_measure.waveform.transients`.
"""

from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec

from opq_cloud.mauka.measuring.compat_findings import original_transient_findings
from opq_cloud.mauka.measuring.compat_transients import MISSING, TransientSettings
from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_measure.classification.measured_signal import TRANSIENTS
from opq_proto.messages import Event, Finding

name = "transient"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Transients below 5 % are not measured."""

    least_peak_percent: float = field(
        default=5.0, metadata={"minimum": 5.0, "maximum": 1000, "help": "of the nominal peak"}
    )
    compat: bool = field(default=False, metadata={"help": "as the original's TransientPlugin"})
    noise_floor_v: float = field(
        default=6.0, metadata={"minimum": 0.001, "maximum": 1e6, "help": "with compat, as all below"}
    )
    max_lull_ms: float = field(default=4.0, metadata={"minimum": 0.0, "maximum": 10_000.0})
    oscillatory_crossings: int = field(default=3, metadata={"minimum": 0, "maximum": 10_000})
    notching_std_samples: float = field(default=2.0, metadata={"minimum": 0.0, "maximum": 10_000.0})
    autocorrelation: float = field(default=0.4, metadata={"minimum": 0.0, "maximum": 1.0})
    filter_order: int = field(default=4, metadata={"minimum": 1, "maximum": 8})
    cutoff_hz: float = field(default=500.0, metadata={"minimum": 1.0, "maximum": 5999.0})

    def __post_init__(self) -> None:
        if self.compat and find_spec("scipy") is None:
            raise ValueError(f"compat  is true; {MISSING}")


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns every transient that any Box saw."""
    if config.compat:
        named = {each.name: getattr(config, each.name) for each in fields(TransientSettings)}
        return original_transient_findings(event, TransientSettings(**named))
    return findings_of(
        event,
        config,
        TRANSIENTS,
        replace(EVENT_LIMITS, transient_pu=config.least_peak_percent / 100),
        "TRANSIENT",
    )
