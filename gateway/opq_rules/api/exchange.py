"""Imports whole sets of streams, tables, rules and configurations, and finds what some rules need of one.

An import is read (sections.py), then rehearsed: every statement is planned, every source and sink configured
against the set as it will be. A failure there does not affect anything that runs. If the disk refuses later,
the import is undone. Source: docs/reference/rules.md, A.5.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from opq_plugins.host.plugins import Plugins
from opq_rules.api.sections import CONFIGURED, DEFINED, Sections, body, everything, rule_set
from opq_rules.batch import JsonObject
from opq_rules.engine.connections import CONNECTIONS
from opq_rules.engine.definition import definition
from opq_rules.engine.engine import Engine
from opq_rules.engine.schemas import content_of
from opq_rules.errors import CONFIGURATION, RuleError
from opq_rules.sql.parse import parse_create, parse_select
from opq_rules.streams.definition import definition_of


def merge(engine: Engine, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Adds what does not exist yet; returns how many of each. Where the engine refuses one, none is added."""
    new = _new(engine, sections)
    _dry_run(engine, {}, new)
    return _made(engine, new)


def take_over(
    engine: Engine,
    plugins: Plugins,
    sections: Sections,
    beside: bool,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, int]:
    """Imports all of `sections`, or nothing where the engine refuses a part.

    `beside`: existing objects stay. `stopped()`, called before anything has changed: True cancels the import.
    """
    new = dry_run(engine, plugins, sections, beside, stopped)
    before = everything(engine, plugins)
    try:
        if not beside:
            _wipe(engine, before)
        _configure(engine, sections)
        return _made(engine, new)
    except RuleError:
        _unconfigure(engine, sections, before)
        _made(engine, _new(engine, before))
        raise


def dry_run(
    engine: Engine,
    plugins: Plugins,
    sections: Sections,
    beside: bool,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Mapping[str, Any]]:
    """The streams, tables and rules that would be made. Raises RuleError with all that would be refused."""
    missing = sorted(set(sections["portablePlugins"]) - {each["name"] for each in plugins.list("portable")})
    if missing:
        raise RuleError(
            f"portablePlugins: {', '.join(missing)[:500]} have to be installed first", CONFIGURATION
        )
    new: dict[str, Mapping[str, Any]] = {what: sections[what] for what in DEFINED}
    if beside:
        new = _new(engine, sections)
    _dry_run(engine, sections, new, alone=not beside, stopped=stopped)
    return new


