"""Silences as a kind of world that plays schedules of faults by seed."""

from typing import Final

from opq_sim.faults.gateway.runner import SeededWorld
from opq_sim.faults.silence.schedule import draw_silences

SILENCE: Final = SeededWorld(
    "Faults by seed that make Boxes silent: each outage found, none false, each gap with its reason.",
    "opq_sim.faults.silence",
    lambda seed: draw_silences(seed).document(),
    1,  # fifteen gateways and thirty Boxes take most of a core
    ("trials", "outages", "outages_found", "outages_false", "gaps", "gaps_right"),
    "{outages_found} of {outages} outages found, {outages_false} false, "
    "{gaps_right} of {gaps} gaps with the right reason, {trials} trials",
)
