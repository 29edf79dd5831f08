"""Status of a rule as JSON: its state, then flat metrics per node. Reads counters as they are.

Names of the metrics as eKuiper's (reference/rules.md, A.3).
"""

from collections.abc import Sequence
from itertools import pairwise

from opq_rules.batch import JsonObject
from opq_rules.engine.rule import RUNNING, Rule
from opq_rules.engine.sink_runner import SinkRunner
from opq_rules.engine.source_runner import SourceRunner
from opq_rules.engine.traces import operator_names, sink_names

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


def topology(streams: Sequence[str], operators: Sequence[str], sink_types: Sequence[str]) -> JsonObject:
    """GET /rules/{id}/topo: the nodes that a rule is shown as, and which feeds which."""
    nodes = operator_names(operators)
    begins = [f"source_{name}" for name in streams]
    edges: dict[str, list[str]] = {begin: [nodes[0]] for begin in begins}
    for node, following in pairwise(nodes):
        edges[node] = [following]
    edges[nodes[-1]] = sink_names(sink_types)
    return {"sources": begins, "edges": edges}


def status(rule: Rule, sources: Sequence[SourceRunner], sink_types: Sequence[str]) -> JsonObject:
    """GET /rules/{id}/status."""
    state, details, unit = rule.status, rule.details, rule.unit  # in this order: they change meanwhile
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
    """`runner` None: a topic of memory, which takes at once. Each rule shows the trouble of a shared sink.

    What waits, in the queue or in the sink's cache, has not gone out.
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
            "connection_status": counters.connection_status,
        }
        node |= {f"{name}_total": count for name, count in pipeline.own_counts.items()}
    return node


def _query_nodes(rule: Rule, names: Sequence[str]) -> dict[str, JsonObject]:
    """One query does the work of all: the first shows what comes in, the last what goes out."""
    unit = rule.unit
    if unit is None:
        return {name: dict(_NODE) for name in names}
    came, faults = unit.records_in - rule.joined_in, unit.faults(rule)
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
        "exceptions_total": faults.errors,
        "last_exception": faults.last_error,
        "last_exception_time": faults.last_error_ms,
        "late_total": faults.late,
    }
    return nodes
