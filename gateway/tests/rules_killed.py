"""The process that the kill test kills: an engine on a folder, until it is told to end.

`python rules_killed.py FOLDER`: FOLDER holds `numbers.jsonl`, which grows; rules write to `rows.sqlite3` and,
without caring for what is sent twice, to `journal.jsonl`. Says "ready" on stdout.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from patient_ends import end_patiently
from rules_engine import EVERYWHERE

from opq_plugins.sdk import Context, Sink, SinkContext
from opq_proto.kit import log
from opq_rules.engine.engine import Engine
from opq_rules.rule_plugins import RulePlugins


class Journal(Sink):
    """A line per emission, with its id."""

    def configure(self, properties: Mapping[str, Any]) -> None:
        self._path = str(properties["path"])

    def open(self, context: Context) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def collect(self, context: SinkContext, data: Any) -> None:
        os.write(self._file, json.dumps({"id": context.row_id, "rows": data}).encode() + b"\n")


class Types(RulePlugins):
    def sink(self, type_name: str) -> Callable[[], Sink]:
        return Journal if type_name == "journal" else super().sink(type_name)


def rules(folder: Path) -> list[dict[str, Any]]:
    """One of each kind: no memory, windows of event time and of counts, analytic; sources shared and own."""

    def rule(name: str, sql: str, qos: int, **options: Any) -> dict[str, Any]:
        url = f"sqlite:///{folder / 'rows.sqlite3'}"
        return {
            "id": name,
            "sql": sql,
            "options": {"qos": qos, "checkpointInterval": "200ms", **options},
            "actions": [
                {"sql": {"url": url, "table": name, "exactlyOnce": True}},
                {"journal": {"path": str(folder / "journal.jsonl")}},
            ],
        }

    return [
        rule("plain", "SELECT n, v FROM own WHERE v > 50", 1),
        rule("shared", "SELECT n, v FROM common WHERE v > 70", 2),
        rule("shared_too", "SELECT n, v FROM common WHERE v > 75", 2),
        rule("counted", "SELECT count(*) AS c, sum(n) AS s FROM own GROUP BY COUNTWINDOW(7)", 1),
        rule(
            "timed",
            "SELECT window_start() AS began, count(*) AS c, sum(n) AS s FROM common "
            "GROUP BY TUMBLINGWINDOW(ss, 1)",
            2,
            isEventTime=True,
            lateTolerance=0,
        ),
        rule("changes", "SELECT n, lag(n) AS before FROM common WHERE v > 60", 2),
    ]


def main() -> None:
    log.configure("rules")
    folder = Path(sys.argv[1])
    engine = Engine(folder / "data", Types(folder / "data", access=EVERYWHERE))
    engine.start()
    engine.ready.wait()
    path = folder / "numbers.jsonl"
    source = f'TYPE="file", DATASOURCE="{path}", FORMAT="json", TIMESTAMP="t", CONF_KEY="f"'
    engine.configurations.put("sources", "file", "f", {"fileType": "lines", "sendInterval": 1})
    for name, shared in (("own", "false"), ("common", "true")):
        if name not in engine.catalogue.names("stream"):
            engine.execute(f'CREATE STREAM {name} () WITH ({source}, SHARED="{shared}")')
    there = {each["id"] for each in engine.views.rules()}
    problems = engine.create_rules([rule for rule in rules(folder) if rule["id"] not in there])
    print("ready" if not problems else f"refused: {problems}", flush=True)
    sys.stdin.read()
    end_patiently()
    print(json.dumps({"late": engine.stop()}), flush=True)


if __name__ == "__main__":
    main()
