"""The nodes that a rule is shown as: sources, operators, sinks, and who feeds whom. Pure.

Names as eKuiper's (reference/rules.md, A.3), so that dashboards work: `source_demo`, `op_2_filter`,
`sink_log_0`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any


def operators(names: Sequence[str]) -> list[str]:
    """`names` in the order of work, as a plan tells them."""
    return [f"op_{k}_{name}" for k, name in enumerate(names, start=2)]


def sinks(types: Sequence[str]) -> list[str]:
    return [f"sink_{kind}_{k}" for k, kind in enumerate(types)]


def topology(streams: Sequence[str], steps: Sequence[str], sink_types: Sequence[str]) -> dict[str, Any]:
    """GET /rules/{id}/topo."""
    nodes = operators(steps)
    begins = [f"source_{name}" for name in streams]
    edges: dict[str, list[str]] = {begin: [nodes[0]] for begin in begins}
    for node, following in pairwise(nodes):
        edges[node] = [following]
    edges[nodes[-1]] = sinks(sink_types)
    return {"sources": begins, "edges": edges}
