"""Built-in sinks against real peers: an HTTP server, a broker, sockets, a database, files."""

import csv
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from free_ports import free_port
from mosquitto_of_ones_own import MOSQUITTO, Broker
from rules_engine import EVERYWHERE, running, stream
from waiting import wait_for

from opq_plugins.sdk import PermanentError, Sink
from opq_rules.errors import RuleError
from opq_rules.feeds.memory_topics import Topics
from opq_rules.sinks import file, memory, mqtt, rest, sql


class Context:
    """What a sink is told of the emission it collects."""

    rule_id, op_id, instance_id = "r", "sink_0", 0

    def __init__(self, row_ids: Sequence[str] = ()) -> None:
        self.row_ids = row_ids
        self.row_id = row_ids[0] if row_ids else ""

    def log(self, event: str, **facts: Any) -> None: ...
    def get_state(self, key: str) -> Any: ...
    def put_state(self, key: str, value: Any) -> None: ...


def opened(sink: Sink, **properties: Any) -> Sink:
    sink.configure(properties)
    sink.open(Context())
    return sink


# -- rest


class Server:
    """Answers with the codes it is given, then 200; keeps what it got."""

    def __init__(self, *codes: int) -> None:
        self.got: list[tuple[str, str, str, bytes]] = []
        left = list(codes)
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                got.append((self.command, self.path, self.headers.get("Content-Type", ""), body))
                self.send_response(left.pop(0) if left else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_POST = answer

            def log_message(self, *_: Any) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self._thread = threading.Thread(target=self.http.serve_forever)
        self._thread.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()


def test_rest_posts_json_to_the_rows_address() -> None:
    with Server() as server:
        sink = opened(rest.Sink(EVERYWHERE), url=server.url + "/boxes/{{.box}}", headers={"X-Key": 1})
        sink.collect(Context(), [{"box": "4", "v": 1.5}])
        sink.close(Context())
    assert server.got == [("POST", "/boxes/4", "application/json", b'[{"box":"4","v":1.5}]')]


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_rest_retries_a_busy_server(code: int) -> None:
    with Server(code) as server:
        sink = opened(rest.Sink(EVERYWHERE), url=server.url)
        with pytest.raises(ConnectionError, match=str(code)):
            sink.collect(Context(), [{"v": 1}])
        sink.collect(Context(), [{"v": 1}])
        sink.close(Context())


def test_rest_retries_absence_but_not_refusal() -> None:
    with Server(422) as server:
        sink = opened(rest.Sink(EVERYWHERE), url=server.url)
        with pytest.raises(ValueError, match="422"):
            sink.collect(Context(), [{"v": 1}])
        sink.close(Context())
    gone = opened(rest.Sink(EVERYWHERE), url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionError):
        gone.collect(Context(), [{"v": 1}])


def test_wrong_properties_are_named_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"url  missing.*|methd  unknown key; did you mean"):
        rest.Sink(EVERYWHERE).configure({"methd": "GET"})
    with pytest.raises(ValueError, match="want http://"):
        rest.Sink(EVERYWHERE).configure({"url": "ftp://x"})
    with pytest.raises(ValueError, match="table  is 'a; DROP"):
        sql.Sink(EVERYWHERE).configure({"url": "sqlite://", "table": "a; DROP TABLE b"})
    with pytest.raises(ValueError, match="server is"):
        mqtt.Sink().configure({"server": "http://x", "topic": "t"})
        mqtt.Client(mqtt.Config(server="http://x"))


# -- sql


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "rows.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (box TEXT, v REAL, more TEXT)")
    return path


def rows_of(base: Path, text: str = "SELECT box, v, more FROM t ORDER BY rowid") -> list[tuple[Any, ...]]:
    with sqlite3.connect(base) as connection:
        return connection.execute(text).fetchall()


