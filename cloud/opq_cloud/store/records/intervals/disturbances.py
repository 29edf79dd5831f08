"""Disturbances of class A as documents: a dip, swell or interruption of a Box, put again while it lasts."""

import math
from collections.abc import Mapping
from typing import Any

from opq_cloud.store.driver import Documents, Fields
from opq_cloud.store.records.tables import DISTURBANCES
from opq_proto.measurement.fields import interval_limits
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Disturbance

KINDS = ("dip", "swell", "interruption")
"""Disturbances that are stored; a dip that becomes an interruption is one of them."""
_FAMILY = {"dip": "low", "interruption": "low", "swell": "high"}


def put_disturbance(documents: Documents, found: Disturbance, seen_ns: int) -> None:
    """Stores a disturbance, or the newer facts of a stored one: its end arrives after its beginning."""
    closed = found.end_ns is not None
    new: Fields = {
        "box_id": found.box_id,
        "family": _FAMILY[found.kind],
        "start_ns": found.start_ns,
        "end_ns": found.end_ns if found.end_ns is not None else seen_ns,
        "closed": int(closed),
        "kind": found.kind,
        "uncertainty_ns": min(found.uncertainty_ns, UNKNOWN_UNCERTAINTY_NS),
        "residual_v": None if math.isnan(found.residual_v) else float(found.residual_v),
        "polyphase_group": found.polyphase_group,
    }

    def changed(known: Fields | None) -> Fields | None:
        return new if known is None or _newness(known) < _newness(new) else None

    documents.change(DISTURBANCES, tuple(new[name] for name in DISTURBANCES.key), changed)


def _newness(document: Mapping[str, Any]) -> tuple[Any, ...]:
    residual_v = document["residual_v"]
    known = residual_v is not None
    return (
        int(document["closed"]),
        int(document["end_ns"]),
        known,
        document["kind"] == "interruption",
        residual_v if known else 0.0,
        int(document["polyphase_group"]),
        int(document["uncertainty_ns"]),
    )


def disturbance_of(document: Fields) -> Disturbance:
    """The disturbance of a stored document; a residual voltage that cannot be true is unknown.

    Raises:
        ValueError: it ends before it begins.
    """
    residual_v = math.nan if document["residual_v"] is None else float(document["residual_v"])
    least, most = interval_limits("residual_v")
    start_ns, end_ns = int(document["start_ns"]), int(document["end_ns"]) if document["closed"] else None
    if end_ns is not None and end_ns <= start_ns:
        raise ValueError(f"it begins at {start_ns} ns and ends at {end_ns} ns")
    return Disturbance(
        str(document["box_id"]),
        str(document["kind"]),
        start_ns,
        end_ns,
        int(document["uncertainty_ns"]),
        residual_v if least <= residual_v <= most else math.nan,
        int(document["polyphase_group"]),
    )
