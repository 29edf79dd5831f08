"""Objects (struct): functions that change none of them. Source: docs/reference/rules.md, D.5, Object."""

from collections.abc import Sequence

from opq_rules.functions.arguments import array, struct
from opq_rules.functions.registry import MAX_ARGUMENTS, Definition, Scalar
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import shown


def _key(value: Value) -> str:
    if type(value) is not str:
        raise TypeError(f"key {shown(value)}; want a text")
    return value


def _object(keys: Value, values: Value) -> dict[str, Value]:
    if len(array(keys)) != len(array(values)):
        raise ValueError(f"{len(keys)} keys, {len(values)} values; want as many values as keys")
    return {_key(key): value for key, value in zip(keys, values, strict=True)}


def _construct(*pairs: Value) -> dict[str, Value]:
    return {_key(key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _check_pairs(constants: Sequence[Value]) -> str:
    return "" if len(constants) % 2 == 0 else f"{len(constants)} arguments; want pairs of key and value"


def _concat(*objects: Value) -> dict[str, Value]:
    """The objects merged; a key that occurs several times takes the last value."""
    found: dict[str, Value] = {}
    for each in objects:
        if each is not None:
            found.update(struct(each))
    return found


def _names(values: Sequence[Value]) -> set[str]:
    """The names given as texts and as arrays of texts."""
    flat = [name for value in values for name in (value if isinstance(value, list) else [value])]
    return {_key(name) for name in flat if name is not None}


def _pick(of: Value, *names: Value) -> dict[str, Value] | None:
    """The object with only these names; a name is a key, or a path of keys to a nested value: `k1.temp`."""
    kept = _names(names)
    return None if of is None else _picked(struct(of), kept)


def _picked(of: dict[str, Value], kept: set[str]) -> dict[str, Value]:
    below: dict[str, set[str]] = {}
    for name in kept:
        key, point, rest = name.partition(".")
        if point:
            below.setdefault(key, set()).add(rest)
    found = {}
    for key, value in of.items():
        if key in kept:
            found[key] = value
        elif key in below and isinstance(value, dict):
            found[key] = _picked(value, below[key])
    return found


def _erase(of: Value, *names: Value) -> dict[str, Value] | None:
    gone = _names(names)
    return None if of is None else {key: value for key, value in struct(of).items() if key not in gone}


def _zip(of: Value) -> dict[str, Value]:
    found = {}
    for pair in array(of):
        if pair is None:
            continue
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{shown(pair)}; want [key, value]")
        found[_key(pair[0])] = pair[1]
    return found


def _items(of: Value) -> list[list[Value]]:
    return [[key, value] for key, value in struct(of).items()]


def _pairs(of: Value) -> list[dict[str, Value]]:
    return [{"key": key, "value": value} for key, value in struct(of).items()]


FUNCTIONS: tuple[Definition, ...] = (
    Scalar("keys", lambda of: list(struct(of)), 1, 1),
    Scalar("values", lambda of: list(struct(of).values()), 1, 1),
    Scalar("object", _object, 2, 2),
    Scalar("object_construct", _construct, 2, MAX_ARGUMENTS, null_in_null_out=False, check=_check_pairs),
    Scalar("object_concat", _concat, 2, MAX_ARGUMENTS, null_in_null_out=False),
    Scalar("object_pick", _pick, 2, MAX_ARGUMENTS, null_in_null_out=False),
    Scalar("object_size", lambda of: 0 if of is None else len(struct(of)), 1, 1, null_in_null_out=False),
    Scalar("erase", _erase, 2, MAX_ARGUMENTS, null_in_null_out=False),
    Scalar("zip", _zip, 1, 1),
    Scalar("items", _items, 1, 1),
    Scalar("obj_to_kvpair_array", _pairs, 1, 1),
    Scalar("extract", struct, 1, 1, spread="columns"),
    Scalar("unnest", array, 1, 1, spread="rows"),
)