def test_sql_binds_values_safely(base: Path) -> None:
    sink = opened(sql.Sink(EVERYWHERE), url=f"sqlite:///{base}", table="t")
    evil = "x'); DROP TABLE t; --"
    sink.collect(Context(), [{"box": evil, "v": 1.5, "more": {"a": [1]}}, {"box": "2", "v": None}])
    sink.close(Context())
    assert rows_of(base) == [(evil, 1.5, '{"a":[1]}'), ("2", None, None)]


def test_sql_refuses_a_statement_as_column(base: Path) -> None:
    sink = opened(sql.Sink(EVERYWHERE), url=f"sqlite:///{base}", table="t")
    with pytest.raises(ValueError, match="column  is"):
        sink.collect(Context(), [{"box) VALUES (1); --": 1}])


def test_sql_separates_final_and_passing_errors(base: Path) -> None:
    sink = opened(sql.Sink(EVERYWHERE), url=f"sqlite:///{base}", table="nowhere")
    with pytest.raises(PermanentError, match="no such table"):
        sink.collect(Context(), [{"v": 1}])
    locked = opened(sql.Sink(EVERYWHERE), url=f"sqlite:///{base}?timeout=0.05", table="t")
    with sqlite3.connect(base, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConnectionError, match="locked"):
            locked.collect(Context(), [{"v": 1}])


def test_sql_stores_once_what_is_sent_twice(base: Path) -> None:
    sink = opened(sql.Sink(EVERYWHERE), url=f"sqlite:///{base}", table="t", exactlyOnce=True)
    first = Context(["r:1/0", "r:1/1"])
    for context, row in ((first, "1"), (first, "1"), (Context(["r:2/0", "r:2/1"]), "2"), (first, "1")):
        sink.collect(context, [{"box": row, "v": 0.0}, {"box": row, "v": 1.0}])
    sink.collect(Context(["other:1/0"]), [{"box": "o", "v": 0.0}])
    sink.close(Context())
    assert [(box, v) for box, v, _ in rows_of(base)] == [
        ("1", 0.0),
        ("1", 1.0),
        ("2", 0.0),
        ("2", 1.0),
        ("o", 0.0),
    ]


def test_sql_sinks_open_a_new_base_together(tmp_path: Path) -> None:
    def open_at(path: Path, together: threading.Barrier) -> None:
        sink = sql.Sink(EVERYWHERE)
        sink.configure({"url": f"sqlite:///{path}", "table": "t", "exactlyOnce": True})
        together.wait()
        sink.open(Context())
        sink.close(Context())

    with ThreadPoolExecutor(6) as pool:
        for number in range(10):
            together = threading.Barrier(6)
            path = tmp_path / f"{number}.sqlite3"
            for opening in [pool.submit(open_at, path, together) for _ in range(6)]:
                opening.result(20)


def test_sql_reports_an_unopenable_base_at_once(tmp_path: Path) -> None:
    """What fails while it opens keeps what it was to take."""
    with pytest.raises((ConnectionError, ValueError), match="unable to open"):
        opened(sql.Sink(EVERYWHERE), url=f"sqlite:///{tmp_path}/nowhere/base.sqlite", table="t")


def test_sql_updates_and_deletes_by_key(base: Path) -> None:
    sink = opened(sql.Sink(EVERYWHERE), url=f"sqlite:///{base}", table="t", rowkindField="do", keyField="box")
    for row in (
        {"box": "1", "v": 1.0},
        {"box": "2", "v": 2.0, "do": "insert"},
        {"box": "1", "v": 9.0, "do": "update"},
        {"box": "2", "do": "delete"},
    ):
        sink.collect(Context(), row)
    sink.close(Context())
    assert rows_of(base) == [("1", 9.0, None)]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("user:test@tcp(localhost:3307)/user", "mysql+pymysql://user:test@localhost:3307/user"),
        ("root@tcp(db)/x?charset=utf8", "mysql+pymysql://root@db:3306/x"),
        ("u:p%2f:@tcp(h:1)/d", "mysql+pymysql://u:p%252f%3A@h:1/d"),
        ("sqlite:////tmp/x", "sqlite:////tmp/x"),
    ],
)
def test_both_forms_of_a_mysql_address(text: str, url: str) -> None:
    assert sql.url_of(text) == url


