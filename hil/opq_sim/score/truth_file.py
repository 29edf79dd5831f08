"""Reads truth.jsonl (docs/reference/contracts.md): one disturbance per line; a malformed line is reported and
skipped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_proto.errors import OpqError
from opq_sim.score.records import OPEN_NS, BoxSpan, TrueDisturbance

FILE_NAME = "truth.jsonl"
LONGEST_LINE = 4 << 20
"""Longest line in bytes; a disturbance of 10,000 Boxes has 1.5 MB."""


class TruthFileError(OpqError):
    """There is no truth to compare with."""


@dataclass(frozen=True, slots=True)
class TruthFile:
    """The content of the file, in its order."""

    disturbances: tuple[TrueDisturbance, ...]
    problems: tuple[str, ...]
    """One line per malformed line: file, line number, what is wrong."""
    nothing: int
    """Lines of class `none`: recordings of a data set without a disturbance."""


def read_truth(folder: Path) -> TruthFile:
    """Reads the truth of a run.

    Raises:
        TruthFileError: the file is not there or cannot be read.
    """
    path = folder / FILE_NAME
    found, problems, nothing = [], [], 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
                if not line.strip():
                    continue
                try:
                    disturbance = _disturbance(json.loads(line), str(number))
                except (ValueError, RecursionError) as error:
                    problems.append(f"{path}:{number}: {error}")
                    continue
                if disturbance is None:
                    nothing += 1
                else:
                    found.append(disturbance)
    except OSError as error:
        why = error.strerror or error
        raise TruthFileError(f"{path}: {why}; want what `sim --truth DIR` wrote") from error
    return TruthFile(tuple(found), tuple(problems), nothing)


def _disturbance(line: object, number: str) -> TrueDisturbance | None:
    """Reads a line; None for class `none`.

    Raises:
        ValueError: what is wrong with the line.
    """
    if not isinstance(line, dict):
        raise ValueError("is not an object of keys")
    kind = _text(line, "class")
    if kind == "none":
        return None
    start_ns, end_ns = _time(line, "start_ns"), _end(line)
    if end_ns < start_ns:
        raise ValueError(f"end_ns is {end_ns}, before start_ns {start_ns}")
    boxes = line.get("boxes")
    if not isinstance(boxes, dict) or not boxes:
        raise ValueError(f"boxes is {_short(boxes)}; want an object with one Box at least")
    spans = {}
    for box_id, facts in boxes.items():
        if not isinstance(facts, dict):
            raise ValueError(f"boxes: {_short(box_id)} is {_short(facts)}; want an object")
        begin_ns = _time(facts, "arrival_ns") if facts.get("arrival_ns") is not None else start_ns
        box_kind = _text(facts, "class") if facts.get("class") is not None else kind
        side = facts.get("side")
        spans[box_id] = BoxSpan(
            box_kind, begin_ns, max(begin_ns, end_ns), side=side if isinstance(side, str) else None
        )
    scope = line.get("scope")
    return TrueDisturbance(
        str(line.get("id", number)),
        kind,
        scope if isinstance(scope, str) else None,
        {box_id: span for box_id, span in spans.items() if span.kind != "none"} or spans,
        str(line.get("cause", "")),
        _coordinates(line),
    )


def _coordinates(line: Mapping[str, Any]) -> tuple[float, float] | None:
    """Coordinates of a line; None if it has none."""
    at = line.get("latitude"), line.get("longitude")
    if at == (None, None):
        return None
    for value, most in zip(at, (90.0, 180.0), strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
            raise ValueError(f"latitude, longitude are {_short(at)}; want degrees")
    return float(at[0]), float(at[1])  # type: ignore[arg-type]


def _text(line: Mapping[str, Any], key: str) -> str:
    value = line.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is {_short(value)}; want a class such as sag or harmonics+sag")
    return value


def _time(line: Mapping[str, Any], key: str) -> int:
    value = line.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < OPEN_NS:
        raise ValueError(f"{key} is {_short(value)}; want whole nanoseconds since 1970")
    return value


def _end(line: Mapping[str, Any]) -> int:
    return OPEN_NS if "end_ns" in line and line["end_ns"] is None else _time(line, "end_ns")


def _short(value: object) -> str:
    return repr(value)[:60]
