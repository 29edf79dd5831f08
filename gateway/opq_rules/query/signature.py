"""When two expressions are the same, wherever they stand."""

from dataclasses import fields, is_dataclass
from typing import Any

from opq_rules.sql.syntax import Literal

_PLACES = ("at", "slot")


def signature(node: Any, spelled: bool = False) -> Any:
    """Equal for equal expressions: the tree without its places. `spelled`: and if functions are written the
    same, so that their errors read the same."""
    if isinstance(node, tuple):
        return tuple(signature(each, spelled) for each in node)
    if not is_dataclass(node):
        return node
    if isinstance(node, Literal):
        return (type(node.value), node.value)
    names = (field.name for field in fields(node))
    left_out = _PLACES if spelled else (*_PLACES, "written")
    return (type(node), *[signature(getattr(node, name), spelled) for name in names if name not in left_out])