# -- memory


def test_memory_takes_rows_and_says_so() -> None:
    sink = memory.Sink(Topics())
    sink.configure({"topic": "t"})
    sink.collect(Context(), [])
    sink.collect(Context(), [{"v": 1}])
    with pytest.raises(ValueError, match="memory wants rows, and the text"):
        sink.collect(Context(), "text")


# -- file


def test_an_unwritable_sink_is_refused_with_its_rule(tmp_path: Path) -> None:
    """Its rows would be lost one by one; lines of compressed bytes could not be told apart again."""
    path = str(tmp_path / "out")
    url = f"sqlite:///{tmp_path}/x.db"
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("file", {"path": path, "compression": "gzip"}, "compression  does not give text"),
        ("file", {"path": path, "fileType": "csv", "dataTemplate": "x"}, "dataTemplate  does not give rows"),
        ("file", {"path": path, "idField": "id", "format": "delimited"}, "format  does not give rows"),
        ("file", {"path": path + "{{.box}}"}, "cannot contain a column"),
        ("memory", {"topic": "t", "format": "delimited"}, "format  does not give rows"),
        ("sql", {"url": url, "table": "t", "compression": "zlib"}, "compression  does not give rows"),
        ("file", {"path": path, "fileType": "csv", "dataTemplate": "[]", "fields": ["a"]}, ""),
        ("file", {"path": path, "dataTemplate": "x"}, ""),
        ("nop", {"compression": "zlib"}, ""),
    ]
    with running(tmp_path) as (engine, _):
        engine.execute(stream())
        for k, (kind, properties, refused) in enumerate(cases):
            body = {"id": f"r{k}", "sql": "SELECT v FROM s", "actions": [{kind: properties}]}
            with pytest.raises(RuleError, match=refused) if refused else nullcontext():
                engine.create_rule(body)


def test_file_writes_lines_and_rolls_by_size(tmp_path: Path) -> None:
    sink = opened(
        file.Sink(EVERYWHERE),
        path=str(tmp_path / "deep" / "rows.jsonl"),
        rollingSize=10,
        keepFiles=2,
    )
    for k in range(9):
        sink.collect(Context(), [{"k": k}])
    sink.close(Context())
    rolled = sorted((tmp_path / "deep").glob("rows_*.jsonl"))
    assert [path.read_text() for path in rolled] == ['{"k":4}\n{"k":5}\n', '{"k":6}\n{"k":7}\n']
    assert (tmp_path / "deep" / "rows.jsonl").read_text() == '{"k":8}\n'


def test_file_that_cannot_roll_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    sink = opened(file.Sink(EVERYWHERE), path=str(path), rollingSize=1)
    sink.collect(Context(), [{"k": 0}])
    others = os.open(os.devnull, os.O_RDONLY)
    with monkeypatch.context() as patch:

        def full(*_: Any, **__: Any) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "open", full)
        for _ in range(2):  # it is tried again and again
            with pytest.raises(OSError, match="No space"):
                sink.collect(Context(), [{"k": 1}])
        assert path.read_text() == '{"k":0}\n'
    sink.collect(Context(), [{"k": 1}])
    sink.close(Context())
    os.close(others)  # no other owner's file was closed
    assert path.read_text() == '{"k":1}\n'
    assert [each.read_text() for each in tmp_path.glob("rows_*")] == ['{"k":0}\n']


def test_file_with_ids_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for ids in (["r:1/0"], ["r:1/0", "r:2/0"]):  # the second start sends the first one again
        sink = opened(file.Sink(EVERYWHERE), path=str(path), idField="_id")
        for row_id in ids:
            sink.collect(Context([row_id]), [{"v": row_id}])
        sink.close(Context())
    assert [json.loads(line)["_id"] for line in path.read_text().splitlines()] == ["r:1/0", "r:2/0"]


