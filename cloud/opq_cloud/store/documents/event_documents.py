"""Converts Measurements, events and waveforms to the original's documents and back.

The format is docs/reference/opq-interop.md, D.1 to D.5. The original's fields keep name and meaning; what the
original does not have is in added fields. Both stores use these functions: in MongoDB they make the
documents, in the embedded store the JSON columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from opq_cloud.store.box_record import box_order
from opq_cloud.store.documents import (
    Document,
    box_id_of,
    known_text,
    known_whole,
    texts_of,
    time_of,
    whole_of,
)
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.sample_requests import ANALYSIS_ASKED, LONGER, NsSpan, requests_of
from opq_cloud.store.unknown_gain import DRAWN_V_PER_LSB
from opq_cloud.store.waveform_place import WaveformPlace
from opq_proto.errors import FrameError, StoreError
from opq_proto.measurement.fields import ORIGINAL_FIELDS
from opq_proto.messages import (
    UNKNOWN_UNCERTAINTY_NS,
    Gap,
    Incident,
    Measurement,
    TimeSource,
    Trigger,
    Waveform,
)
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.half_cycles import HalfCycleRms, half_cycles_from_wire, half_cycles_to_wire
from opq_proto.wire.opqbox3_pb2 import HalfCycleRms as WireHalfCycles
from opq_proto.wire.waveforms import ORIGINAL_RATE_MILLIHZ, read_message

GAIN_MARKS = ("gain_assumed", "gain_not_stated")
"""Fields of samples that came without their gain."""


def measurement_fields(measurement: Measurement) -> Document:
    """Returns the fields for `measurements` (D.1): metric averages by the original's names; no expire_at."""
    return {
        "box_id": measurement.box_id,
        "timestamp_ms": measurement.timestamp_ms,
        **{
            field: float(measurement.metrics[key].average)
            for key, field in ORIGINAL_FIELDS.items()
            if key in measurement.metrics
        },
    }


