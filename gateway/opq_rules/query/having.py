"""What HAVING may say: aggregates, functions of them, and what GROUP BY names."""

from opq_rules.expressions.compiled import refused
from opq_rules.functions.registry import Aggregate, Planned, find
from opq_rules.query.names import Names
from opq_rules.query.signature import signature
from opq_rules.sql.syntax import Call, Column, Expression, Select
from opq_rules.sql.walk import children


def check_having(node: Expression, select: Select, names: Names) -> None:
    """HAVING takes aggregates, and what GROUP BY names."""
    keys = {_key_signature(each) for each in select.group_by}

    def check(each: Expression, seen: tuple[str, ...]) -> bool:
        """Whether an aggregate is in it."""
        if isinstance(each, Call):
            found = find(each.name, names.functions)
            if isinstance(found, Aggregate) or (isinstance(found, Planned) and "agg" in each.name):
                return True
        if _key_signature(each) in keys:
            return False
        if isinstance(each, Column):
            item = names.aliases.get(each.name.lower()) if each.stream is None else None
            if item is not None and each.name.lower() not in seen:
                return check(item.expression, (*seen, each.name.lower()))
            raise refused(each.at, f"HAVING takes aggregates, {each.name} is none", "WHERE filters records")
        inner = [check(below, seen) for below in children(each)]  # all of them are checked
        return any(inner)

    if not check(node, ()):
        raise refused(node.at, "HAVING takes aggregates, there is none", "WHERE filters records")


def _key_signature(node: Expression) -> object:
    return ("column", node.name.lower()) if isinstance(node, Column) else signature(node)
