"""RuleViews: answers about rules, which change nothing. Metrics: docs/reference/rules.md, A.3."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from opq_plugins.worker.refusals import REFUSED
from opq_rules.connections.secrets import without_secrets
from opq_rules.engine.definitions.rule_store import RuleStore
from opq_rules.engine.lifecycle.lookup_tables import LookupTables
from opq_rules.engine.lifecycle.planner import Planner
from opq_rules.engine.lifecycle.rule_lifecycle import RuleLifecycle
from opq_rules.engine.running.rule import FAILED, LOADED, RUNNING, Rule
from opq_rules.engine.running.sink_runner import SinkRunner
from opq_rules.engine.running.source_runner import SourceRunner
from opq_rules.engine.stream_catalogue import StreamCatalogue
from opq_rules.values.batch import JsonObject, Row


class RuleViews:
    """Callable from any thread; RuleError 404 for an unknown rule. Answers are JSON, or text for people."""

    def __init__(
        self,
        store: RuleStore,
        catalogue: StreamCatalogue,
        planner: Planner,
        tables: LookupTables,
        lifecycle: RuleLifecycle,
    ) -> None:
        self._store, self._catalogue, self._planner, self._tables = store, catalogue, planner, tables
        self._lifecycle, self._rules = lifecycle, lifecycle.rules
        self._streams, self._sinks, self._loop = lifecycle.streams, lifecycle.sinks, lifecycle.loop

    def rule(self, rule_id: str) -> JsonObject:
        """The stored JSON, without secrets."""
        self._lifecycle.rule(rule_id)
        shown: JsonObject = without_secrets(self._store.rule_body(rule_id))
        return shown

    def rules(self) -> list[JsonObject]:
        """`[{"id", "name", "status", "version", "trace", "tags"}]`, by id."""
        answer = []
        for rule_id, body in self._bodies():
            rule = self._rules.get(rule_id)
            answer.append(
                {
                    "id": rule_id,
                    "name": body.get("name") or "",
                    "status": rule.status if rule else LOADED,
                    "version": body.get("version") or "",
                    "trace": False,  # eKuiper's clients read it
                    "tags": body.get("tags") or [],
                }
            )
        return answer

    def exported(self) -> dict[str, dict[str, str]]:
        """`{"streams", "tables", "rules"}`: name -> statement, id -> JSON; with secrets."""
        return {**self._catalogue.statements(), "rules": self._store.stored_rules()}

    def rule_status(self, rule_id: str) -> JsonObject:
        rule = self._lifecycle.rule(rule_id)
        types = [action.type for action in self._store.rule(rule_id).actions]
        unit, refused = rule.unit, self.refused
        inputs = self._streams.running(list(unit.inputs.values())) if unit is not None else []
        answer = status(rule, [each.runner for each in inputs], types)
        if unit is not None and unit.durable and refused:
            answer["degraded"] = f"delivery: {refused}; {answer['degraded']}".rstrip("; ")
        return answer

    def run_state(self, rule_id: str) -> JsonObject:
        """`status` as in `rules`, `message`: why it does not run. Raises RuleError 404: unknown rule."""
        rule = self._lifecycle.rule(rule_id)
        return {"status": rule.status, "message": rule.details.message if rule.details is not None else ""}

    def not_allowed(self) -> dict[str, str]:
        """Rule -> the right that a source or sink of it lacks; it is set in the configuration.

        Only memory is read: health asks also while rules are made or deleted, and when the store is closed.
        """
        found = {}
        for rule in list(self._rules.values()):
            unit, sinks = rule.unit, rule.sinks
            if unit is None or rule.status != RUNNING:
                continue
            runners = [each.runner for each in self._streams.running(list(unit.inputs.values()))]
            away = [f"source_{each.name}: {each.last_exception}" for each in runners if each.connection == -1]
            for sink in sinks.runners if sinks is not None else ():
                pipeline = sink.pipeline
                if pipeline is not None and pipeline.counters.connection_status == -1:
                    away.append(f"sink_{sink.kind}: {pipeline.counters.last_exception}")
            if lacking := [each for each in away if REFUSED in each]:
                found[rule.id] = ", ".join(lacking)
        return dict(sorted(found.items()))

    def all_status(self) -> dict[str, JsonObject]:
        return {rule_id: self.rule_status(rule_id) for rule_id in sorted(self._rules)}

    def topo(self, rule_id: str) -> JsonObject:
        made = self._store.rule(rule_id)
        planned = self._planner.plan(made.sql)
        streams = list(dict.fromkeys(origin.stream for origin in planned.origins))
        return topology(streams, planned.operators, [action.type for action in made.actions])

    def schema(self, rule_id: str) -> JsonObject:
        """Columns of the output; where its type is known, in the form of a stream's schema."""
        planned = self._planner.plan(self._store.rule(rule_id).sql)
        types = self._planner.described(planned).columns
        answer: JsonObject = {}
        for k, name in enumerate(planned.columns):
            known = types[name].as_json() if name in types else {}
            answer[name] = {"hasIndex": True, "index": k, **known}
        return answer

    def explain(self, rule_id: str) -> str:
        """The statement, its plan, and what the rule shares with others."""
        rule, made = self._lifecycle.rule(rule_id), self._store.rule(rule_id)
        planned = self._planner.plan(made.sql)
        lines = [made.sql.strip(), "  " + " -> ".join(planned.operators)]
        lines += [f"  {origin.kind} {origin.stream}" for origin in planned.origins]
        lines += [f"  {note}" for note in self.notes(rule_id)]
        types = self._planner.described(planned)
        if types.columns:
            lines.append("  gives " + ", ".join(f"{name} {kind}" for name, kind in types.columns.items()))
        lines += [f"  fails where columns are as declared: {clash}" for clash in types.clashes]
        if rule.unit is not None:
            lines.append(f"  runs {self._loop.call(rule.unit.explained)}")
        return "\n".join(lines)

    def notes(self, rule_id: str) -> tuple[str, ...]:
        """Parts of the rule that are valid, but probably not intended."""
        made = self._store.rule(rule_id)
        return (*self._planner.plan(made.sql).notes, *self._sinks.ignored(made))

    def usage(self) -> dict[str, JsonObject]:
        """Per running rule: its share of the unit's CPU ms, `rules` in the unit, records, emissions."""
        answer: dict[str, JsonObject] = {}
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
        unit = self._lifecycle.rule(rule_id).unit
        return {} if unit is None else self._loop.call(unit.scanned)

    def tagged(self, tags: Sequence[str]) -> list[str]:
        """Ids of the rules that have all these tags."""
        return [rule_id for rule_id, body in self._bodies() if set(tags) <= set(body.get("tags") or ())]

    def failed(self) -> list[str]:
        """Ids of the rules that an error stopped."""
        return sorted(rule.id for rule in list(self._rules.values()) if rule.status == FAILED)

    def totals(self) -> dict[str, float]:
        """Totals for /metrics and health: rules by state, records, drops, commits, waiting."""
        sources = [each.runner for each in list(self._streams.by_key.values())]
        sinks, checkpoint = list(self._sinks.by_key.values()), self._loop.checkpoint
        return {
            "rules": len(self._rules),
            "rules_running": sum(rule.status == RUNNING for rule in list(self._rules.values())),
            "units": len(self._lifecycle.units),
            "records_in_total": sum(each.records_in for each in sources),
            "records_dropped_total": sum(each.dropped for each in sources),
            "records_failed_total": sum(each.errors for each in sources),
            "table_rows_lost_total": self._tables.rows_lost,
            "records_waiting": sum(each.waiting for each in sources),
            "emissions_dropped_total": sum(each.dropped for each in sinks),
            "emissions_waiting": sum(each.waiting for each in sinks) + checkpoint.staged,
            "commits_total": checkpoint.commits,
            "commits_failed_total": checkpoint.failures,
        }

    @property
    def refused(self) -> str:
        """The disk's error of the last commit; "" where it succeeded."""
        return self._loop.checkpoint.refused

    def _bodies(self) -> list[tuple[str, JsonObject]]:
        return [(rule_id, msgspec.json.decode(text)) for rule_id, text in self._store.rules().items()]


