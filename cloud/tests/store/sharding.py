"""The shard keys of docs/schema.md, and what a sharded MongoDB refuses, for one that is not sharded.

MongoDB refuses a unique index that does not begin with the shard key, and before version 7.1 a change of one
document, or an upsert, whose filter does not have all of it (its manual: Sharding, Operational Restrictions).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient, monitoring

PAGE = Path(__file__).resolve().parents[3] / "docs" / "schema.md"
Keys = Mapping[str, tuple[str, ...]]


def shard_keys() -> Keys:
    """Collection -> fields of its shard key, as the page's table has them."""
    rows = re.findall(r"^\| (`.*?`) \| `\{(.*?)\}` \|", PAGE.read_text(encoding="utf-8"), re.M)
    return {
        name: tuple(re.findall(r"(\w+): 1", fields))
        for names, fields in rows
        for name in re.findall(r"`([\w.]+)`", names)
    }


def is_sharded(client: MongoClient[Any]) -> bool:
    """Whether the server is a mongos."""
    return bool(client.admin.command("hello").get("msg") == "isdbgrid")


def shard(client: MongoClient[Any], database: str) -> None:
    """Shards the collections of a database that is not there yet."""
    client.admin.command("enableSharding", database)
    for name, fields in shard_keys().items():
        client.admin.command("shardCollection", f"{database}.{name}", key=dict.fromkeys(fields, 1))


class ShardedChanges(monitoring.CommandListener):
    """Changes of one document of a sharded collection: how many, and those that a sharded MongoDB refuses."""

    def __init__(self) -> None:
        self.keys, self.seen, self.refused = shard_keys(), 0, list[str]()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        command: Mapping[str, Any] = event.command
        collection = str(command.get(event.command_name, ""))
        if event.command_name == "findAndModify":
            self._note(collection, event.command_name, command["query"])
        for change in command.get("updates", ()):
            if not change.get("multi"):
                self._note(collection, event.command_name, change["q"])
        for change in command.get("deletes", ()):
            if change["limit"] == 1:
                self._note(collection, event.command_name, change["q"])

    def _note(self, collection: str, command: str, query: Mapping[str, Any]) -> None:
        if fields := self.keys.get(collection):
            self.seen += 1
            if any(isinstance(query.get(name, {}), dict) for name in fields):
                self.refused.append(f"{command} of {collection} by {', '.join(query)}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...
