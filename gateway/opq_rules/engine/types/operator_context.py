"""OperatorContext: the `sdk.Context` of what runs in this process: sources, sinks, tables, functions."""

from collections.abc import Mapping

from opq_proto.kit import log
from opq_rules.values.batch import JsonObject


class OperatorContext:
    """Identifies the caller. `state`: what `put_state` has stored; `bound`: facts in each line of its log."""

    def __init__(self, rule_id: str, op_id: str, bound: Mapping[str, str]) -> None:
        self.rule_id, self.op_id, self.instance_id = rule_id, op_id, 0
        self.box = ""
        """The Box of the rows of a function's call; empty: none, or several."""
        self.state: JsonObject = {}
        self._log = log.get(service="rules", **bound)

    def log(self, event: str, **facts: object) -> None:
        self._log.info(event, **facts)

    def get_state(self, key: str) -> object:
        return self.state.get(key)

    def put_state(self, key: str, value: object) -> None:
        self.state[key] = value
