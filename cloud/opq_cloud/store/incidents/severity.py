"""Severity of a finding, on the scale of `opq_measure.classification.severity`. Pure.

It follows from the finding's other fields. It is computed when a finding is written, and again when one of
the original is read. A person who sees a part of an incident gets the highest severity of that part.
"""

from collections.abc import Iterable

from opq_measure.classification.severity import severity_of_part
from opq_proto.messages import Finding

NOMINAL_HZ = 50.0, 60.0


def severity_of(one: Finding) -> float:
    """Returns the severity, 0 to 10, to one decimal."""
    seconds = (one.end_ns - one.start_ns) / 1e9
    cycles = one.duration_cycles
    hz = cycles / seconds if cycles and seconds > 0 else NOMINAL_HZ[0]
    nominal_hz = NOMINAL_HZ[0] if hz <= sum(NOMINAL_HZ) / 2 else NOMINAL_HZ[1]
    return severity_of_part(one.kind, dict(one.figures), one.residual_percent, one.itic, seconds, nominal_hz)


def highest_severity(findings: Iterable[Finding]) -> float:
    """Returns the severity of findings, at least one, together: the highest that one has."""
    return max(severity_of(one) if one.severity is None else one.severity for one in findings)
