"""WHERE in two parts: what one stream decides before window and join, and the rest after them.

The sieve marks the records of a batch for which the first comparison of WHERE is not false. Usually few of
very many records pass: one comprehension finds them, and they are evaluated one by one. The left side of an
AND is decided first, so where it is false nothing after it is computed or can fail. What the comparison alone
cannot decide (null, no such column, another type of value) is left to WHERE.
"""

from collections.abc import Callable, Sequence

from opq_rules.expressions.closures import Evaluate
from opq_rules.query.planning.names import Clause
from opq_rules.query.planning.resolver import Compiler
from opq_rules.sql.syntax import BinaryOperation, Column, Expression, Literal, Select, Unary
from opq_rules.sql.walk import operands, walk
from opq_rules.values.batch import Row, Value
from opq_rules.values.sql_values import COMPARISONS, NUMBERS

WHERE = Clause("WHERE", match="where")


def split_where(select: Select, names: Compiler) -> tuple[dict[int, Evaluate], Evaluate | None]:
    """WHERE by origin, as far as it reads one stream, for before window and join; and the rest, for after."""
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
    compiled = {own: names.condition(together(parts), WHERE) for own, parts in before.items()}
    return compiled, names.condition(together(after), WHERE) if after else None


def is_certain(node: Expression, own: int, names: Compiler) -> bool:
    """Whether no other origin could have its columns: a column without a stream's name might be another's."""
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
    return operands(node) if isinstance(node, BinaryOperation) and node.operator == "AND" else [node]


def together(parts: Sequence[Expression]) -> Expression:
    """Joins the parts to `a AND b AND c`."""
    whole = parts[0]
    for part in parts[1:]:
        whole = BinaryOperation("AND", whole, part, part.at)
    return whole


Sieve = Callable[[Sequence[Row]], list[bool]]
"""For each row, whether WHERE has to be computed."""

_SIEVE = """
def make(key, constant):
    def sieve(rows):
        return [(value := row.get(key)).__class__ not in kinds or value {sign} constant for row in rows]
    return sieve
"""
_TEXT = frozenset({str})
MIRRORED_SIGNS = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
"""`a sign b` is `b MIRRORED[sign] a`."""


def _made(kinds: frozenset[type]) -> dict[str, Callable[[str, Value], Sieve]]:
    made = {}
    for sign in (*COMPARISONS, "in"):
        names: dict[str, Value] = {"kinds": kinds}
        exec(_SIEVE.format(sign="==" if sign == "=" else sign), names)  # the template above, with our signs
        made[sign] = names["make"]
    return made


_NUMBER_SIEVES = _made(NUMBERS)
_TEXT_SIEVES = _made(_TEXT)


def sieve(column: str, sign: str, constant: Value, text: bool) -> Sieve:
    """The sieve of `column sign constant`, for texts or numbers; with the sign "in" of a set of them."""
    return (_TEXT_SIEVES if text else _NUMBER_SIEVES)[sign](column, constant)


def sieve_of(select: Select) -> Sieve | None:
    """The sieve; None where WHERE does not begin with a comparison of a column with a number or text."""
    if select.where is None or select.joins:
        return None
    first = conjuncts(select.where)[0]
    if not isinstance(first, BinaryOperation) or first.operator not in MIRRORED_SIGNS:
        return None
    column, other, sign = first.left, first.right, first.operator
    if isinstance(other, Column):
        column, other, sign = other, column, MIRRORED_SIGNS[sign]
    aliases = {item.alias.lower() for item in select.items if item.alias}
    if not isinstance(column, Column) or column.name.lower() in aliases:
        return None
    constant = _constant(other)
    text = type(constant) is str
    return sieve(column.name, sign, constant, text) if text or type(constant) in NUMBERS else None


def _constant(node: Expression) -> Value:
    if isinstance(node, Unary) and node.operator == "-":
        value = _constant(node.operand)
        return -value if type(value) in NUMBERS else None
    return node.value if isinstance(node, Literal) else None
