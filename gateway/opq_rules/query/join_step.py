"""One JOIN of a statement, compiled: its condition, and by which values rows are found."""

from opq_rules.expressions.closures import Evaluate
from opq_rules.expressions.compiled import refused
from opq_rules.query.joins import JoinStep
from opq_rules.query.names import Clause
from opq_rules.query.origin import Origin
from opq_rules.query.resolver import Compiler
from opq_rules.query.where import conjuncts, is_certain
from opq_rules.sql.syntax import Binary, Column, Expression, Select

ON = Clause("ON")


def join_step(select: Select, number: int, names: Compiler) -> JoinStep:
    join = select.joins[number]
    origin = names.origins[number + 1]
    on = None if join.on is None else names.condition(join.on, ON)
    keys: list[tuple[str, Evaluate]] = []
    if origin.kind == "lookup":
        for part in conjuncts(join.on) if join.on is not None else ():
            if isinstance(part, Binary) and part.operator == "=":
                for ours, theirs in ((part.left, part.right), (part.right, part.left)):
                    if isinstance(ours, Column) and ours.stream == origin.name:
                        if origin.index not in names.origins_of(theirs):
                            keys.append((ours.name, names.expression(theirs, ON)))
                        break
        if not keys:
            raise refused(
                join.at, f"lookup table {origin.name} wants ON {origin.name}.column = a value of the stream"
            )
    equal = None if join.on is None or keys else _equality(conjuncts(join.on)[0], origin, names)
    return JoinStep(join.kind, origin.index, on, tuple(keys), equal)


def _equality(node: Expression, right: Origin, names: Compiler) -> tuple[Evaluate, Evaluate] | None:
    """`left = right` where one side is of the joined origin alone, the other of those before it."""
    if not isinstance(node, Binary) or node.operator != "=":
        return None
    before = {origin.index for origin in names.origins[: right.index]}
    for ours, theirs in ((node.right, node.left), (node.left, node.right)):
        read, known = names.origins_of(ours), names.origins_of(theirs)
        if read != {right.index} or not known or not known <= before:
            continue
        if all(is_certain(side, own, names) for side, of in ((ours, read), (theirs, known)) for own in of):
            return names.expression(theirs, ON), names.expression(ours, ON)
    return None
