"""The project's nouns as the original's documents, and back (opq-interop, part D).

Original fields keep name and meaning; what it does not have are added fields. Both stores use
these: in MongoDB they are the documents, in the embedded store the JSON columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from opq_cloud.store.rows import METRIC_FIELDS
from opq_cloud.store.store import BoxRecord, EventRecord
from opq_proto.messages import (
    NOMINAL_HZ,
    NOMINAL_V,
    Gap,
    Measurement,
    TimeSource,
    Trigger,
    Waveform,
    nominal_or_none,
)

Document = dict[str, Any]

NS_PER_MS = 1_000_000


def box_document(box: BoxRecord) -> Document:
    """`opq_boxes` (D.8) without what is unknown, so that a stored value stays; `nominal_*` are ours."""
    document = {
        "box_id": box.box_id, "name": box.name, "unplugged": box.unplugged,
        "location": box.location, "calibration_constant": box.calibration_constant,
        "nominal_v": box.nominal_v, "nominal_hz": box.nominal_hz,
    }  # fmt: skip
    return {key: value for key, value in document.items() if value is not None}


def box_from_document(document: Mapping[str, Any]) -> BoxRecord:
    calibration = document.get("calibration_constant")
    return BoxRecord(
        box_id=str(document["box_id"]),
        name=str(document.get("name") or document["box_id"]),
        location=document.get("location"),
        calibration_constant=None if calibration is None else float(calibration),
        nominal_v=_nominal(document.get("nominal_v"), NOMINAL_V),
        nominal_hz=_nominal(document.get("nominal_hz"), NOMINAL_HZ),
        unplugged=bool(document.get("unplugged", False)),
    )


def _nominal(value: Any, limits: tuple[float, float]) -> float | None:
    """A field that the original does not have, and that anybody may have edited."""
    return nominal_or_none(float(value), limits) if isinstance(value, int | float) else None


def measurement_fields(measurement: Measurement) -> Document:
    """`measurements` without expire_at (D.1): a metric's average under the original's name."""
    return {
        "box_id": measurement.box_id,
        "timestamp_ms": measurement.timestamp_ms,
        **{
            field: float(measurement.metrics[key].average)
            for key, field in METRIC_FIELDS.items()
            if key in measurement.metrics
        },
    }


def event_document(event_id: int, trigger: Trigger, description: str, expire_at: int) -> Document:
    """`events` (D.3), as it is opened."""
    return {
        "event_id": event_id, "description": description,
        "boxes_triggered": list(trigger.box_ids), "boxes_received": [],
        "target_event_start_timestamp_ms": trigger.start_ns // NS_PER_MS,
        "target_event_end_timestamp_ms": -(-trigger.end_ns // NS_PER_MS),
        "expire_at": expire_at, "token": trigger.token, "start_ns": trigger.start_ns,
        "end_ns": trigger.end_ns, "opened_by": trigger.opened_by, "because": trigger.because,
        "missing": {}, "finished": False, "analysed": False,
    }  # fmt: skip


def event_record(document: Mapping[str, Any]) -> EventRecord:
    """Also of an event that the original stored: finished, and not for us to analyse."""
    ours = "token" in document
    received = tuple(document.get("boxes_received", ()))
    start_ms = int(document.get("target_event_start_timestamp_ms", 0))
    end_ms = int(document.get("target_event_end_timestamp_ms", 0))
    return EventRecord(
        event_id=int(document["event_id"]),
        token=str(document.get("token", "")),
        start_ns=int(document.get("start_ns", start_ms * NS_PER_MS)),
        end_ns=int(document.get("end_ns", end_ms * NS_PER_MS)),
        boxes_triggered=tuple(document.get("boxes_triggered", ())),
        boxes_received=received,
        missing={box: why for box, why in document.get("missing", {}).items() if box not in received},
        finished=bool(document.get("finished", not ours)),
        analysed=bool(document.get("analysed", not ours)),
        because=str(document.get("because", document.get("description", ""))),
    )


def file_name(event_id: int, box_id: str) -> str:
    """The name that the original's readers look for (D.5)."""
    return f"event_{event_id}_{box_id}"


def waveform_document(event_id: int, wave: Waveform, location: str) -> Document:
    """`box_events` (D.4); time, gain and gaps of the samples are ours."""
    return {
        "event_id": event_id, "box_id": wave.box_id,
        "event_start_timestamp_ms": wave.start_ns // NS_PER_MS,
        "event_end_timestamp_ms": -(-wave.end_ns // NS_PER_MS),
        "location": location, "data_fs_filename": file_name(event_id, wave.box_id),
        "start_ns": wave.start_ns, "uncertainty_ns": wave.uncertainty_ns,
        "time_source": int(wave.source), "rate_millihz": wave.rate_millihz,
        "v_per_lsb": wave.v_per_lsb, "first_sample": wave.first_sample,
        "gaps": [asdict(gap) for gap in wave.gaps],
    }  # fmt: skip


def counts_to_bytes(wave: Waveform) -> bytes:
    """int16 little endian, no header: the original's file format."""
    return wave.counts.astype("<i2").tobytes()


def waveform_from_document(
    document: Mapping[str, Any], data: bytes, calibration_constant: float | None
) -> Waveform:
    """Samples with their time; for a document of the original 12 kS/s, and the Box's calibration.

    Its uncertainty is not known there, and so saturated.
    """
    counts = np.frombuffer(data, dtype="<i2").astype(np.int16)
    start_ms = int(document.get("event_start_timestamp_ms", 0))
    v_per_lsb = document.get("v_per_lsb")
    if v_per_lsb is None:
        v_per_lsb = 1.0 / calibration_constant if calibration_constant else 1.0
    return Waveform(
        box_id=str(document["box_id"]),
        start_ns=int(document.get("start_ns", start_ms * NS_PER_MS)),
        uncertainty_ns=int(document.get("uncertainty_ns", 0xFFFF_FFFF)),
        source=TimeSource(int(document.get("time_source", 0))),
        rate_millihz=int(document.get("rate_millihz", 12_000_000)),
        v_per_lsb=float(v_per_lsb),
        first_sample=int(document.get("first_sample", 0)),
        counts=counts,
        gaps=tuple(
            Gap(int(gap["first_sample"]), int(gap["samples"]), str(gap["reason"]))
            for gap in document.get("gaps", ())
        ),
    )


def by_box(waves: Iterable[Waveform]) -> tuple[Waveform, ...]:
    """In the order of Box numbers."""
    return tuple(sorted(waves, key=lambda wave: (len(wave.box_id), wave.box_id)))
