"""JSON with samples in it: our own export, the original's documents, those of its Boxes, plain objects.

A document has its samples under one of `SAMPLES`, or names the file of its GridFS (`data_fs_filename`), which
is read where it lies beside. Numbers may be MongoDB's extended JSON (`{"$numberLong": "1"}`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opq_proto.errors import RecordingError
from opq_recordings.exported import exported_channel, runs_between
from opq_recordings.facts import facts_of, json_fault
from opq_recordings.moments import MAX_START_NS
from opq_recordings.recording import Channel, Content, without_missing
from opq_recordings.stated_facts import StatedStart, stated_start

LARGEST_BYTES = 256 << 20
SAMPLES = ("counts", "samples", "waveform", "volts", "data", "datapoints", "values", "raw_data")
"""Keys of a list of samples; `volts` are volts, all others counts unless they have fractions."""
START_MS = ("event_start_timestamp_ms", "start_timestamp_ms", "start_ms", "start_ts", "timestamp_ms")
RATES = ("rate_hz", "sample_rate_hz", "sample_rate", "sampling_rate", "fs")
ORIGINAL_RATE_HZ = 12_000.0
"""Every Box of the original samples at this rate; its documents do not state it."""
MOST_DOCUMENTS = 1000
FACTS = ("rate_hz", "volts_per_lsb", "nominal_volts", "nominal_hz", "box_id")


def read_json(path: Path) -> Content:
    """Reads every waveform of the file: one object, a list of them, or one on each line.

    Raises:
        RecordingError: no JSON, too large, or without samples.
    """
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise RecordingError(
            f"{path}: has {size >> 20} MiB of JSON, want at most {LARGEST_BYTES >> 20}; export it as npy"
        )
    data = path.read_bytes()
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        content = _lines(path, data, error)
    if isinstance(content, dict) and content.get("format") == "opq-event-1":
        return Content("JSON of opq-tools export", tuple(_exported(path, content)))
    assumed: list[str] = []
    problems: list[str] = []
    channels = []
    for place, document in enumerate(_documents(content), 1):
        plain = _plain(document)
        channel = _channel(path, plain, place, assumed, problems) if isinstance(plain, dict) else None
        if channel is not None:
            channels.append(channel)
    if not channels:
        raise RecordingError(
            f"{path}: has no list of numbers under {', '.join(SAMPLES[:4])} …; if it states the facts of "
            "another file, name that file"
        )
    return Content("JSON", tuple(channels), tuple(dict.fromkeys(assumed)), tuple(dict.fromkeys(problems)))


def _lines(path: Path, data: bytes, error: Exception) -> list[Any]:
    try:
        return [json.loads(line) for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise RecordingError(f"{path}: is not JSON: {json_fault(error)}") from error


def _documents(content: Any) -> Iterator[Mapping[str, Any]]:
    """The objects that may hold a waveform: the content itself, its list, or a list within it."""
    if isinstance(content, list):
        if content and all(_is_number(each) for each in content[:100]):
            yield {"samples": content}
            return
        for each in content[:MOST_DOCUMENTS]:
            if isinstance(each, dict):
                yield each
    elif isinstance(content, dict):
        yield content
        for each in content.values():
            if isinstance(each, list) and each and isinstance(each[0], dict):
                yield from (one for one in each[:MOST_DOCUMENTS] if isinstance(one, dict))


def _channel(
    path: Path, document: Mapping[str, Any], place: int, assumed: list[str], problems: list[str]
) -> Channel | None:
    name = next((key for key in SAMPLES if isinstance(document.get(key), list) and document[key]), None)
    if name is not None:
        values = _array(path, document[name], name)
    elif isinstance(document.get("data_fs_filename"), str):
        values = _grid_file(path, document["data_fs_filename"])
    else:
        return None
    facts = facts_of(path, {key: each for key, each in document.items() if key in FACTS})
    per_volt = document.get("calibration_constant", document.get("calibration"))
    gain = facts.volts_per_lsb
    if gain is None and _is_number(per_volt) and 1 < float(per_volt) < 1e9:
        gain = 1 / float(per_volt)
    volts = name == "volts" or (name is not None and values.dtype.kind == "f" and gain is None)
    rate_hz = next(
        (float(document[key]) for key in RATES if _is_number(document.get(key)) and document[key] > 0), None
    )
    if rate_hz is None and {"event_id", "box_id"} <= document.keys():
        rate_hz = ORIGINAL_RATE_HZ
        assumed.append("rate_hz")
    start = _start(document)
    if start is not None:
        assumed += [] if start.zone else ["time_zone"]
        problems += [] if start.problem is None else [start.problem]
    channel = Channel.of(
        facts.box_id or str(document.get("name") or f"waveform {place}"),
        values,
        scale=1.0 if volts else gain,
        unit="V" if name == "volts" or gain is not None else None,
        quantity="voltage" if name == "volts" or gain is not None else None,
        rate_hz=rate_hz,
        start_ns=None if start is None else start.t_ns,
        nominal_v=facts.nominal_v,
        nominal_hz=facts.nominal_hz,
        box_id=facts.box_id,
    )
    return without_missing(channel)


def _start(document: Mapping[str, Any]) -> StatedStart | None:
    """The start of a document; its samples are read even if the start is not understood."""
    start_ns = document.get("start_ns")
    if isinstance(start_ns, int) and not isinstance(start_ns, bool) and 0 <= start_ns <= MAX_START_NS:
        return StatedStart(start_ns)
    if start_ns is not None:
        return StatedStart(None, problem=f"its start_ns, {start_ns!r:.40}, is not a time from 1970 to 2115")
    scalars = {key: each for key, each in document.items() if isinstance(each, str) or _is_number(each)}
    if (found := stated_start(scalars)) is not None:
        return found
    ms = next((document[key] for key in START_MS if _is_number(document.get(key))), None)
    return StatedStart(int(ms) * 10**6) if ms is not None and 0 < ms < 4e12 else None


def _array(path: Path, values: list[Any], name: str) -> np.ndarray[Any, Any]:
    if isinstance(values[0], list):  # the original's frames: a list of cycles
        values = [each for part in values for each in (part if isinstance(part, list) else [part])]
    plain = [None if each is None else _plain(each) for each in values]
    for index, each in enumerate(plain):
        if each is not None and not _is_number(each):
            raise RecordingError(f"{path}: {name}[{index}] is {each!r:.40}, want a number")
    if all(isinstance(each, int) and -(2**31) <= each < 2**31 for each in plain):
        return np.array(plain, dtype=np.int32)
    return np.array([np.nan if each is None else float(min(max(each, -1e300), 1e300)) for each in plain])


def _grid_file(path: Path, name: str) -> np.ndarray[Any, Any]:
    """The raw int16 of the original's GridFS, as a file beside the document."""
    found = path.parent / Path(name).name
    if not found.is_file():
        raise RecordingError(f"{path}: its samples are in {name!r:.80}; put that file beside it")
    data = found.read_bytes()
    if not data or len(data) % 2:
        raise RecordingError(f"{found}: has {len(data)} bytes; want 2 per sample, at least one")
    return np.frombuffer(data, "<i2")


