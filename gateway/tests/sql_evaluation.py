"""For tests: an expression of SQL, computed on one record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rules_sql_text import parse_expression

from opq_rules.expressions.closures import Evaluate
from opq_rules.expressions.compile import compile_expression
from opq_rules.sql.syntax import Column, Expression, FunctionCall


@dataclass
class Facts:
    """What a rule's functions know beside the record."""

    now_ms: int = 1_765_792_486_013  # 2025-12-15T09:54:46.013Z, a Monday
    event_ms: int = 1_765_792_486_000
    window_start_ms: int = 1_765_792_480_000
    window_end_ms: int = 1_765_792_490_000
    meta: Any = field(default_factory=lambda: {"topic": "boxes/3", "device": {"id": 3}})
    rule_id: str = "sags"
    rule_start_ms: int = 1_765_792_400_000
    keyed_state: Mapping[str, Any] = field(default_factory=dict)


class OneRecord:
    """Columns are keys of the record; no aggregate, no alias. Without `fast` no closure knows of keys."""

    def __init__(self, fast: bool = True) -> None:
        self._fast = fast

    def column(self, node: Column) -> Evaluate:
        return lambda row, context: row.get(node.name)

    def key(self, node: Column) -> str | None:
        return node.name if self._fast else None

    def call(self, node: FunctionCall) -> Evaluate | None:
        return None

    def is_whole(self, node: Expression) -> bool:
        return True


def evaluated(text: str, row: Mapping[str, Any] | None = None, facts: Facts | None = None) -> Any:
    """The value of `text`; the same whether the closures know of keys or not."""
    node = parse_expression(text)
    answers = [
        compile_expression(node, OneRecord(fast))(dict(row or {}), facts or Facts()) for fast in (True, False)
    ]
    assert repr(answers[0]) == repr(answers[1]) or "(" in text  # a call may be of rand()
    return answers[0]
