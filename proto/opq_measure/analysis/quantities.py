"""The groups of quantities that an analysis measures, and the reason for each omitted group."""

from collections.abc import Iterable

from opq_measure.signal import LEAST_SAMPLES, WAVEFORM_SAMPLES

GROUPS = ("rms", "frequency", "events", "harmonics", "flicker", "transients")
"""`events`: dips, swells, interruptions and rapid changes; with `harmonics`, conditions such as notching."""
NOT_ASKED = "not asked for"
WAVEFORM_GROUPS = ("harmonics", "flicker", "transients")
"""Groups that need the shape of the wave, `WAVEFORM_SAMPLES` per cycle."""


def left_out_groups(
    rate_hz: float, nominal_hz: float, only: Iterable[str] = GROUPS, asked: str = NOT_ASKED
) -> dict[str, str]:
    """The groups that are not measured, each with the reason; `only`: the wanted groups.

    Raises:
        ValueError: a name that is not a group.
    """
    wanted = tuple(only)
    if unknown := [each for each in wanted if each not in GROUPS]:
        raise ValueError(f"{unknown[0]!r:.40} is not a group of quantities; want some of {', '.join(GROUPS)}")
    slow = LEAST_SAMPLES * nominal_hz <= rate_hz < WAVEFORM_SAMPLES * nominal_hz
    samples = rate_hz / nominal_hz
    found: dict[str, str] = {}
    for group in GROUPS:
        if slow and group in WAVEFORM_GROUPS:
            found[group] = f"{samples:.6g} samples per cycle, want at least {WAVEFORM_SAMPLES:g}"
        elif group not in wanted:
            found[group] = asked
    return found
