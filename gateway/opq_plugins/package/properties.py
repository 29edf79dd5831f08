"""A symbol's file declares its properties: defaults are filled in, wrong types and missing ones reported.

`sinks/<symbol>.json` has `{"properties": {"url": {"type": "string", "required": true}}}`.
"""

import json
from pathlib import Path

from opq_plugins.sdk import Row, Value
from opq_proto.errors import PluginError

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "bigint": (int,),
    "number": (int, float),
    "float": (int, float),
    "bool": (bool,),
    "boolean": (bool,),
    "list": (list,),
    "array": (list,),
    "list_string": (list,),
    "list_object": (list,),
    "object": (dict,),
}

Properties = dict[str, dict[str, Value]]
MAX_BYTES = 1 << 18
FORM = '{"properties": {NAME: {"type", "default", "required", "help"}}}'


def read_properties(folder: Path, kind_folder: str, symbol: str) -> Properties:
    """Name -> {"type"?, "default"?, "required"?, "help"?}; empty without a file. Raises PluginError."""
    for ending in ("yaml", "yml"):
        if (folder / kind_folder / f"{symbol}.{ending}").is_file():
            raise PluginError(
                f"{symbol}.{ending} is eKuiper's form; write {kind_folder}/{symbol}.json: {FORM}"
            )
    path = folder / kind_folder / f"{symbol}.json"
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_BYTES:
        raise PluginError(f"{path.name} has more than {MAX_BYTES >> 10} KiB")
    return parse_properties(path.read_bytes(), path.name)


def parse_properties(raw: bytes, file_name: str) -> Properties:
    """Raises PluginError where it has another form."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise PluginError(f"{file_name} is not JSON") from None
    given = document.get("properties", {}) if isinstance(document, dict) else None
    if not isinstance(given, dict) or "default" in document:
        raise PluginError(f"{file_name}: want {FORM}")
    return {
        str(name): dict(about) if isinstance(about, dict) else {"default": about}
        for name, about in given.items()
    }


def fill(properties: Properties, given: Row) -> dict[str, Value]:
    """`given` with defaults. Raises ValueError with every missing property and every wrong type."""
    filled = {
        name: about["default"] for name, about in properties.items() if about.get("default") is not None
    }
    filled |= given
    problems = []
    for name, about in properties.items():
        value = filled.get(name)
        if value is None:
            if about.get("required"):
                problems.append(f"{name}  missing{': ' + str(about['help']) if about.get('help') else ''}")
            continue
        types = TYPES.get(str(about.get("type", "")))
        if types and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            problems.append(f"{name}  is {type(value).__name__}; want {about['type']}")
    if problems:
        raise ValueError("; ".join(problems))
    return filled
