"""The original's candidate waveforms by name, and samples without waiting: docs/reference/opq-interop.md F.7.

A separate file: `state` is the running simulator, this file makes samples beforehand, for `sim-gen`.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_sim.original_sim.state import FRAME_SAMPLES, NOP, VRMS, OriginalSim, OriginalSimError

RAMP_SAMPLES = 400
NOMINAL_VRMS = 120.0
CANDIDATE = re.compile(r"(sag|swell)_(\d{1,9})_(\d{1,9})_(\d{1,3}(?:\.\d{1,6})?)")


def candidate_request(name: str) -> dict[str, Any]:
    """Converts `sag_1200_30000_0.5` to a request: 1,200 samples before, a ramp, 30,000 at 0.5 pu, a ramp
    back.

    Raises:
        OriginalSimError: it is not such a name, or has sag for a rise or swell for a fall.
    """
    found = CANDIDATE.fullmatch(name)
    if found is None:
        raise OriginalSimError(f"{name!r} is not a candidate; want e.g. sag_1200_30000_0.5")
    kind, pad, length, text = found.groups()
    share = float(text)
    if (share < 1.0) != (kind == "sag"):
        raise OriginalSimError(f"{name}: {text} pu is not a {kind}")
    return {
        "filters": [
            {"name": NOP, "delay_samples": int(pad)},
            {"name": VRMS, "target_vrms": share * NOMINAL_VRMS, "delay_samples": RAMP_SAMPLES},
            {"name": NOP, "delay_samples": int(length)},
            {"name": VRMS, "target_vrms": NOMINAL_VRMS, "delay_samples": RAMP_SAMPLES},
        ]
    }


def generated_counts(request: object, count: int) -> NDArray[np.int16]:
    """(count,) samples of a simulator that got `request` at its start.

    Raises:
        OriginalSimError: as `OriginalSim.accept_request`.
    """
    sim = OriginalSim()
    sim.accept_request(request)
    frames = [sim.frame() for _ in range(-(-count // FRAME_SAMPLES))]
    return np.concatenate([np.empty(0, np.int16), *frames])[:count]
