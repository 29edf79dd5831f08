"""JSON texts, and paths into values (RFC 9535, and the filter form `[? @.x>1]`).

Data given as text is parsed first; data that is null is an error. A path that can match only one place gives
its value, any other the array of all matches. Source: docs/reference/rules.md, D.5, JSON.
"""

from collections.abc import Callable
from functools import lru_cache

import msgspec

from opq_rules.functions.arguments import reads, text
from opq_rules.functions.registry import Definition, Scalar
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import put_out, shown


@lru_cache(maxsize=512)
def _path(path: str) -> tuple[Callable[[Value], list[Value]], bool]:
    """The search function, and whether it can match only one place."""
    try:
        import jsonpath  # of the extra `rules`
    except ImportError as error:
        raise ValueError("a path needs python-jsonpath: pip install 'opq-toolkit[rules]'") from error
    try:
        compiled = jsonpath.compile(path)
    except jsonpath.JSONPathError as error:
        raise ValueError(f"path {path!r}: {str(error).splitlines()[0]}") from None
    if not isinstance(compiled, jsonpath.JSONPath):
        raise ValueError(f"path {path!r}: want one path, without | and &")

    def search(data: Value) -> list[Value]:
        try:
            return list(compiled.findall(data))
        except jsonpath.JSONPathError as error:
            raise ValueError(f"path {path!r}: {error}") from None

    return search, compiled.singular_query()


def _data(value: Value) -> Value:
    if value is None:
        raise ValueError("want an object, an array or a JSON text, not null")
    found = _parse(value) if isinstance(value, str | bytes) else value
    if not isinstance(found, dict | list):
        raise TypeError(f"want an object or an array, not {shown(found)}")
    return found


def _query(value: Value, path: Value) -> Value:
    search, singular = _path(text(path))
    found = search(_data(value))
    if singular:
        return found[0] if found else None
    return found


def _query_first(value: Value, path: Value) -> Value:
    """The first match; if the path can match only one place and that is an array, its first element."""
    search, singular = _path(text(path))
    found = search(_data(value))
    if singular and found and isinstance(found[0], list):
        found = found[0]
    return found[0] if found else None


def _exists(value: Value, path: Value) -> bool:
    search, _ = _path(text(path))
    return any(found is not None for found in search(_data(value)))


def _parse(value: Value) -> Value:
    """The value of a JSON text."""
    try:
        return msgspec.json.decode(value if type(value) is bytes else text(value).encode())
    except msgspec.MsgspecError as error:
        raise ValueError(f"not JSON: {error}") from None


_CHECK = reads(1, _path)

FUNCTIONS: tuple[Definition, ...] = (
    Scalar("to_json", lambda value: msgspec.json.encode(put_out(value)).decode(), 1, 1),
    Scalar("parse_json", _parse, 1, 1),
    Scalar("json_path_query", _query, 2, 2, null_in_null_out=False, check=_CHECK),
    Scalar("json_path_query_first", _query_first, 2, 2, null_in_null_out=False, check=_CHECK),
    Scalar("json_path_exists", _exists, 2, 2, null_in_null_out=False, check=_CHECK),
)
