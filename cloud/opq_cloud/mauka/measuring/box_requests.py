"""Requests for single Boxes of one event, put together. Pure.

A separate file, because two analyses request samples Box by Box. An event of a hundred Boxes would have as
many requests, and an analysis may make no more than `opq_plugins.sdk.nouns` allows.
"""

from collections.abc import Iterable

from opq_plugins.sdk.nouns import MAX_ASKED
from opq_proto.messages import SampleRequest


def together(requests: Iterable[SampleRequest]) -> tuple[SampleRequest, ...]:
    """Returns as few requests as possible: each has the Boxes of many and the span of all of them.

    Args:
        requests: of Boxes, with spans. Samples that are there already are not requested again.
    """
    every = list(requests)
    parts = [every[first : first + MAX_ASKED] for first in range(0, len(every), MAX_ASKED)]
    return tuple(
        SampleRequest(
            box_ids=tuple(box_id for each in part for box_id in each.box_ids),
            start_ns=min(each.start_ns for each in part if each.start_ns is not None),
            end_ns=max(each.end_ns for each in part if each.end_ns is not None),
            because=part[0].because + (f", and so on at {len(part) - 1} more" if len(part) > 1 else ""),
        )
        for part in parts
    )