def _new(engine: Engine, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    there = rule_set(engine)
    return {
        what: {name: each for name, each in sections.get(what, {}).items() if name not in there[what]}
        for what in DEFINED
    }


def _dry_run(
    engine: Engine,
    sections: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
    alone: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Raises RuleError with all that the engine would refuse. `sections`: properties; `new`: definitions."""
    rehearsal = engine.rehearsal(alone)
    problems: list[str] = []

    def tried(where: str, work: Callable[[], None]) -> None:
        if stopped():
            raise RuleError("nothing was imported: it was cancelled")
        try:
            work()
        except RuleError as error:
            problems.append(f"{where}: {error}")

    def configured(kind: str, type_name: str, name: str, properties: Mapping[str, Any]) -> None:
        if kind == CONNECTIONS and alone:
            rehearsal.connections.put(type_name, name, properties)
        elif kind == CONNECTIONS:
            engine.connections.dry_run(rehearsal, type_name, name, properties)
        else:
            rehearsal.configurations.put(kind, type_name, name, properties)

    def defined(name: str, sql: str) -> None:
        if name in names:
            raise RuleError(f"{name} already exists")
        names.add(name)
        rehearsal.stream(definition_of(parse_create(sql)))

    def schema(name: str, kept: Any) -> None:
        content, _ = content_of(kept)
        engine.schemas.fits(name, content, alone)
        rehearsal.schemas.put(name, content.messages)

    for name, kept in sections.get("Schema", {}).items():
        tried(f"Schema.{name}", partial(schema, name, kept))
    for section, kind, type_name, name, properties in _named(sections):
        tried(f"{section}.{type_name}.{name}", partial(configured, kind, type_name, name, properties))
    names = set() if alone else {*engine.catalogue.names("stream"), *engine.catalogue.names("table")}
    for what in ("streams", "tables"):
        for name, sql in new[what].items():
            tried(f"{what}.{name}", partial(defined, name, sql))
    for rule_id, text in new["rules"].items():
        tried(f"rules.{rule_id}", partial(rehearsal.rule, definition(body(rule_id, text))))
    if problems:
        text = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise RuleError(f"nothing was imported: {text}")


def _made(engine: Engine, new: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Creates all of `new`; where the engine refuses one, all are removed again."""
    try:
        for what in ("streams", "tables"):
            for sql in new[what].values():
                engine.execute(sql, what.removesuffix("s"))
        problems = engine.create_rules([body(rule_id, text) for rule_id, text in new["rules"].items()])
        if problems:
            text = "; ".join(f"rules.{rule_id}: {why}" for rule_id, why in list(problems.items())[:20])
            raise RuleError(f"nothing was imported, {len(problems)} rules are refused: {text}")
    except RuleError:
        came = rule_set(engine)
        _wipe(engine, {what: [name for name in names if name in came[what]] for what, names in new.items()})
        raise
    return {what: len(each) for what, each in new.items()}


def _configure(engine: Engine, sections: Mapping[str, Mapping[str, Any]]) -> None:
    for name, kept in sections.get("Schema", {}).items():
        engine.schemas.take_over(name, *content_of(kept))
    for _, kind, type_name, name, properties in _named(sections):
        put_properties(engine, kind, type_name, name, properties)


def _unconfigure(engine: Engine, sections: Sections, before: Sections) -> None:
    """Restores named properties as they were `before`; new ones are deleted."""
    for section, kind, type_name, name, _ in _named(sections):
        old = before[section].get(type_name, {})
        if name in old:
            put_properties(engine, kind, type_name, name, old[name])
        elif engine.configurations.has(kind, type_name, name):
            engine.configurations.delete(kind, type_name, name)
    for name in sections["Schema"]:
        if name in before["Schema"]:
            engine.schemas.take_over(name, *content_of(before["Schema"][name]))
        elif name in engine.schemas.names():
            engine.schemas.delete(name)


def _named(
    sections: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, str, str, str, Mapping[str, Any]]]:
    """Yields section, kind, type and name of each set of properties with the set; connections first."""
    for section, (kind, _) in CONFIGURED.items():
        for type_name, sets in sections.get(section, {}).items():
            for name, properties in sets.items():
                yield section, kind, type_name, name, properties


def put_properties(
    engine: Engine, kind: str, type_name: str, name: str, properties: Mapping[str, Any]
) -> None:
    if kind == CONNECTIONS:
        engine.connections.put(type_name, name, properties)
    else:
        engine.configurations.put(kind, type_name, name, properties)


def _wipe(engine: Engine, there: Mapping[str, Collection[str]]) -> None:
    for rule_id in there["rules"]:
        engine.delete_rule(rule_id)
    for what in ("streams", "tables"):
        for name in there[what]:
            engine.drop_stream(name, what.removesuffix("s"), force=True)


def needed(found: Sections, engine: Engine, plugins: Plugins, ids: Collection[str]) -> Sections:
    """The part of `found` that the rules need, without what reaches them by topics of memory."""
    rules = [definition(body(rule_id, text)) for rule_id, text in _of(found["rules"], ids).items()]
    read = {name for rule in rules for name in parse_select(rule.sql).streams}
    definitions = {name: sql for what in ("streams", "tables") for name, sql in found[what].items()}
    streams = [definition_of(parse_create(definitions[name])) for name in read & definitions.keys()]
    users = {f"rule {rule.id}" for rule in rules} | {f"{each.what} {each.name}" for each in streams}
    actions = [action for rule in rules for action in rule.actions]
    sources, sinks = {each.type for each in streams}, {each.type for each in actions}
    return {
        "streams": _of(found["streams"], read),
        "tables": _of(found["tables"], read),
        "rules": _of(found["rules"], ids),
        "connectionConfig": _sets(
            found["connectionConfig"],
            {(each["typ"], each["id"]) for each in engine.connections.all() if users & {*each["users"]}},
        ),
        "sourceConfig": _sets(found["sourceConfig"], {(each.type, each.conf_key) for each in streams}),
        "sinkConfig": _sets(found["sinkConfig"], {(each.type, each.resource) for each in actions}),
        "Schema": _of(
            found["Schema"],
            {name for name in found["Schema"] if users & {*engine.schemas.get(name)["users"]}},
        ),
        "portablePlugins": _of(
            found["portablePlugins"],
            {
                each["name"]
                for each in plugins.list("portable")
                if sources & {*each["sources"]}
                or sinks & {*each["sinks"]}
                or any(_names(rule.sql, function) for rule in rules for function in each["functions"])
            },
        ),
    }


def _names(sql: str, function: str) -> bool:
    """Whether a statement names a function, also in a text: array_map("name", a)."""
    return re.search(rf"\b{re.escape(function)}\b", sql, re.IGNORECASE) is not None


def _of(every: Mapping[str, Any], names: Collection[str]) -> JsonObject:
    return {name: value for name, value in every.items() if name in names}


def _sets(every: Mapping[str, Any], named: Collection[tuple[str, str]]) -> JsonObject:
    """The `named` sets of each type, without types that then have none."""
    kept = {kind: _of(sets, {name for of, name in named if of == kind}) for kind, sets in every.items()}
    return {kind: sets for kind, sets in kept.items() if sets}
