"""Null, identifiers, digests, and facts about the record and its rule: meta, times of event, window and rule.

Digests are in lower-case hexadecimal. Source: docs/reference/rules.md, D.5, Hash and Other.
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from opq_rules.functions.arguments import boolean, number, octets, one_of, text, time, whole
from opq_rules.functions.registry import MAX_ARGUMENTS, Definition, Planned, RunContext, Scalar
from opq_rules.values.batch import Value


def _digest(name: str) -> Callable[[Value], str]:
    return lambda value: hashlib.new(name, octets(value), usedforsecurity=False).hexdigest()


_MQTT = ("topic", "messageid")
_STATE_KINDS = {"bigint": whole, "float": number, "string": text, "boolean": boolean, "datetime": time}
_CHECK_KIND = one_of(1, *_STATE_KINDS)


def _coalesce(*values: Value) -> Value:
    return next((value for value in values if value is not None), None)


def _meta(context: RunContext, path: tuple[str | None, ...]) -> Value:
    """The metadata at `path`; in a join those of the stream named there."""
    stream, *names = path
    value: Value = context.meta
    if stream is not None and isinstance(value, Mapping):
        of_stream = value.get(stream)
        value = of_stream if isinstance(of_stream, Mapping) else value
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _check_mqtt(constants: Sequence[Value]) -> str:
    names = constants[0][1:]
    if len(names) == 1 and names[0].lower() in _MQTT:
        return ""
    return f"{'->'.join(names)}; want {' or '.join(_MQTT)}"


def _mqtt(context: RunContext, path: tuple[str | None, ...]) -> Value:
    stream, name = path
    return _meta(context, (stream, str(name).lower()))


def _keyed_state(context: RunContext, key: Value, kind: Value, default: Value) -> Value:
    """The value that was set under this key; the default if there is none."""
    value = context.keyed_state.get(text(key))
    return default if value is None else _STATE_KINDS[text(kind).lower()](value)


FUNCTIONS: tuple[Definition, ...] = (
    *[Scalar(name, _digest(name), 1, 1) for name in ("md5", "sha1", "sha256", "sha384", "sha512")],
    Scalar("crc32", lambda value: f"{zlib.crc32(octets(value)):x}", 1, 1),
    Scalar("isnull", lambda value: value is None, 1, 1, null_in_null_out=False),
    Scalar("coalesce", _coalesce, 1, MAX_ARGUMENTS, null_in_null_out=False),
    Scalar("newuuid", lambda: str(uuid4()), 0, 0, volatile=True),
    Scalar("meta", _meta, 1, 1, context=True, path=True),
    Scalar("mqtt", _mqtt, 1, 1, context=True, path=True, check=_check_mqtt),
    Scalar("event_time", lambda context: context.event_ms, 0, 0, context=True),
    Scalar("window_start", lambda context: context.window_start_ms, 0, 0, context=True),
    Scalar("window_end", lambda context: context.window_end_ms, 0, 0, context=True),
    Scalar("rule_id", lambda context: context.rule_id, 0, 0, context=True),
    Scalar("rule_start", lambda context: context.rule_start_ms, 0, 0, context=True),
    Scalar("get_keyed_state", _keyed_state, 3, 3, null_in_null_out=False, context=True, check=_CHECK_KIND),
    Planned("row_number", 0, 0),
    Planned("window_trigger", 0, 0),
    Planned("last_hit_count", 0, 0),
    Planned("last_hit_time", 0, 0),
    Planned("last_agg_hit_count", 0, 0),
    Planned("last_agg_hit_time", 0, 0),
)