def test_file_waits_at_no_unread_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        opened(file.Sink(EVERYWHERE), path=str(tmp_path / "pipe"))


def test_file_continues_after_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"k":1}\n{"k"')
    sink = opened(file.Sink(EVERYWHERE), path=str(path))
    sink.collect(Context(), [{"k": 2}])
    sink.close(Context())
    assert path.read_text().splitlines() == ['{"k":1}', '{"k"', '{"k":2}']


def test_file_writes_csv_with_one_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for row in ({"a": 1, "b": 'x"y'}, {"a": 2, "c": 3}):
        sink = opened(file.Sink(EVERYWHERE), path=str(path), fileType="csv", columns=["a", "b"])
        sink.collect(Context(), [row])
        sink.close(Context())
    assert list(csv.reader(path.open())) == [["a", "b"], ["1", 'x"y'], ["2", ""]]


def test_file_writes_whole_parquet_files(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra parquet)")
    sink = opened(file.Sink(EVERYWHERE), path=str(tmp_path / "rows.parquet"), fileType="parquet")
    sink.collect(Context(), [{"k": 1, "v": 0.5}, {"k": 2, "v": None}])
    sink.collect(Context(), [{"k": 3}])
    sink.close(Context())
    found = [parquet.read_table(path).to_pylist() for path in sorted(tmp_path.glob("rows_*.parquet"))]
    assert found == [[{"k": 1, "v": 0.5}, {"k": 2, "v": None}], [{"k": 3}]]


# -- mqtt


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_mqtt_confirms_and_reports_a_lost_broker(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        heard: list[tuple[str, bytes]] = []
        subscribed = threading.Event()
        ear = paho.Client(paho.CallbackAPIVersion.VERSION2)
        ear.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        ear.on_subscribe = lambda *_: subscribed.set()
        ear.on_message = lambda _, __, message: heard.append((message.topic, bytes(message.payload)))
        ear.connect("127.0.0.1", broker.port)
        ear.loop_start()
        assert subscribed.wait(240)
        server = f"tcp://127.0.0.1:{broker.port}"
        sink = mqtt.Sink()
        opened(sink, server=server, topic="boxes/{{.box}}", timeout=60_000)
        sink.collect(Context(), {"box": "7", "v": 1})
        wait_for(lambda: heard)
        assert heard == [("boxes/7", b'{"box":"7","v":1}')]
        ear.disconnect()
        ear.loop_stop()
        broker.stop()
        sink._config = replace(sink._config, timeout=2000)  # only now nothing answers
        with pytest.raises(OSError, match=r"did not confirm|connect"):
            sink.collect(Context(), {"box": "7", "v": 2})  # paho may not know yet
        for v in (3, 4):
            with pytest.raises(ConnectionError, match=r"tcp://127.*(confirm|connect)|connect.*tcp://127"):
                sink.collect(Context(), {"box": "7", "v": v})
        sink.close(Context())
        with pytest.raises(OSError, match="refused"):
            opened(mqtt.Sink(), server=server, topic="t", timeout=2000)


def test_mqtt_refused_by_its_broker_reports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"\x20\x02\x00\x05")  # CONNACK: not authorized

        broker = threading.Thread(target=refuse)
        broker.start()
        server = f"tcp://me:word@127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="Not authorized") as told:
            opened(mqtt.Sink(), server=server, topic="t")
        broker.join()
    assert "word" not in str(told.value)


def all_configs() -> Mapping[str, type]:
    return {
        "file": file.Config,
        "mqtt": mqtt.Config,
        "rest": rest.Config,
        "sql": sql.Config,
    }


@pytest.mark.parametrize("name", sorted(all_configs()))
def test_no_sinks_property_shadows_a_common_one(name: str) -> None:
    from dataclasses import fields

    from opq_rules.delivery.transform import NAMES

    both = {each.name for each in fields(all_configs()[name])} & NAMES
    assert not both, f"{name}: {both} never reach the sink"
