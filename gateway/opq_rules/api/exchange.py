"""Imports a set of streams, tables, rules and named properties into a running engine.

What is new is made. What exists is replaced, and started, unless its version in the set is older or its
definition is the same.

A set is read (sections.py), then rehearsed: every statement is planned, every source and sink configured
against the engine as it will be. A failure there does not affect anything that runs. If the disk refuses
later, the import is undone. Source: docs/reference/rules.md, A.5.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from opq_plugins.host.plugins import Plugins
from opq_rules.api.sections import CONFIGURED, DEFINED, Sections, body, everything, rule_set
from opq_rules.engine.definitions.rule_definition import definition
from opq_rules.engine.engine import Engine
from opq_rules.errors import RuleError
from opq_rules.sql.parse import parse_create, parse_select
from opq_rules.streams.definition import check_replacement, definition_of

Answer = dict[str, dict[str, Any]]


@dataclass(slots=True)
class SetChanges:
    """The part of a set that changes something: new and replaced objects."""

    new: Sections = field(default_factory=lambda: {what: {} for what in DEFINED})
    newer: Sections = field(default_factory=lambda: {what: {} for what in DEFINED})
    left: dict[str, dict[str, str]] = field(default_factory=lambda: {what: {} for what in DEFINED})
    """Unchanged objects, with the reason."""

    def answer(self) -> Answer:
        """Names of new and replaced objects, and of unchanged ones with the reason."""
        return {
            "made": {what: sorted(self.new[what]) for what in DEFINED},
            "replaced": {what: sorted(self.newer[what]) for what in DEFINED},
            "left": self.left,
        }


def import_set(engine: Engine, plugins: Plugins, sections: Sections, dry: bool = False) -> Answer:
    """Imports all of `sections`, or nothing if the engine refuses a part; returns the changes.

    `dry`: only rehearses. Raises RuleError with every refused part.
    """
    changes = _changes(engine, sections)
    _rehearse(engine, sections, changes)
    if dry:
        return changes.answer()
    before = everything(engine, plugins)
    try:
        for kind, type_name, name, properties in _named(sections):
            engine.configurations.put(kind, type_name, name, properties)
        _make(engine, changes)
    except RuleError:
        _undo(engine, sections, changes, before)
        raise
    return changes.answer()


def _changes(engine: Engine, sections: Sections) -> SetChanges:
    there, changes = rule_set(engine), SetChanges()
    for what in DEFINED:
        for name, each in sections[what].items():
            if name not in there[what]:
                changes.new[what][name] = each
                continue
            version, text = _known(what, name, each)
            old_version, old_text = _known(what, name, there[what][name])
            if text == old_text:
                changes.left[what][name] = "it is the same"
            elif version < old_version:  # as text, as in eKuiper; no version is the lowest
                changes.left[what][name] = f"version {version or 'none'} is older than {old_version}"
            else:
                changes.newer[what][name] = each
    return changes


def _known(what: str, name: str, given: Any) -> tuple[str, str]:
    """The version and the text of a definition."""
    if what == "rules":
        rule = definition(body(name, given))
        return rule.version, rule.text
    return definition_of(parse_create(given)).version, " ".join(given.split())


def _rehearse(engine: Engine, sections: Sections, changes: SetChanges) -> None:
    rehearsal = engine.rehearsal()
    problems: list[str] = []

    def tried(where: str, work: Callable[[], None]) -> None:
        try:
            work()
        except RuleError as error:
            problems.append(f"{where}: {error}")

    def made(name: str, sql: str) -> None:
        if name in names:
            raise RuleError(f"{name} already exists")
        names.add(name)
        rehearsal.stream(definition_of(parse_create(sql)))

    def replaced(name: str, sql: str) -> None:
        new = definition_of(parse_create(sql))
        check_replacement(replace(engine.catalogue.get(name, new.what), version=""), new)
        rehearsal.stream(new)

    for kind, type_name, name, properties in _named(sections):
        where = f"{kind}.{type_name}.{name}"
        tried(where, partial(rehearsal.configurations.put, kind, type_name, name, properties))
    names = {*engine.catalogue.names("stream"), *engine.catalogue.names("table")}
    streams: set[str] = set()
    for what in ("streams", "tables"):
        for name, sql in changes.new[what].items():
            tried(f"{what}.{name}", partial(made, name, sql))
        for name, sql in changes.newer[what].items():
            streams.add(name)
            tried(f"{what}.{name}", partial(replaced, name, sql))
    rules = {**changes.new["rules"], **changes.newer["rules"]}
    for rule_id, text in rule_set(engine)["rules"].items():
        if rule_id not in rules and streams & {*parse_select(body(rule_id, text)["sql"]).streams}:
            rules[rule_id] = text
    for rule_id, text in rules.items():
        tried(f"rules.{rule_id}", partial(rehearsal.rule, definition(body(rule_id, text))))
    if problems:
        text = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise RuleError(f"nothing was imported: {text}")


def _make(engine: Engine, changes: SetChanges) -> None:
    for what in ("streams", "tables"):
        for sql in changes.new[what].values():
            engine.execute(sql, what.removesuffix("s"))
        for name, sql in changes.newer[what].items():
            engine.replace_stream(
                name, sql, what.removesuffix("s"), back=True
            )  # its version is compared above
    for rule_id, text in changes.newer["rules"].items():
        engine.replace_rule(rule_id, body(rule_id, text))
    problems = engine.create_rules([body(rule_id, text) for rule_id, text in changes.new["rules"].items()])
    if problems:
        text = "; ".join(f"rules.{rule_id}: {why}" for rule_id, why in list(problems.items())[:20])
        raise RuleError(f"nothing was imported, {len(problems)} rules are refused: {text}")


def _undo(engine: Engine, sections: Sections, changes: SetChanges, before: Sections) -> None:
    """Removes new objects, and restores replaced ones."""
    came = rule_set(engine)
    for rule_id in changes.new["rules"].keys() & came["rules"].keys():
        engine.delete_rule(rule_id)
    for what in ("streams", "tables"):
        for name in changes.new[what].keys() & came[what].keys():
            engine.drop_stream(name, what.removesuffix("s"), force=True)
        for name in changes.newer[what]:
            if came[what][name] != before[what][name]:
                engine.replace_stream(name, before[what][name], what.removesuffix("s"), back=True)
    for rule_id in changes.newer["rules"]:
        if came["rules"][rule_id] != before["rules"][rule_id]:
            engine.delete_rule(rule_id)
            engine.create_rule(body(rule_id, before["rules"][rule_id]))
    for kind, type_name, name, _ in _named(sections):
        old = before[kind_section(kind)].get(type_name, {})
        if name in old:
            engine.configurations.put(kind, type_name, name, old[name])
        elif engine.configurations.has(kind, type_name, name):
            engine.configurations.delete(kind, type_name, name)


def kind_section(kind: str) -> str:
    return next(section for section, (each, _) in CONFIGURED.items() if each == kind)


def _named(sections: Sections) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Yields kind, type and name of each set of properties with the set."""
    for section, (kind, _) in CONFIGURED.items():
        for type_name, sets in sections[section].items():
            for name, properties in sets.items():
                yield kind, type_name, name, properties
