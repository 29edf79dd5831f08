"""Ids: what streams, tables, rules and plug-ins may be called. Checked before a path is made of one."""

import re

from opq_rules.errors import UNDEFINED, RuleError

LONGEST = 128
_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}", re.ASCII)


def checked_id(what: str, name: object, code: int = UNDEFINED) -> str:
    """`name`, or RuleError 400."""
    if isinstance(name, str) and _ID.fullmatch(name):
        return name
    wanted = f"want 1 to {LONGEST} letters, digits, '_' or '-'"
    raise RuleError(f"{what} id {str(name)[:LONGEST]!r} cannot be used: {wanted}", code)
