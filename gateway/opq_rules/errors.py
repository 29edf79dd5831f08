"""Errors of the rule engine, with code, HTTP status and place. Source: docs/reference/rules.md, A.0."""

from dataclasses import dataclass
from typing import Any

from opq_plugins.sdk import RowError
from opq_proto.errors import OpqError

__all__ = ["RowError", "RuleError"]

# Codes of A.0, which clients of eKuiper compare.
UNDEFINED = 1000
NOT_FOUND = 1002
IO_ERROR = 1003
ENCODING = 1004
SQL_SYNTAX = 2001
SQL_PLAN = 2101
STREAM = 3000
RULE = 4000
CONFIGURATION = 5000


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
