"""Needed: of a whole set, what some of its rules need, so that it can be taken over elsewhere.

Source: reference/rules.md, A.5, POST /data/export.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from opq_plugins.host.plugins import Plugins
from opq_rules.api.sections import Sections, body
from opq_rules.engine.definition import definition
from opq_rules.engine.engine import Engine
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import StreamDefinition, definition_of


def needed(found: Sections, engine: Engine, plugins: Plugins, ids: Collection[str]) -> Sections:
    """`found`: everything. Streams that rules read by way of topics of memory are not followed."""
    rules = [definition(body(rule_id, text)) for rule_id, text in _of(found["rules"], ids).items()]
    read = {name for rule in rules for name in _streams(rule.sql)}
    definitions = {name: sql for what in ("streams", "tables") for name, sql in found[what].items()}
    streams = [_defined(definitions[name]) for name in read & definitions.keys()]
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
            {name for name in found["Schema"] if users & {*engine.schemas.one(name)["users"]}},
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


def _streams(sql: str) -> set[str]:
    select = parse(sql)
    assert isinstance(select, Select)  # or it were no rule
    return {select.source.stream, *(join.source.stream for join in select.joins)}


def _defined(sql: str) -> StreamDefinition:
    statement = parse(sql)
    assert isinstance(statement, Create)
    return definition_of(statement)


def _names(sql: str, function: str) -> bool:
    """Also as a text: array_map("name", a)."""
    return re.search(rf"\b{re.escape(function)}\b", sql, re.IGNORECASE) is not None


def _of(every: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in every.items() if name in names}


def _sets(every: Mapping[str, Any], named: Collection[tuple[str, str]]) -> dict[str, Any]:
    """By type, without those that are empty."""
    kept = {kind: _of(sets, {name for of, name in named if of == kind}) for kind, sets in every.items()}
    return {kind: sets for kind, sets in kept.items() if sets}
