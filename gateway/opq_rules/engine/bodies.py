"""Bodies: the JSON of each rule, in the store; of temporary ones in memory."""

from collections.abc import Mapping
from typing import Any

import msgspec

from opq_rules.engine.definition import RuleDefinition, definition
from opq_rules.engine.ids import no_rule
from opq_rules.engine.store import Store

KIND = "rule"


class Bodies:
    """Under the engine's lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._temporary: dict[str, str] = {}

    def put(self, made: RuleDefinition) -> None:
        self.put_many({made.id: made})

    def put_many(self, made: Mapping[str, RuleDefinition]) -> None:
        """All or nothing."""
        self._store.put_many(KIND, {each.id: each.text for each in made.values() if not each.temporary})
        self._temporary.update({each.id: each.text for each in made.values() if each.temporary})

    def delete(self, rule_id: str) -> None:
        if self._temporary.pop(rule_id, None) is None:
            self._store.delete(KIND, [rule_id])

    def text(self, rule_id: str) -> str:
        found = self._temporary.get(rule_id) or self._store.get(KIND, rule_id)
        if found is None:
            raise no_rule(rule_id)
        return found

    def body(self, rule_id: str) -> Any:
        """As it was given, with its secrets."""
        return msgspec.json.decode(self.text(rule_id))

    def definition(self, rule_id: str) -> RuleDefinition:
        return definition(self.body(rule_id))

    def kept(self) -> dict[str, str]:
        """Id -> JSON of those in the store, by id."""
        return self._store.all(KIND)

    def all(self) -> dict[str, str]:
        """Temporary ones too, by id."""
        return dict(sorted({**self.kept(), **self._temporary}.items()))
