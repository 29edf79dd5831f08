"""Where a finding comes from: the analysis, its version, and a hash of the settings that it ran with.

The hash is the same for the same settings on every machine; it says that two runs were set alike, and
nothing of what the settings were.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from importlib.metadata import version

from opq_plugins.sdk.modules import Analysis
from opq_proto.messages import Finding

VERSION = version("opq-toolkit")
"""Version of every built-in analysis."""
HASH_BYTES = 6
GROWN_BY_MEASUREMENTS = "open_disturbances"
"""Name in what Measurements, and no waveform, show of a disturbance."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is written into each finding of one analysis."""

    analysis: str
    version: str
    settings_hash: str

    def stamped(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings with their provenance; what they said of it themselves does not count."""
        return [
            replace(
                one, analysis=self.analysis, analysis_version=self.version, settings_hash=self.settings_hash
            )
            for one in findings
        ]


def settings_hash(settings: Mapping[str, object]) -> str:
    """12 hexadecimal digits of the settings by name, whatever their order."""
    text = json.dumps(settings, sort_keys=True, default=repr)
    return blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest()


def provenance_of(analysis: Analysis) -> Provenance:
    """Where a finding of a built-in analysis comes from: its settings, but for nominal values of each Box."""
    from_box = {"nominal_v", "nominal_hz"} - analysis.fixed
    settings = {name: value for name, value in asdict(analysis.config).items() if name not in from_box}
    return Provenance(analysis.name, VERSION, settings_hash(settings))
