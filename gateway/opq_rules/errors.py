"""Errors of the rule engine, with code, HTTP status and place. Source: docs/reference/rules.md, A.0."""

from dataclasses import dataclass
from typing import Any

from opq_plugins.sdk import RowError
from opq_proto.errors import OpqError

__all__ = ["RowError", "RuleError"]

UNDEFINED, NOT_FOUND, IO_ERROR, ENCODING = 1000, 1002, 1003, 1004
SQL_SYNTAX, SQL_PLAN = 2001, 2101
STREAM, RULE, CONFIGURATION = 3000, 4000, 5000


@dataclass
class RuleError(OpqError):
    """A refusal: `code` of A.0, `http` status; `line` and `column` (from 1) where it concerns SQL text."""

    message: str
    code: int = UNDEFINED
    http: int = 400
    line: int | None = None
    column: int | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}: " if self.line is not None else ""
        return f"{place}{self.message}" + (f"; {self.hint}" if self.hint else "")

    def as_json(self) -> dict[str, Any]:
        """`{"error", "message"}` and, where known, `line`, `column`, `hint`."""
        answer: dict[str, Any] = {"error": self.code, "message": self.message}
        known = {"line": self.line, "column": self.column, "hint": self.hint}
        return answer | {key: value for key, value in known.items() if value is not None}
