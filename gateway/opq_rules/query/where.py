"""WHERE in two: what one stream's columns decide, before window and join, and the rest behind."""

from collections.abc import Sequence

from opq_rules.expressions.closures import Evaluate
from opq_rules.query.names import Clause
from opq_rules.query.resolver import Compiler
from opq_rules.sql.syntax import Binary, Column, Expression, Select
from opq_rules.sql.walk import walk

WHERE = Clause("WHERE")


def split_where(select: Select, names: Compiler) -> tuple[dict[int, Evaluate], Evaluate | None]:
    """What a stream's own columns decide is asked before window and join, the rest behind the join."""
    if select.where is None:
        return {}, None
    if not names.joined:
        return {0: names.condition(select.where, WHERE)}, None
    before: dict[int, list[Expression]] = {}
    after: list[Expression] = []
    for part in conjuncts(select.where):
        read = names.origins_of(part)
        own = next(iter(read)) if len(read) == 1 else None
        if own is not None and names.origins[own].kind == "stream" and is_certain(part, own, names):
            before.setdefault(own, []).append(part)
        else:
            after.append(part)
    compiled = {own: names.condition(_together(parts), WHERE) for own, parts in before.items()}
    return compiled, names.condition(_together(after), WHERE) if after else None


def is_certain(node: Expression, own: int, names: Compiler) -> bool:
    """Whether no other origin could have its columns: those without a stream's name may be anybody's."""
    for each in walk(node):
        if isinstance(each, Column) and each.stream is None:
            item = names.aliases.get(each.name.lower())
            if item is not None:
                if not is_certain(item.expression, own, names):
                    return False
            elif any(origin.index != own and origin.has(each.name) for origin in names.origins):
                return False
    return True


def conjuncts(node: Expression) -> list[Expression]:
    """The parts of `a AND b AND c`, in order."""
    found: list[Expression] = []
    while isinstance(node, Binary) and node.operator == "AND":
        found.append(node.right)
        node = node.left
    return [node, *reversed(found)]


def _together(parts: Sequence[Expression]) -> Expression:
    whole = parts[0]
    for part in parts[1:]:
        whole = Binary("AND", whole, part, part.at)
    return whole
