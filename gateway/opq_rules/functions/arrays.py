"""Functions on arrays, from index 0.

Elements are equal if kind and value are: 1 and 1.0 are, 1 and true are not.
No function changes the array that it is given. Source: docs/reference/rules.md, D.5, Array.
"""

from collections.abc import Sequence

from opq_rules.functions.arguments import (
    MAX_MADE,
    MAX_TEXT,
    array,
    bounded,
    counted,
    reads,
    struct,
    text,
    whole,
)
from opq_rules.functions.registry import MAX_ARGUMENTS, Definition, Scalar, find, near
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import compare, identity, index, shown

_ORDER = {bool: 1, int: 2, float: 2, str: 3}


def _element_at(of: Value, at: Value) -> Value:
    """An element of an array by its index, of an object by its key."""
    return of.get(text(at)) if isinstance(of, dict) else index(array(of), whole(at))


def position(of: Value, value: Value) -> int:
    wanted = identity(value)
    places = (place for place, each in enumerate(of or ()) if identity(each) == wanted)
    return next(places, -1)


def _last_position(of: Value, value: Value) -> int:
    back = position(list(reversed(of or ())), value)
    return -1 if back < 0 else len(of) - 1 - back


def _contains(of: Value, value: Value) -> bool:
    return of is not None and position(array(of), value) >= 0


def _contains_any(left: Value, right: Value) -> bool:
    if left is None or right is None:
        return False
    return not _identities(left).isdisjoint(_identities(right))


def _identities(of: Value) -> set[Value]:
    return {identity(each) for each in array(of)}


def _remove(of: Value, value: Value) -> list[Value] | None:
    if of is None:
        return None
    wanted = identity(value)
    return [each for each in array(of) if identity(each) != wanted]


def _distinct(of: Sequence[Value]) -> list[Value]:
    """The first of each group of equal elements, in order."""
    seen: dict[Value, Value] = {}
    for each in of:
        seen.setdefault(identity(each), each)
    return list(seen.values())


def _intersect(left: Value, right: Value) -> list[Value]:
    other = _identities(right)
    return [each for each in _distinct(array(left)) if identity(each) in other]


def _union(left: Value, right: Value) -> list[Value] | None:
    if left is None and right is None:
        return None
    return _distinct([*array(left or []), *array(right or [])])


def _except(left: Value, right: Value) -> list[Value] | None:
    if left is None:
        return None
    other = _identities(right or [])
    return [each for each in _distinct(array(left)) if identity(each) not in other]


def _extreme(sign: str, of: Value) -> Value:
    """The extreme of numbers or of texts; null elements are left out."""
    best = None
    for each in array(of):
        if each is not None and (best is None or compare(sign, each, best)):
            best = each
    return best


def _flatten(of: Value) -> list[Value]:
    """The array flattened by one level."""
    flat: list[Value] = []
    for each in array(of):
        if isinstance(each, list):
            flat.extend(each)
        else:
            flat.append(each)
        if len(flat) > MAX_MADE:
            raise ValueError(f"gives more than {MAX_MADE} elements")
    return flat


def _map(name: Value, of: Value) -> list[Value]:
    function = _mapped(text(name))
    strict, run = function.null_in_null_out, function.run
    return [None if strict and each is None else run(each) for each in array(of)]


def _mapped(name: str) -> Scalar:
    function = find(name)
    if function is None:
        raise ValueError(f"function {name} not found; {near(name)}".rstrip("; "))
    if not isinstance(function, Scalar) or function.context or function.path or function.spread:
        raise ValueError(f"{name} is not a function of one value")
    if not function.least <= 1 <= function.most:
        raise ValueError(f"{name} takes no single argument")
    return function


