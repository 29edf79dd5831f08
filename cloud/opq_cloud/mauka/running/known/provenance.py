"""Where a finding comes from: the analysis, its version, and a hash of the settings that it ran with.

The hash is the same for the same settings on every machine. It shows that two runs had the same settings,
but not which.
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
"""Analysis name of the findings that come from Measurements and not from a waveform."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin that is written into each finding of one analysis."""

    analysis: str
    version: str
    settings_hash: str

    def stamped(self, findings: Iterable[Finding]) -> list[Finding]:
        """Returns the findings with this provenance; their own is replaced."""
        return [
            replace(
                one, analysis=self.analysis, analysis_version=self.version, settings_hash=self.settings_hash
            )
            for one in findings
        ]


def settings_hash(settings: Mapping[str, object]) -> str:
    """Returns 12 hexadecimal digits for the settings, whatever their order."""
    text = json.dumps(settings, sort_keys=True, default=repr)
    return blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest()


def provenance_of(analysis: Analysis) -> Provenance:
    """Returns the provenance of a built-in analysis: its settings, without nominal values of each Box."""
    from_box = {"nominal_v", "nominal_hz"} - analysis.fixed
    settings = {name: value for name, value in asdict(analysis.config).items() if name not in from_box}
    return Provenance(analysis.name, VERSION, settings_hash(settings))