def event_document(event_id: int, trigger: Trigger, description: str, expire_at: int) -> Document:
    """Returns the document for `events` (D.3) of an event that is opened."""
    more: Document = {
        "completes": trigger.completes,
        "onset_ns": None if trigger.onset_ns is None else list(trigger.onset_ns),
        "onset_sample": trigger.onset_sample,
        "decided_ns": trigger.decided_ns,
        "asked_as": {reason: list(boxes) for reason, boxes in trigger.asked_as} or None,
        "not_asked": dict(trigger.not_asked) or None,
        "half_cycles_ns": None if trigger.half_cycles_ns is None else list(trigger.half_cycles_ns),
        "starts": dict(trigger.starts) or None,
    }
    return {key: value for key, value in more.items() if value is not None} | {
        "event_id": event_id,
        "description": description,
        "boxes_triggered": list(trigger.box_ids),
        "boxes_received": [],
        "target_event_start_timestamp_ms": trigger.start_ns // NS_PER_MS,
        "target_event_end_timestamp_ms": -(-trigger.end_ns // NS_PER_MS),
        "expire_at": expire_at,
        "token": trigger.token,
        "start_ns": trigger.start_ns,
        "end_ns": trigger.end_ns,
        "opened_by": trigger.opened_by,
        "because": trigger.because,
        "missing": {},
        "finished": False,
        "analysed": False,
        "revision": 0,
        "requests": 0,
    }


def event_record(document: Document) -> EventRecord:
    """Reads an event; one that the original stored counts as finished, since it has no such field."""
    ours = "token" in document
    received = tuple(texts_of(document.get("boxes_received")))
    why = {box_id: str(text) for box_id, text in document.get("missing", {}).items()}
    start_ms = int(document.get("target_event_start_timestamp_ms", 0))
    end_ms = int(document.get("target_event_end_timestamp_ms", 0))
    onset_ns, half_cycles_ns = document.get("onset_ns"), document.get("half_cycles_ns")
    return EventRecord(
        event_id=whole_of(document["event_id"]),
        token=str(document.get("token", "")),
        start_ns=time_of(document.get("start_ns", start_ms * NS_PER_MS)),
        end_ns=time_of(document.get("end_ns", end_ms * NS_PER_MS)),
        boxes_triggered=tuple(texts_of(document.get("boxes_triggered"))),
        boxes_received=received,
        missing={box: text for box, text in why.items() if box not in received},
        finished=bool(document.get("finished", not ours)),
        analysed=bool(document.get("analysed", False)),
        because=str(document.get("because", document.get("description")) or ""),
        short={box: text for box, text in why.items() if box in received},
        revision=int(document.get("revision", 0)),
        completes=known_whole(document.get("completes")),
        opened_by=known_text(document.get("opened_by")) or "",
        asked_as={reason: tuple(texts_of(boxes)) for reason, boxes in document.get("asked_as", {}).items()},
        not_asked={reason: int(count) for reason, count in document.get("not_asked", {}).items()},
        onset_ns=None if onset_ns is None else (int(onset_ns[0]), int(onset_ns[1])),
        onset_sample=known_whole(document.get("onset_sample")),
        decided_ns=known_whole(document.get("decided_ns")),
        finished_ns=known_whole(document.get("finished_ns")),
        analysed_ns=known_whole(document.get("analysed_ns")),
        more=requests_of(document),
        owed={box_id: (int(span[0]), int(span[1])) for box_id, span in document.get("owed", {}).items()},
        half_cycles_ns=None if half_cycles_ns is None else (int(half_cycles_ns[0]), int(half_cycles_ns[1])),
        half_cycles={box_id: str(why) for box_id, why in document.get("half_cycles", {}).items()},
        starts={box_id: int(each) for box_id, each in document.get("starts", {}).items()},
    )


def widened(
    document: Document, asked_as: Mapping[str, Sequence[str]], not_asked: Mapping[str, int]
) -> tuple[Document, bool]:
    """Returns the changed fields of an event when more Boxes are asked, and whether one owes an answer."""
    triggered, missing = list(document["boxes_triggered"]), dict(document.get("missing", {}))
    reasons = {reason: list(boxes) for reason, boxes in document.get("asked_as", {}).items()}
    owed = False
    for reason, boxes in asked_as.items():
        for box_id in boxes:
            if box_id in triggered:
                owed |= missing.pop(box_id, None) is not None
                continue
            triggered.append(box_id)
            reasons.setdefault(reason, []).append(box_id)
            owed = True
    changes: Document = {
        "boxes_triggered": triggered,
        "missing": missing,
        "asked_as": reasons,
        "not_asked": dict(not_asked),
    }
    return changes, owed


def moved_fields(document: Document, by_ns: int) -> Document:
    """Returns the changed fields of an event with times of a clock that was set by `by_ns` since."""
    start_ns, end_ns = document["start_ns"] + by_ns, document["end_ns"] + by_ns
    moved: Document = {
        "start_ns": start_ns,
        "end_ns": end_ns,
        "moved_ns": by_ns,
        "target_event_start_timestamp_ms": start_ns // NS_PER_MS,
        "target_event_end_timestamp_ms": -(-end_ns // NS_PER_MS),
    }
    if (onset_ns := document.get("onset_ns")) is not None:
        moved["onset_ns"] = [each + by_ns for each in onset_ns]
    return moved


def owing_fields(document: Document, spans: Mapping[str, NsSpan]) -> Document:
    """Returns the changed fields of an event when Boxes are asked for more samples."""
    widening, _ = widened(document, {ANALYSIS_ASKED: list(spans)}, document.get("not_asked", {}))
    del widening["not_asked"]
    owed, own = dict(document.get("owed", {})), (document["start_ns"], document["end_ns"])
    for box_id, span in spans.items():
        if span != own:
            owed[box_id] = list(span)
        if box_id in document["boxes_received"]:
            widening["missing"][box_id] = LONGER
    return widening | {"owed": owed}


def file_name(event_id: int, box_id: str) -> str:
    """Returns the name of a waveform's file, as the original's readers expect it (D.5)."""
    return f"event_{event_id}_{box_id}"


def half_cycles_name(event_id: int, box_id: str) -> str:
    """Returns the name of the file with a Box's Urms(1/2); the original's readers do not use it."""
    return f"half_cycles_{event_id}_{box_id}"


def half_cycles_bytes(found: HalfCycleRms) -> bytes:
    """Returns the bytes in the form of the wire."""
    return half_cycles_to_wire(found).SerializeToString(deterministic=True)


def half_cycles_of_bytes(box_id: str, data: bytes) -> HalfCycleRms:
    """Reads the bytes of `half_cycles_bytes`. Raises StoreError: they are something else."""
    try:
        return half_cycles_from_wire(box_id, read_message(WireHalfCycles, data))
    except FrameError as error:
        raise StoreError(f"half cycles of Box {box_id}: cannot be read ({error})") from error


def waveform_document(event_id: int, wave: Waveform, location: str) -> Document:
    """Returns the document for `box_events` (D.4); time, gain and gaps of the samples are added fields."""
    return {
        "event_id": event_id,
        "box_id": wave.box_id,
        "event_start_timestamp_ms": wave.start_ns // NS_PER_MS,
        "event_end_timestamp_ms": -(-wave.end_ns // NS_PER_MS),
        "location": location,
        "data_fs_filename": file_name(event_id, wave.box_id),
        "start_ns": wave.start_ns,
        "uncertainty_ns": wave.uncertainty_ns,
        "time_source": int(wave.source),
        "rate_millihz": wave.rate_millihz,
        "v_per_lsb": wave.v_per_lsb,
        "first_sample": wave.first_sample,
        "gaps": [asdict(gap) for gap in wave.gaps],
        **({} if wave.gain_known else {"gain_assumed": True}),
        **({} if wave.gain_stated else {"gain_not_stated": True}),
        "numbered": wave.numbered,
        **_start_fields(wave),
    }


def _start_fields(wave: Waveform) -> Document:
    stated = {"start_id": wave.start_id, "nominal_v": wave.nominal_v, "nominal_hz": wave.nominal_hz}
    return {name: value for name, value in stated.items() if value is not None}


def counts_to_bytes(wave: Waveform) -> bytes:
    """Returns int16 little endian without a header: the original's file format."""
    return wave.counts.astype("<i2").tobytes()


def waveform_from_document(document: Document, data: bytes, calibration_constant: float | None) -> Waveform:
    """Returns the samples with their time.

    A document of the original has 12 kS/s, the Box's calibration and an unknown uncertainty. One of ours
    whose samples came without a gain has the Box's calibration too, as soon as there is one.
    """
    counts = np.frombuffer(data, dtype="<i2").astype(np.int16)
    v_per_lsb = document.get("v_per_lsb")
    gain_known = v_per_lsb is not None and not document.get("gain_assumed")
    gain_stated = gain_known and not document.get("gain_not_stated")
    if not gain_stated and calibration_constant:
        v_per_lsb, gain_known = 1.0 / calibration_constant, True
    start_id = document.get("start_id")
    return Waveform(
        box_id=box_id_of(document),
        start_ns=start_of(document),
        uncertainty_ns=int(document.get("uncertainty_ns", UNKNOWN_UNCERTAINTY_NS)),
        source=TimeSource(int(document.get("time_source", 0))),
        rate_millihz=int(document.get("rate_millihz", ORIGINAL_RATE_MILLIHZ)),
        v_per_lsb=DRAWN_V_PER_LSB if v_per_lsb is None else float(v_per_lsb),
        first_sample=int(document.get("first_sample", 0)),
        counts=counts,
        gaps=tuple(
            Gap(int(gap["first_sample"]), int(gap["samples"]), str(gap["reason"]))
            for gap in document.get("gaps", ())
        ),
        gain_known=gain_known,
        gain_stated=gain_stated,
        numbered=is_numbered(document),
        start_id=None if start_id is None else int(start_id),
        nominal_v=document.get("nominal_v"),
        nominal_hz=document.get("nominal_hz"),
    )


def is_numbered(document: Document) -> bool:
    """Whether the Box numbers its samples.

    Documents of the original, and of schema 17 and before, do not say: samples from index 0 without a known
    uncertainty are those of a Box of the original there.
    """
    unknown = int(document.get("uncertainty_ns", UNKNOWN_UNCERTAINTY_NS)) >= UNKNOWN_UNCERTAINTY_NS
    return bool(document.get("numbered", bool(document.get("first_sample")) or not unknown))


def waveform_place(document: Document) -> WaveformPlace:
    """Returns where the waveform of a document of `box_events` lies."""
    stored_ns = document.get("stored_ns")
    return WaveformPlace(
        event_id=int(document["event_id"]),
        first_sample=int(document.get("first_sample", 0)),
        start_ns=start_of(document),
        end_ms=int(document.get("event_end_timestamp_ms", 0)),
        rate_millihz=int(document.get("rate_millihz", ORIGINAL_RATE_MILLIHZ)),
        stored_ns=None if stored_ns is None else int(stored_ns),
        numbered=is_numbered(document),
        start_id=document.get("start_id"),
    )


def start_of(document: Document) -> int:
    """Returns the time of the first sample of a document of `box_events`, ns."""
    return time_of(document.get("start_ns", int(document.get("event_start_timestamp_ms", 0)) * NS_PER_MS))


def meets(part: EventRecord | Incident, start_ns: int | None, end_ns: int | None) -> bool:
    """Whether an event or incident overlaps [start_ns, end_ns); None is not a limit."""
    return (start_ns is None or part.end_ns > start_ns) and (end_ns is None or part.start_ns < end_ns)


def by_box(waves: Iterable[Waveform]) -> tuple[Waveform, ...]:
    """Returns the waveforms sorted by Box number."""
    return tuple(sorted(waves, key=lambda wave: box_order(wave.box_id)))