def _join(of: Value, delimiter: Value, instead: Value = None) -> str | None:
    """The elements as one text; null elements are left out, or written as `instead`."""
    if of is None or delimiter is None:
        return None
    kept = [each if each is not None else instead for each in array(of)]
    texts, between = [text(each) for each in kept if each is not None], text(delimiter)
    bounded(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _sort(of: Value) -> list[Value]:
    """Sorted: null, then false and true, numbers, texts; other kinds cannot be sorted."""

    def place(value: Value) -> tuple[int, Value]:
        if value is None:
            return 0, 0
        if type(value) not in _ORDER:
            raise TypeError(f"{shown(value)} does not sort")
        return _ORDER[type(value)], value

    return sorted(array(of), key=place)


def _repeat(value: Value, count: Value) -> list[Value]:
    count, size = counted(count), _size(value, MAX_TEXT)
    if count * size > MAX_TEXT:
        raise ValueError(f"{count} of {size} characters or elements; want at most {MAX_TEXT} together")
    return [value] * count


def _size(value: Value, most: int) -> int:
    """The number of characters and elements, including nested ones; counting stops at `most`."""
    if isinstance(value, str | bytes):
        return max(1, len(value))
    inside = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    size = 1
    for each in inside:
        size += _size(each, most - size)
        if size > most:
            break
    return size


def _sequence(start: Value, stop: Value, step: Value = None) -> list[int]:
    """The numbers from start to stop, both included; without `step` the step is 1, or -1 downwards."""
    step = whole(step) if step is not None else (1 if whole(stop) >= whole(start) else -1)
    if step == 0:
        raise ValueError("step is 0; want another whole number")
    found = range(whole(start), whole(stop) + (1 if step > 0 else -1), step)
    if len(found) > MAX_MADE:
        raise ValueError(f"{len(found)} elements; want at most {MAX_MADE}")
    return list(found)


def _to_object(of: Value) -> dict[str, Value]:
    """An object made from elements `{"key": k, "value": v}`."""
    found = {}
    for each in array(of):
        pair = struct(each)
        if type(pair.get("key")) is not str or "value" not in pair:
            raise ValueError(f'{shown(each)}; want {{"key": text, "value": anything}}')
        found[pair["key"]] = pair["value"]
    return found


def _concat(*arrays: Value) -> list[Value]:
    return [each for of in arrays if of is not None for each in array(of)]


def _cardinality(of: Value) -> int:
    return len(of) if isinstance(of, list) else 0


def _loose(name: str, run: Value, least: int, most: int) -> Scalar:
    """A function that is also called with null."""
    return Scalar(name, run, least, most, null_in_null_out=False)


FUNCTIONS: tuple[Definition, ...] = (
    _loose("cardinality", _cardinality, 1, 1),
    _loose("array_cardinality", _cardinality, 1, 1),
    _loose("array_position", position, 2, 2),
    _loose("array_last_position", _last_position, 2, 2),
    Scalar("element_at", _element_at, 2, 2),
    _loose("array_contains", _contains, 2, 2),
    _loose("array_contains_any", _contains_any, 2, 2),
    _loose("array_create", lambda *values: [each for each in values if each is not None], 0, MAX_ARGUMENTS),
    _loose("array_remove", _remove, 2, 2),
    Scalar("array_intersect", _intersect, 2, 2),
    _loose("array_union", _union, 2, 2),
    _loose("array_except", _except, 2, 2),
    Scalar("array_max", lambda of: _extreme(">", of), 1, 1),
    Scalar("array_min", lambda of: _extreme("<", of), 1, 1),
    Scalar("array_flatten", _flatten, 1, 1),
    Scalar("array_distinct", lambda of: _distinct(array(of)), 1, 1),
    Scalar("array_map", _map, 2, 2, check=reads(0, _mapped)),
    _loose("array_join", _join, 2, 3),
    _loose("array_concat", _concat, 1, MAX_ARGUMENTS),
    Scalar("array_sort", _sort, 1, 1),
    Scalar("repeat", _repeat, 2, 2),
    Scalar("sequence", _sequence, 2, 3),
    Scalar("kvpair_array_to_obj", _to_object, 1, 1),
)
