"""A symbol's file declares its properties: defaults are filled in, wrong types and missing ones reported.

Three forms of `sinks/<symbol>.json` (or .yaml): ours, `{"properties": {"url": {"type": "string", "required":
true}}}`; eKuiper's for its user interface, `{"properties": [{"name": "url", "default": ""}]}`; and eKuiper's
for sources, `default:` with the values themselves.
"""

import importlib
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
MAX_VALUES = 10_000
"""Values of a file in all: nine lines of YAML can expand to a thousand million."""


def read_properties(folder: Path, kind_folder: str, symbol: str) -> Properties:
    """Name -> {"type"?, "default"?, "required"?, "help"?}; empty without a file. Raises PluginError."""
    for ending in ("json", "yaml", "yml"):
        for path in (folder / kind_folder / f"{symbol}.{ending}", folder / f"{symbol}.{ending}"):
            if path.is_file() and path.name != "plugin.json" and not _is_manifest(path):
                if path.stat().st_size > MAX_BYTES:
                    raise PluginError(f"{path.name} has more than {MAX_BYTES >> 10} KiB")
                return parse_properties(path.read_bytes(), path.name)
    return {}


def parse_properties(raw: bytes, file_name: str) -> Properties:
    """Raises PluginError where it has none of the three forms."""
    document = _load(raw, file_name)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise PluginError(f"{file_name}: want an object")
    given = document.get("properties", {})
    found: Properties = {}
    if isinstance(given, dict):
        for name, about in given.items():
            found[str(name)] = dict(about) if isinstance(about, dict) else {"default": about}
    elif isinstance(given, list):
        for about in given:
            if not isinstance(about, dict) or not isinstance(about.get("name"), str):
                raise PluginError(f"{file_name}: each of `properties` wants a name")
            kept = {key: about[key] for key in ("type", "default") if key in about}
            found[about["name"]] = kept | ({"required": True} if about.get("optional") is False else {})
    else:
        raise PluginError(f"{file_name}: properties: want an object or a list")
    defaults = document.get("default")
    if isinstance(defaults, dict):
        found |= {str(name): {"default": value} for name, value in defaults.items()}
    return found


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


def _load(raw: bytes, file_name: str) -> Value:
    if file_name.endswith(".json"):
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise PluginError(f"{file_name} is no JSON") from None
    try:
        yaml = importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise PluginError(f"{file_name}: YAML needs `pip install pyyaml`; or write it as JSON") from None
    try:
        document = yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise PluginError(f"{file_name} is no YAML") from None
    if _is_endless(document):
        raise PluginError(f"{file_name} has more than {MAX_VALUES} values")
    return document


def _is_endless(document: Value) -> bool:
    """Whether there are more than MAX_VALUES; a value that YAML repeats by an alias counts each time."""
    waiting, seen = [document], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        if seen + len(waiting) > MAX_VALUES:
            return True
    return False


def _is_manifest(path: Path) -> bool:
    """Whether it is the <name>.json of a portable plug-in, which may have the name of its symbol."""
    if path.suffix != ".json" or path.parent.name in ("sources", "sinks", "functions"):
        return False
    return b'"executable"' in path.read_bytes()
