"""Finds the Boxes that a disturbance may have reached first, from the order of arrival and its uncertainty.

Pure.
"""

from collections.abc import Sequence

from opq_proto.messages import BoxArrival


def may_be_first(arrivals: Sequence[BoxArrival]) -> frozenset[str]:
    """Returns the Boxes that are not later than the first by more than both uncertainties.

    `arrivals`: in the order of time. Empty where no clock is good enough for an order. The Box that others'
    waveforms were compared with is compared, too, whatever its own clock: their times refer to it.
    """
    references = {each.aligned_to for each in arrivals}
    within_ns = {
        each.box_id: each.uncertainty_ns if each.disciplined else 0
        for each in arrivals
        if each.disciplined or each.box_id in references
    }
    known = [each for each in arrivals if each.box_id in within_ns]
    if not known:
        return frozenset()
    first = known[0]
    return frozenset(
        each.box_id
        for each in known
        if each.start_ns - first.start_ns <= within_ns[each.box_id] + within_ns[first.box_id]
    )
