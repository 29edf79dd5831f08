"""Look: what an engine shows of its rules: definitions, status, plans, usage. It changes nothing."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from opq_rules.batch import Row
from opq_rules.engine import rule as states
from opq_rules.engine.bodies import Bodies
from opq_rules.engine.catalogue import Catalogue
from opq_rules.engine.feeds import Feeds
from opq_rules.engine.ids import no_rule
from opq_rules.engine.lives import Lives
from opq_rules.engine.loop import Loop
from opq_rules.engine.outlets import Outlets
from opq_rules.engine.planning import Planning
from opq_rules.engine.rule import Rule
from opq_rules.engine.staging import Staging
from opq_rules.engine.status import status
from opq_rules.engine.topology import topology
from opq_rules.errors import NOT_FOUND, RuleError
from opq_rules.secrets import without_secrets
from opq_rules.sql.text import sql as text_of


class Look:
    """From any thread; RuleError 404 for a rule that is not there. Answers are JSON, or text for people."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        bodies: Bodies,
        catalogue: Catalogue,
        planning: Planning,
        lives: Lives,
        loop: Loop,
        feeds: Feeds,
        outlets: Outlets,
        staging: Staging,
    ) -> None:
        self._rules, self._bodies, self._catalogue, self._planning = rules, bodies, catalogue, planning
        self._lives, self._loop = lives, loop
        self._feeds, self._outlets, self._staging = feeds, outlets, staging

    def rule(self, rule_id: str) -> dict[str, Any]:
        """The stored JSON, without secrets."""
        self._one(rule_id)
        shown: dict[str, Any] = without_secrets(msgspec.json.decode(self._bodies.text(rule_id)))
        return shown

    def rules(self) -> list[dict[str, Any]]:
        """`[{"id", "name", "status", "version", "trace", "tags"}]`, by id."""
        answer = []
        for rule_id, text in self._bodies.all().items():
            body, rule = msgspec.json.decode(text), self._rules.get(rule_id)
            answer.append(
                {
                    "id": rule_id,
                    "name": body.get("name") or "",
                    "status": rule.status if rule else states.LOADED,
                    "version": body.get("version") or "",
                    "trace": rule is not None and rule.is_traced,
                    "tags": body.get("tags") or [],
                }
            )
        return answer

    def exported(self) -> dict[str, dict[str, str]]:
        """`{"streams", "tables", "rules"}`: name -> statement, id -> JSON; with secrets."""
        return {**self._catalogue.statements(), "rules": self._bodies.kept()}

    def rule_status(self, rule_id: str) -> dict[str, Any]:
        rule = self._one(rule_id)
        types = [action.type for action in self._bodies.definition(rule_id).actions]
        unit = rule.unit
        keys = unit.feeds.values() if unit is not None else ()
        feeds = [joined.feed for key in keys if (joined := self._feeds.by_key.get(key)) is not None]
        told = status(rule, feeds, types)
        if unit is not None and unit.durable and self._staging.refused:
            told["degraded"] = f"delivery: {self._staging.refused}; {told['degraded']}".rstrip("; ")
        return told

    def all_status(self) -> dict[str, dict[str, Any]]:
        return {rule_id: self.rule_status(rule_id) for rule_id in sorted(self._rules)}

    def topo(self, rule_id: str) -> dict[str, Any]:
        made = self._bodies.definition(rule_id)
        planned = self._planning.plan(made.sql)
        streams = list(dict.fromkeys(origin.stream for origin in planned.origins))
        return topology(streams, planned.operators, [action.type for action in made.actions])

    def schema(self, rule_id: str) -> dict[str, Any]:
        """Columns of the output; with a type as a stream's schema has it, where it is known."""
        planned = self._planning.plan(self._bodies.definition(rule_id).sql)
        types = self._planning.described(planned).columns
        answer: dict[str, Any] = {}
        for k, name in enumerate(planned.columns):
            known = types[name].as_json() if name in types else {}
            answer[name] = {"hasIndex": True, "index": k, **known}
        return answer

    def explain(self, rule_id: str) -> str:
        """The plan, and what the rule shares with others."""
        rule, made = self._one(rule_id), self._bodies.definition(rule_id)
        planned = self._planning.plan(made.sql)
        lines = [text_of(planned.select), "  " + " -> ".join(planned.operators)]
        lines += [f"  {origin.kind} {origin.stream}" for origin in planned.origins]
        told = self._planning.described(planned)
        if told.columns:
            lines.append("  gives " + ", ".join(f"{name} {kind}" for name, kind in told.columns.items()))
        lines += [f"  fails where columns are as declared: {clash}" for clash in told.clashes]
        if rule.unit is not None:
            lines.append(f"  runs {self._loop.call(partial(rule.unit.shown, rule))}")
        return "\n".join(lines)

    def usage(self) -> dict[str, dict[str, Any]]:
        """Per running rule: its share of the CPU, in ms, of what runs `rules` of them; records, emissions."""
        answer = {}
        for rule_id, rule in sorted(self._rules.items()):
            unit = rule.unit
            if unit is not None:
                count = max(1, len(unit.rules()))
                answer[rule_id] = {
                    "cpu_ms": unit.busy_ns // count // 1_000_000,
                    "rules": count,
                    "records": unit.records_in - rule.joined_in,
                    "emissions": rule.out,
                }
        return answer

    def scan_tables(self, rule_id: str) -> dict[str, list[Row]]:
        """Rows that the rule's scan tables hold."""
        rule = self._one(rule_id)
        unit = rule.unit
        if unit is None:
            return {}
        return self._loop.call(unit.scanned)

    def tagged(self, tags: Sequence[str]) -> list[str]:
        """Ids of the rules that have all these tags."""
        bodies = {rule_id: msgspec.json.decode(text) for rule_id, text in self._bodies.all().items()}
        return sorted(rule_id for rule_id, body in bodies.items() if set(tags) <= set(body.get("tags") or ()))

    def traces(self, rule_id: str) -> list[str]:
        """Ids of the traces that there are, the oldest first."""
        extra = self._one(rule_id).extra
        return extra.trace.ids() if extra is not None and extra.trace is not None else []

    def trace(self, trace_id: str) -> dict[str, Any]:
        """What happened to one record, or to one window, as a tree of spans."""
        rule = self._rules.get(trace_id.rpartition("-")[0])
        traces = rule.extra.trace if rule is not None and rule.extra is not None else None
        found = traces.one(trace_id) if traces is not None else None
        if found is None:
            raise RuleError(f"trace {trace_id[:80]!r} is not found", NOT_FOUND, 404)
        return found.tree()

    def totals(self) -> dict[str, float]:
        """For /metrics and health: rules by state, records, drops, commits, waiting."""
        feeds = [joined.feed for joined in list(self._feeds.by_key.values())]
        outlets = list(self._outlets.by_key.values())
        running = sum(rule.status == states.RUNNING for rule in list(self._rules.values()))
        return {
            "rules": len(self._rules),
            "rules_running": running,
            "units": len(self._lives.units),
            "records_in_total": sum(feed.records_in for feed in feeds),
            "records_dropped_total": sum(feed.dropped for feed in feeds),
            "records_failed_total": sum(feed.errors for feed in feeds),
            "records_waiting": sum(feed.waiting for feed in feeds),
            "emissions_dropped_total": sum(outlet.dropped for outlet in outlets),
            "emissions_waiting": sum(outlet.waiting for outlet in outlets) + self._staging.staged,
            "commits_total": self._staging.commits,
            "commits_failed_total": self._staging.failures,
        }

    @property
    def refused(self) -> str:
        """What the disk said that takes no state and no emissions; "" where it does."""
        return self._staging.refused

    def _one(self, rule_id: str) -> Rule:
        found = self._rules.get(rule_id)
        if found is None:
            raise no_rule(rule_id)
        return found
