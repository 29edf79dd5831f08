"""Draft: what the store would be after a change that is not made yet. For trying, in memory."""

from collections.abc import Iterable

from opq_rules.engine.configurations import Kept


class Draft:
    """Reads through to `below` what was not put here; what is there is never written."""

    def __init__(self, below: Kept) -> None:
        self._below = below
        self._put: dict[str, dict[str, str | None]] = {}

    def all(self, kind: str) -> dict[str, str]:
        found = {**self._below.all(kind), **self._put.get(kind, {})}
        return {name: body for name, body in sorted(found.items()) if body is not None}

    def get(self, kind: str, name: str) -> str | None:
        put = self._put.get(kind, {})
        return put[name] if name in put else self._below.get(kind, name)

    def put(self, kind: str, name: str, body: str) -> None:
        self._put.setdefault(kind, {})[name] = body

    def delete(self, kind: str, names: Iterable[str]) -> None:
        self._put.setdefault(kind, {}).update(dict.fromkeys(names))
