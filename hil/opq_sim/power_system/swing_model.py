"""Parameters of power systems: inertia, damping, droop, control, and the wander of their frequency.

A figure called "read" was read in a published implementation of its source; a "usual" one is of the order
that the named source gives, from memory; the others are chosen here.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SwingModel:
    """A synchronous system as one machine, per unit of its rating.

    2H d(x)/dt = governor + secondary - step - D x,  x = (f - f0) / f0
    lag d(governor)/dt = -x / droop - governor,  d(secondary)/dt = -secondary_per_s x

    Source: P. Kundur, "Power System Stability and Control", chapter 11.1 (swing equation, damping, droop,
    supplementary control).

    Load noise is small and stays in the governors' dead band, so that it meets the weaker control of
    `noise_primary_per_s` (c1) and `noise_secondary_per_s2` (c2):
    d(f)/dt = -c1 (f - f0) - c2 (cycles gained) + white noise.
    Source: L. Rydin Gorjao et al., "Data-Driven Model of the Power-Grid Frequency Dynamics", IEEE Access 8
    (2020).
    """

    name: str
    nominal_hz: float
    rating_mva: float
    inertia_s: float
    """H: stored energy over rating."""
    damping_pu: float
    """D: relative load change over relative frequency change."""
    droop_pu: float
    """R of the whole system: relative frequency change over relative power change."""
    governor_s: float
    secondary_per_s: float
    """0: nothing brings the frequency back, as in a small island."""
    noise_hz: float
    """Standard deviation of the frequency without any step; 0: no noise."""
    noise_primary_per_s: float
    noise_secondary_per_s2: float

    def __post_init__(self) -> None:
        positive = {
            name: getattr(self, name)
            for name in (
                "nominal_hz",
                "rating_mva",
                "inertia_s",
                "droop_pu",
                "governor_s",
                "noise_primary_per_s",
                "noise_secondary_per_s2",
            )
        }
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of {self.name} is {value}; want a number above 0")
        others = {name: getattr(self, name) for name in ("damping_pu", "secondary_per_s", "noise_hz")}
        for name, value in others.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} of {self.name} is {value}; want 0 or more")

    def settled_hz(self, lost_mw: float) -> float:
        """Deviation from nominal, in Hz, that droop and damping leave before secondary control acts."""
        return -lost_mw / self.rating_mva * self.nominal_hz / (self.damping_pu + 1 / self.droop_pu)


PRESETS = {
    # H: ENTSO-E, "Inertia and Rate of Change of Frequency" (2020), 5 to 6 s, usual. Droop, damping: 27 GW/Hz,
    # load 1 %/Hz, UCTE Operation Handbook, policy 1, usual. Noise: 20 mHz, ENTSO-E annual
    # load-frequency control reports, usual; c1, c2: Rydin Gorjao et al. 2020, Continental Europe, read in
    # PIK-ICoNe/PowerGridNoise.
    "continental_50": SwingModel(
        name="continental_50",
        nominal_hz=50.0,
        rating_mva=300_000.0,
        inertia_s=6.0,
        damping_pu=0.5,
        droop_pu=0.25,
        governor_s=6.0,
        secondary_per_s=0.0225,
        noise_hz=0.020,
        noise_primary_per_s=0.008311,
        noise_secondary_per_s2=0.000030,
    ),
    # Droop, noise: NERC, "Frequency Response Annual Analysis", Eastern Interconnection, some 28 GW/Hz and
    # 16 mHz, usual. H, lag, c1, c2 are chosen here.
    "interconnection_60": SwingModel(
        name="interconnection_60",
        nominal_hz=60.0,
        rating_mva=500_000.0,
        inertia_s=5.0,
        damping_pu=1.0,
        droop_pu=0.42,
        governor_s=5.0,
        secondary_per_s=0.0135,
        noise_hz=0.016,
        noise_primary_per_s=0.005,
        noise_secondary_per_s2=0.000010,
    ),
    # Noise: 40 mHz, as Ireland's ("Frequency Quality in Low-Inertia Power Systems", arXiv 2302.01630), usual.
    # 1 GVA, droop of 5 %, H, lag, c1, c2 are chosen here.
    "island": SwingModel(
        name="island",
        nominal_hz=60.0,
        rating_mva=1_000.0,
        inertia_s=4.0,
        damping_pu=1.0,
        droop_pu=0.05,
        governor_s=0.5,
        secondary_per_s=0.21,
        noise_hz=0.040,
        noise_primary_per_s=0.020,
        noise_secondary_per_s2=0.000060,
    ),
}


def swing_model(preset: str) -> SwingModel:
    """A preset by its name.

    Raises:
        ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"{preset!r} is not a power system; want one of {', '.join(PRESETS)}")
    return PRESETS[preset]