def _exported(path: Path, content: Mapping[str, Any]) -> Iterator[Channel]:
    waveforms = content.get("waveforms")
    for document in waveforms if isinstance(waveforms, list) else []:
        if (
            not isinstance(document, dict)
            or not isinstance(document.get("counts"), list)
            or not document["counts"]
        ):
            continue
        values = _array(path, document["counts"], "counts")
        if values.dtype.kind != "i":
            raise RecordingError(f"{path}: its counts are not whole numbers")
        stated = document.get("samples")
        if isinstance(stated, int) and stated != len(values):
            raise RecordingError(f"{path}: states {stated} samples, but has {len(values)}")
        if np.abs(values).max() < 2**15:
            values = values.astype(np.int16)
        runs = runs_between(document, len(values), stored_gaps=False)
        yield exported_channel(str(document.get("box_id")), values, runs, document)


def _plain(value: Any) -> Any:
    """A value without MongoDB's extended JSON."""
    if isinstance(value, dict):
        if len(value) == 1:
            key, inner = next(iter(value.items()))
            if (
                key in ("$numberInt", "$numberLong")
                and isinstance(inner, str)
                and inner.lstrip("-").isdigit()
            ):
                return int(inner[:20])
            if key == "$numberDouble" and isinstance(inner, str):
                try:
                    return float(inner)
                except ValueError:
                    return inner
        return {key: _plain(each) if isinstance(each, dict) else each for key, each in value.items()}
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
