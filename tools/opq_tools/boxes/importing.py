"""The original's `opq_boxes`, `locations` and `regions` as `mongoexport` writes them
(docs/reference/opq-interop.md, D.8).

One document a line, or one array of them; numbers may be Extended JSON: `{"$numberLong": "5"}`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from opq_cloud.store import BoxRecord, LocationRecord
from opq_cloud.store.documents.box_documents import box_from_document, location_from_document
from opq_proto.errors import ConfigError, KeyFileError, problem_count
from opq_proto.keys.key_files import checked_box_id, checked_public_key
from opq_proto.messages import GAIN_V
from opq_tools.shared.input_file import InputFileError, read_input_text

T = TypeVar("T")
LARGEST_BYTES = 256 * 2**20
PROBLEMS_SHOWN = 20
_NUMBERS = {"$numberLong": int, "$numberInt": int, "$numberDouble": float, "$numberDecimal": float}


def read_boxes(path: Path) -> list[BoxRecord]:
    """Reads every Box of the file; raises ConfigError with all problems, then nothing may be imported."""
    records = _read(path, _box)
    ids = [record.box_id for record in records]
    doubles = sorted({box_id for box_id in ids if ids.count(box_id) > 1}) if len(set(ids)) < len(ids) else []
    if doubles:
        raise ConfigError(f"{path}: Boxes {', '.join(doubles)} are there twice; nothing was imported")
    return records


def read_locations(path: Path) -> list[LocationRecord]:
    """Reads every location of the file; raises as `read_boxes`."""
    return _read(path, _location)


def read_regions(path: Path) -> list[tuple[str, str]]:
    """Reads pairs of region and location; raises as `read_boxes`."""
    return _read(path, _region)


def _read(path: Path, convert: Callable[[dict[str, Any]], T]) -> list[T]:
    found, problems = [], []
    for number, document in enumerate(_documents(path), 1):
        try:
            found.append(convert(document))
        except (ConfigError, KeyFileError) as error:
            problems.append(f"document {number}: {error}")
    if problems:
        more = [f"and {len(problems) - PROBLEMS_SHOWN} more"] if len(problems) > PROBLEMS_SHOWN else []
        lines = "\n  ".join([*problems[:PROBLEMS_SHOWN], *more])
        raise ConfigError(f"{path}: {problem_count(problems)}, nothing was imported\n  {lines}")
    return found


def _documents(path: Path) -> list[dict[str, Any]]:
    try:
        text = read_input_text(path, LARGEST_BYTES)
    except InputFileError as error:
        raise ConfigError(f"{error}; nothing was imported") from error
    try:
        if text.lstrip().startswith("["):
            documents = json.loads(text)
        else:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON as mongoexport writes it: {error}") from error
    plain = [_plain(document) for document in documents]
    if not plain or not all(isinstance(document, dict) for document in plain):
        raise ConfigError(f"{path} has no documents; want one a line, or one array of them")
    return plain


def _plain(value: Any) -> Any:
    """Extended JSON as plain values; a text that is not a number stays a text, and is refused later."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in _NUMBERS:
            try:
                return _NUMBERS[kind](str(inner))
            except ValueError:
                return str(inner)
    return {key: _plain(each) for key, each in value.items()}


def _box(document: dict[str, Any]) -> BoxRecord:
    if "box_id" not in document:
        raise ConfigError(f"has no box_id, but {', '.join(list(document)[:5]) or 'nothing'}")
    checked_box_id(str(document["box_id"]))
    constant = document.get("calibration_constant")
    if constant is not None and not (
        isinstance(constant, int | float) and 1 / GAIN_V[1] <= constant <= 1 / GAIN_V[0]
    ):
        raise ConfigError(f"calibration_constant is {constant!r}; want counts per volt, e.g. 152.5")
    since_ms = document.get("location_start_time_ms")
    if not isinstance(since_ms, int | float | None):
        raise ConfigError(f"location_start_time_ms is {since_ms!r}; want milliseconds since 1970")
    if not isinstance(document.get("location_archive") or [], list):
        raise ConfigError(f"location_archive is {document['location_archive']!r}; want a list")
    if key := document.get("public_key"):
        checked_public_key(str(key))
    if "unplugged" in document and not isinstance(document["unplugged"], bool | None):
        raise ConfigError(f"unplugged is {document['unplugged']!r}; want true or false")
    return box_from_document(document)


def _location(document: dict[str, Any]) -> LocationRecord:
    found = location_from_document(document)
    if found is None:
        raise ConfigError(
            f"location {document.get('slug')!r}: coordinates are {document.get('coordinates')!r}; "
            "want [longitude, latitude] in degrees, and a slug"
        )
    return found


def _region(document: dict[str, Any]) -> tuple[str, str]:
    region, location = document.get("regionSlug"), document.get("locationSlug")
    if not (isinstance(region, str) and region and isinstance(location, str) and location):
        raise ConfigError(f"regionSlug is {region!r}, locationSlug {location!r}; want two names")
    return region, location
