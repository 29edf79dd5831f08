"""Dips and swells that a phase jump makes.

The rms over a cycle with a jump of 90 degrees in it is lower, by up to 17.4 %, or higher, by up to 14.8 %.
IEC 61000-4-30, 5.4, counts that as a dip or swell, and so do the tables and indices of reports; the class
names the jump as well.
"""

JUMP = "phase_jump"
LEVELS = ("sag", "swell")


def made_by_jump(level: str) -> str:
    """The class of a dip or swell that a phase jump makes: `phase_jump+sag`."""
    return f"{JUMP}+{level}"


def what_happened(kind: str) -> str:
    """The class without a dip or swell that its phase jump makes: `phase_jump` for `phase_jump+sag`."""
    return JUMP if kind in map(made_by_jump, LEVELS) else kind