_NODE: JsonObject = {
    "records_in_total": 0,
    "records_out_total": 0,
    "messages_processed_total": 0,
    "process_latency_us": 0,
    "buffer_length": 0,
    "last_invocation": 0,
    "exceptions_total": 0,
    "last_exception": "",
    "last_exception_time": 0,
}


def operator_names(operators: Sequence[str]) -> list[str]:
    """Names of the operators' nodes: eKuiper's (docs/reference/rules.md, A.3), so that dashboards work."""
    return [f"op_{k}_{name}" for k, name in enumerate(operators, start=2)]


def sink_names(types: Sequence[str]) -> list[str]:
    return [f"sink_{kind}_{k}" for k, kind in enumerate(types)]


def topology(streams: Sequence[str], operators: Sequence[str], sink_types: Sequence[str]) -> JsonObject:
    """The answer of GET /rules/{id}/topo: the nodes of a rule, and which feeds which."""
    nodes = operator_names(operators)
    begins = [f"source_{name}" for name in streams]
    edges: dict[str, list[str]] = {begin: [nodes[0]] for begin in begins}
    for node, following in pairwise(nodes):
        edges[node] = [following]
    edges[nodes[-1]] = sink_names(sink_types)
    return {"sources": begins, "edges": edges}


def status(rule: Rule, sources: Sequence[SourceRunner], sink_types: Sequence[str]) -> JsonObject:
    """The answer of GET /rules/{id}/status."""
    state, details, unit = rule.status, rule.details, rule.unit  # in this order: they may change meanwhile
    answer: JsonObject = {
        "status": state,
        "message": details.message if details else "",
        "lastStartTimestamp": rule.start_ms,
        "lastStopTimestamp": details.last_stop_ms if details else 0,
        "nextStartTimestamp": details.next_start_ms if details else 0,
        "degraded": "",
    }
    if unit is None:
        return answer
    nodes = {f"source_{each.name}": _source_node(each) for each in sources}
    nodes |= _query_nodes(rule, operator_names(unit.operators))
    sinks = rule.sinks
    runners = iter(sinks.runners if sinks else ())
    for name, kind in zip(sink_names(sink_types), sink_types, strict=True):
        nodes[name] = _sink_node(rule, None if kind == "memory" else next(runners, None))
    if state == RUNNING:
        broken = [name for name, node in nodes.items() if node.get("connection_status") == -1]
        away = [f"{name}: {nodes[name]['last_exception']}" for name in broken]
        answer["degraded"] = ", ".join([*rule.missing, *away])
    for name, node in nodes.items():
        answer |= {f"{name}_0_{metric}": value for metric, value in node.items()}
    return answer


