"""When two expressions are the same, wherever they stand."""

from dataclasses import fields, is_dataclass
from typing import Any

from opq_rules.sql.syntax import Literal

_PLACES = ("at", "slot", "written")


def signature(node: Any) -> Any:
    """Equal for equal expressions: the tree without its places."""
    if isinstance(node, tuple):
        return tuple(signature(each) for each in node)
    if not is_dataclass(node):
        return node
    if isinstance(node, Literal):
        return (type(node.value), node.value)
    names = (field.name for field in fields(node))
    return (type(node), *[signature(getattr(node, name)) for name in names if name not in _PLACES])
