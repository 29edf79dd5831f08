"""Whole sets of streams, tables, rules and configurations out of one engine and into another.

An import is looked through first: nothing is changed unless all of it can be read; what the engine
then refuses is undone. Source: reference/rules.md, A.5.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from opq_rules.engine.configurations import SINKS, SOURCES
from opq_rules.engine.definition import definition
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, ENCODING, RuleError
from opq_rules.plugins.plugins import Plugins
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create

SECTIONS = ("streams", "tables", "rules", "sourceConfig", "sinkConfig", "portablePlugins")
_KINDS = {"sourceConfig": (SOURCES, "source"), "sinkConfig": (SINKS, "sink")}

Sections = dict[str, dict[str, Any]]


def rule_set(engine: Engine) -> Sections:
    """`{"streams": {name: sql}, "tables": {}, "rules": {id: JSON text}}`; with secrets."""
    return {name: dict(each) for name, each in engine.look.exported().items()}


def everything(engine: Engine, plugins: Plugins) -> Sections:
    """The rule set, the configurations by type, and the versions of the plug-ins that they need."""
    found: Sections = rule_set(engine)
    for section, (kind, of) in _KINDS.items():
        read = {name: engine.configurations.all(kind, name, secrets=True) for name in plugins.types(of)}
        found[section] = {name: each for name, each in read.items() if each}
    found["portablePlugins"] = {each["name"]: each["version"] for each in plugins.list("portable")}
    return found


def read(text: str) -> Sections:
    """Raises RuleError with every problem: no JSON, unknown sections, statements that do not parse."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RuleError(f"content is no JSON: {error}", ENCODING) from error
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
            sections[name] = given
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


def merge(engine: Engine, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """What is not there yet: how many of each came. Where the engine refuses one, none of it stays."""
    there = rule_set(engine)
    new = {
        what: {name: each for name, each in sections.get(what, {}).items() if name not in there[what]}
        for what in ("streams", "tables", "rules")
    }
    try:
        for what in ("streams", "tables"):
            for sql in new[what].values():
                engine.execute(sql, what.removesuffix("s"))
        problems = engine.create_rules([_body(rule_id, text) for rule_id, text in new["rules"].items()])
        if problems:
            told = "; ".join(f"rules.{rule_id}: {why}" for rule_id, why in list(problems.items())[:20])
            raise RuleError(f"nothing was imported, {len(problems)} rules are refused: {told}")
    except RuleError:
        came = rule_set(engine)
        _wipe(engine, {what: [name for name in names if name in came[what]] for what, names in new.items()})
        raise
    return {what: len(each) for what, each in new.items()}


def take_over(engine: Engine, plugins: Plugins, sections: Sections, partial: bool) -> dict[str, int]:
    """All of it or, where the engine refuses a part, nothing. `partial`: beside what is there."""
    missing = sorted(set(sections["portablePlugins"]) - {each["name"] for each in plugins.list("portable")})
    if missing:
        raise RuleError(
            f"portablePlugins: {', '.join(missing)[:500]} have to be installed first", CONFIGURATION
        )
    before = everything(engine, plugins)
    if not partial:
        _wipe(engine, before)
    try:
        _configure(engine, sections)
        return merge(engine, sections)
    except RuleError:
        _unconfigure(engine, sections, before)
        merge(engine, before)
        raise


def _configure(engine: Engine, sections: Mapping[str, Mapping[str, Any]]) -> None:
    for section, (kind, _) in _KINDS.items():
        for type_name, named in sections.get(section, {}).items():
            for name, properties in named.items():
                engine.configurations.put(kind, type_name, name, properties)


def _unconfigure(engine: Engine, sections: Sections, before: Sections) -> None:
    """Named properties as they were; one that was not there goes."""
    for section, (kind, _) in _KINDS.items():
        for type_name, named in sections.get(section, {}).items():
            old = before[section].get(type_name, {})
            for name in named:
                if name in old:
                    engine.configurations.put(kind, type_name, name, old[name])
                elif name in engine.configurations.all(kind, type_name):
                    engine.configurations.delete(kind, type_name, name)


def _wipe(engine: Engine, there: Mapping[str, Collection[str]]) -> None:
    for rule_id in there["rules"]:
        engine.delete_rule(rule_id)
    for what in ("streams", "tables"):
        for name in there[what]:
            engine.drop_stream(name, what.removesuffix("s"), force=True)


def _body(rule_id: str, text: Any) -> dict[str, Any]:
    body = msgspec.json.decode(text) if isinstance(text, str) else text
    return {**body, "id": rule_id}


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
        definition(_body(name, value), name)
    except (RuleError, msgspec.DecodeError, TypeError) as error:
        return str(error)
    return ""


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
