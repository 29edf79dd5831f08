"""Status of a rule as JSON: its state, then flat metrics per node. Reads counters as they are.

Names of the metrics as eKuiper's (reference/rules.md, A.3).
"""

from collections.abc import Sequence
from typing import Any

from opq_rules.engine.feed import Feed
from opq_rules.engine.outlet import Outlet
from opq_rules.engine.rule import RUNNING, Rule
from opq_rules.engine.topology import operators, sinks

Node = dict[str, Any]


def _node(**known: Any) -> Node:
    base: Node = {
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
    return base | known


def feed_node(feed: Feed) -> Node:
    taken = feed.records_in - feed.waiting - feed.dropped
    return _node(
        records_in_total=feed.records_in,
        records_out_total=taken,
        messages_processed_total=taken,
        buffer_length=feed.waiting,
        last_invocation=feed.last_ms,
        exceptions_total=feed.errors,
        last_exception=feed.last_exception,
        last_exception_time=feed.last_exception_ms,
        dropped_total=feed.dropped,
        connection_status=feed.connection,
    )


def sink_node(rule: Rule, outlet: Outlet | None) -> Node:
    """`outlet` None: a topic of memory, which takes at once. A shared sink's trouble is told by each rule.

    What waits, in the queue or in the sink's cache, has not gone out.
    """
    if outlet is None:
        return _node(records_in_total=rule.out, records_out_total=rule.out, connection_status=1)
    pipeline = outlet.pipeline
    counters = pipeline.counters if pipeline is not None else None
    taken = max(0, rule.out - rule.dropped)
    known: Node = {
        "records_in_total": rule.out,
        "records_out_total": min(taken, counters.emissions_out) if counters is not None else 0,
        "messages_processed_total": taken,
        "buffer_length": outlet.waiting + (pipeline.waiting if pipeline is not None else 0),
        "last_invocation": outlet.last_ms,
        "dropped_total": rule.dropped,
    }
    if counters is not None:
        known |= {
            "exceptions_total": counters.exceptions_total,
            "last_exception": counters.last_exception,
            "last_exception_time": counters.last_exception_time,
            "lost_total": counters.lost_total,
            "connection_status": counters.connection_status,
        }
    if pipeline is not None:
        known |= {f"{name}_total": count for name, count in pipeline.own_counts.items()}
    return _node(**({"connection_status": 0} | known))


def query_nodes(rule: Rule, names: Sequence[str]) -> dict[str, Node]:
    """One query does the work of all: what comes in is told of the first, what goes out of the last."""
    unit = rule.unit
    if unit is None:
        return {name: _node() for name in names}
    came = unit.records_in - rule.joined_in
    each_us = unit.busy_ns // 1000 // max(1, unit.records_in)
    nodes: dict[str, Node] = {}
    for k, name in enumerate(names):
        nodes[name] = _node(
            records_in_total=came if k == 0 else rule.out,
            records_out_total=rule.out,
            messages_processed_total=came if k == 0 else rule.out,
            process_latency_us=each_us if k == 0 else 0,
            last_invocation=unit.last_ms,
        )
    trouble = unit.trouble(rule)
    nodes[names[0]] |= {
        "exceptions_total": trouble.errors,
        "last_exception": trouble.last_error,
        "last_exception_time": trouble.last_error_ms,
        "late_total": trouble.late,
    }
    return nodes


def status(rule: Rule, feeds: Sequence[Feed], sink_types: Sequence[str]) -> Node:
    """GET /rules/{id}/status."""
    state, extra, unit = rule.status, rule.extra, rule.unit  # in this order: they change meanwhile
    told: Node = {
        "status": state,
        "message": extra.message if extra else "",
        "lastStartTimestamp": rule.start_ms,
        "lastStopTimestamp": extra.last_stop_ms if extra else 0,
        "nextStartTimestamp": extra.next_start_ms if extra else 0,
        "degraded": "",
    }
    if unit is None:
        return told
    nodes: dict[str, Node] = {f"source_{feed.name}": feed_node(feed) for feed in feeds}
    nodes |= query_nodes(rule, operators(unit.operators(rule)))
    spec = rule.spec
    outlets = iter(spec.outlets if spec else ())
    for name, kind in zip(sinks(sink_types), sink_types, strict=True):
        nodes[name] = sink_node(rule, None if kind == "memory" else next(outlets, None))
    if state == RUNNING:
        broken = [name for name, node in nodes.items() if node.get("connection_status") == -1]
        away = [f"{name}: {nodes[name]['last_exception']}" for name in broken]
        told["degraded"] = ", ".join([*rule.missing, *away])
    for name, node in nodes.items():
        told |= {f"{name}_0_{metric}": value for metric, value in node.items()}
    return told
