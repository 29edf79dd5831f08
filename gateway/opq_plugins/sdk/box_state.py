"""What a trigger's state holds of one Box, found by its keys: for a Box that was deleted.

A key of a Box is its id, its id and a word after a blank (`7 backfilled`), or a tuple with one of these.
Separate from `modules.py`, which runs triggers and does not know what their states hold.
"""

from collections import deque
from collections.abc import Hashable, MutableMapping, MutableSequence, MutableSet
from dataclasses import is_dataclass
from typing import Any


def forget_box(state: Any, box_id: str) -> None:
    """Removes from a state, or from its mappings, sets and lists, what is of a Box, also in its objects.

    Frozen dataclasses stay as they are: these are settings.
    """
    if isinstance(state, MutableMapping):
        for key in [each for each in state if _is_of(each, box_id)]:
            del state[key]
        for each in state.values():
            if isinstance(each, MutableMapping | MutableSet | MutableSequence):
                forget_box(each, box_id)
    elif isinstance(state, MutableSet):
        for each in [each for each in state if _is_of(each, box_id)]:
            state.discard(each)
    elif isinstance(state, MutableSequence | deque):
        kept = [each for each in state if getattr(each, "box_id", None) != box_id]
        if len(kept) < len(state):
            state.clear()
            state.extend(kept)
    elif state is not None and not isinstance(state, type):
        for name in _fields_of(state):
            forget_box(getattr(state, name, None), box_id)


def _fields_of(state: Any) -> tuple[str, ...]:
    if is_dataclass(state):
        frozen = getattr(getattr(state, "__dataclass_params__", None), "frozen", False)
        return () if frozen else tuple(state.__dataclass_fields__)
    return tuple(getattr(state, "__dict__", ())) if type(state).__module__ != "builtins" else ()


def _is_of(key: Hashable, box_id: str) -> bool:
    if isinstance(key, tuple):
        return any(_is_of(each, box_id) for each in key)
    return isinstance(key, str) and key.partition(" ")[0] == box_id
