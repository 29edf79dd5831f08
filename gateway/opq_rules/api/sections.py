"""A whole set of streams, tables, rules and properties as JSON, written and read with all problems.

Source: docs/reference/rules.md, A.5.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from opq_plugins.host.plugins import Plugins
from opq_rules.engine.definitions.configurations import SINKS, SOURCES
from opq_rules.engine.definitions.rule_definition import definition
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, ENCODING, RuleError
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create
from opq_rules.values.batch import JsonObject

DEFINED = ("streams", "tables", "rules")
CONFIGURED = {"sourceConfig": (SOURCES, "source"), "sinkConfig": (SINKS, "sink")}
SECTIONS = (*DEFINED, *CONFIGURED)

Sections = dict[str, JsonObject]
MAX_JSON_DEPTH = 50


def rule_set(engine: Engine) -> Sections:
    """`{"streams": {name: sql}, "tables": {}, "rules": {id: JSON text}}`; with secrets."""
    return {name: dict(each) for name, each in engine.views.exported().items()}


def everything(engine: Engine, plugins: Plugins) -> Sections:
    """The rule set, and the named properties of sources and sinks by type."""
    found: Sections = rule_set(engine)
    for section, (kind, of) in CONFIGURED.items():
        read = {name: engine.configurations.all(kind, name, secrets=True) for name in plugins.types(of)}
        found[section] = {name: each for name, each in read.items() if each}
    return found


def read(text: str | bytes) -> Sections:
    """Reads a set. Raises RuleError with every problem: no JSON, unknown sections, wrong statements."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RuleError(f"content is not JSON: {error}", ENCODING) from error
    if not isinstance(document, dict):
        raise RuleError("content: want an object", CONFIGURATION)
    problems = [
        f"{name[:80]}: unknown; want {', '.join(SECTIONS)}"
        for name, each in document.items()
        if name not in SECTIONS and each
    ]
    sections: Sections = {}
    for name in SECTIONS:
        given = document.get(name) or {}
        if isinstance(given, dict):
            sections[name] = (
                {key: _decoded(each) for key, each in given.items()} if name in CONFIGURED else given
            )
        else:
            problems.append(f"{name}: want an object")
    problems += [
        f"{section}.{name}: {problem}"
        for section, check in _CHECKS.items()
        for name, value in sections.get(section, {}).items()
        if (problem := check(name, value))
    ]
    if problems:
        raise RuleError("; ".join(problems[:20]), CONFIGURATION)
    return sections


def body(rule_id: str, text: Any) -> JsonObject:
    """The body of a rule, which is given as JSON text, as in eKuiper's files, or as an object."""
    read = msgspec.json.decode(text) if isinstance(text, str) else text
    return {**read, "id": rule_id}


def _statement(name: str, value: Any) -> str:
    if not isinstance(value, str):
        return "want a CREATE statement as text"
    try:
        made = parse(value)
    except RuleError as error:
        return str(error)
    return "" if isinstance(made, Create) and made.name == name else f"want a CREATE statement for {name}"


def _rule(name: str, value: Any) -> str:
    try:
        definition(body(name, value), name)
    except (RuleError, msgspec.DecodeError, TypeError) as error:
        return str(error)
    return ""


def _decoded(value: Any) -> Any:
    """Decodes the sets of one type, which eKuiper writes as JSON text."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except (msgspec.DecodeError, UnicodeError):
        return value


def _properties(name: str, value: Any) -> str:
    good = isinstance(value, dict) and all(isinstance(each, dict) for each in value.values())
    return "" if good else "want names with their properties"


_CHECKS: dict[str, Callable[[str, Any], str]] = {
    "streams": _statement,
    "tables": _statement,
    "rules": _rule,
    "sourceConfig": _properties,
    "sinkConfig": _properties,
}