def _source_node(runner: SourceRunner) -> JsonObject:
    taken = runner.records_in - runner.waiting - runner.dropped
    return _NODE | {
        "records_in_total": runner.records_in,
        "records_out_total": taken,
        "messages_processed_total": taken,
        "buffer_length": runner.waiting,
        "last_invocation": runner.last_ms,
        "exceptions_total": runner.errors,
        "last_exception": runner.last_exception,
        "last_exception_time": runner.last_exception_ms,
        "dropped_total": runner.dropped,
        "connection_status": runner.connection,
    }


def _sink_node(rule: Rule, runner: SinkRunner | None) -> JsonObject:
    """Metrics of a sink; every rule that shares a sink shows its errors.

    `runner` None: a topic of memory, which takes all at once. Waiting emissions do not count as sent.
    """
    if runner is None:
        return _NODE | {"records_in_total": rule.out, "records_out_total": rule.out, "connection_status": 1}
    pipeline = runner.pipeline
    taken = max(0, rule.out - rule.dropped)
    node = _NODE | {
        "connection_status": 0,
        "records_in_total": rule.out,
        "messages_processed_total": taken,
        "buffer_length": runner.waiting,
        "last_invocation": runner.last_ms,
        "dropped_total": rule.dropped,
    }
    if pipeline is not None:
        counters = pipeline.counters
        node |= {
            "records_out_total": min(taken, counters.emissions_out),
            "buffer_length": runner.waiting + pipeline.waiting,
            "exceptions_total": counters.exceptions_total,
            "last_exception": counters.last_exception,
            "last_exception_time": counters.last_exception_time,
            "lost_total": counters.lost_total,
            "dead_letters_total": counters.dead_letters_total,
            "connection_status": counters.connection_status,
        }
        node |= {f"{name}_total": count for name, count in pipeline.own_counts.items()}
    return node


def _query_nodes(rule: Rule, names: Sequence[str]) -> dict[str, JsonObject]:
    """Metrics of the operators, which are one query: the first shows its input, the last its output."""
    unit = rule.unit
    if unit is None:
        return {name: dict(_NODE) for name in names}
    came, counters = unit.records_in - rule.joined_in, unit.query.counters
    errors = counters.errors - rule.joined_errors
    nodes = {
        name: _NODE
        | {
            "records_in_total": rule.out,
            "records_out_total": rule.out,
            "messages_processed_total": rule.out,
            "last_invocation": unit.last_ms,
        }
        for name in names
    }
    nodes[names[0]] |= {
        "records_in_total": came,
        "messages_processed_total": came,
        "process_latency_us": unit.busy_ns // 1000 // max(1, unit.records_in),
        "exceptions_total": errors,
        "last_exception": counters.last_error if errors else "",
        "last_exception_time": counters.last_error_ms if errors else 0,
        "late_total": counters.late,
        "forgotten_total": unit.query.forgotten,
    }
    return nodes
