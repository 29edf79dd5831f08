"""Pages of stream rules and packages over HTTP, with an engine that answers as the real one."""

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import demo
import pytest
from account_scene import FormBrowser, add_people
from rules_house import House

from opq_cloud.makai.triggers import sql
from opq_cloud.view.accounts.sign_in import SignIn
from opq_cloud.view.administration.addresses import ServiceAddresses
from opq_cloud.view.administration.rule_engine import EngineAddress, EngineRefusedError, RuleEngine
from opq_cloud.view.administration.rule_pages import EXAMPLE, status_rows
from opq_cloud.view.administration.rule_rows import MAX_OPEN, ROWS_A_SECOND
from opq_cloud.view.administration.rule_trial import (
    COLUMNS,
    MAX_RECORDS,
    emission_times,
    newest_measurements,
    trial_body,
    trial_drawing,
)
from opq_proto.decision import Nominal
from opq_proto.messages import Measurement, Metric
from opq_rules.api.guard import MAX_JSON_BYTES

pytestmark = pytest.mark.usefixtures("cheap_argon2")
TYPED = {"id": "deep", "sql": "SELECT box\r\nFROM boxes", "actions": '[{"log": {}}]', "options": "{}"}


class FakeEngine(ThreadingHTTPServer):
    """A rule engine's REST: what it was asked, and rules that it keeps."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, object, str]] = []
        self.rules: dict[str, dict[str, object]] = {}
        self.streams = ["boxes"]
        self.plugin, self.plugin_help = "loud", "Cries <b>at</b> dips."
        self.reading = 0
        """Clients that read rows now."""
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), EngineHandler)

    def count_reader(self, change: int) -> None:
        with self._lock:
            self.reading += change


class EngineHandler(BaseHTTPRequestHandler):
    def _rows(self, engine: FakeEngine) -> None:
        """As the engine: the state, 40 rows at once, then that it lives, until nobody reads."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        engine.count_reader(1)
        try:
            text = 'event: state\ndata: {"status":"running","message":"","dropped":3}\n\n'
            text += "".join(f'data: {{"n": {n}}}\n\n' for n in range(40))
            if self.path.endswith("/still"):
                text = 'event: state\ndata: {"status":"stopped by error","message":"no <i>","dropped":0}\n\n'
            while True:
                self.wfile.write(text.encode())
                time.sleep(0.05)
                text = ": nothing yet\n\n"
        except OSError:
            self.close_connection = True
        finally:
            engine.count_reader(-1)

    def _do(self) -> None:
        assert isinstance(self.server, FakeEngine)
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        is_json = self.headers.get("Content-Type") == "application/json"
        body = json.loads(content) if is_json and content else len(content)
        method, path = self.command, self.path
        self.server.asked.append((method, path, body, self.headers.get("Authorization", "")))
        if path.startswith("/query/") and path.rpartition("/")[2] in self.server.rules:
            self._rows(self.server)
            return
        status, answer = self._answer(self.server, method, path, body)
        kind = "text/plain" if isinstance(answer, str) else "application/json"
        data = answer if isinstance(answer, str) else json.dumps(answer)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data.encode())))
        self.end_headers()
        self.wfile.write(data.encode())

    def _answer(self, engine: FakeEngine, method: str, path: str, body: object) -> tuple[int, object]:
        name = path.rpartition("/")[2]
        match method, path:
            case "GET", "/rules":
                return 200, [{"id": each, "status": "running"} for each in engine.rules]
            case "GET", "/streams":
                return 200, engine.streams
            case "POST", "/streams":
                assert isinstance(body, dict) and body["sql"].startswith("CREATE STREAM boxes ()")
                if engine.streams:
                    return 409, {"message": "stream boxes is there already"}
                engine.streams.append("boxes")
                return 201, "made"
            case "POST", "/rules/validate":
                assert isinstance(body, dict)
                if "nowhere" in body["sql"]:
                    return 422, {"message": "stream <b>nowhere</b> is not known", "line": 2, "column": 6}
                return 200, {"sources": ["boxes"], "valid": True}
            case "POST", "/ruletest/run":
                assert isinstance(body, dict)
                return 200, [[row] for row in body["mockSource"]["boxes"]["data"]]
            case "POST", "/rules":
                assert isinstance(body, dict)
                engine.rules[body["id"]] = body
                return 201, "made"
            case "GET", "/plugins/portables":
                return 200, [
                    {
                        "name": engine.plugin,
                        "version": "1.0.0",
                        "triggers": [engine.plugin],
                        "help": engine.plugin_help,
                    }
                ]
            case "GET", _ if unquote(path) == f"/plugins/portables/{engine.plugin}/status":
                return 200, {
                    "status": "running",
                    "version": "1.1.0",
                    "previous": "1.0.0",
                    "errMsg": "hangs <i>",
                }
        if path.startswith("/rules/") and name in engine.rules:
            if method == "DELETE":
                del engine.rules[name]
            return 200, engine.rules.get(name, "done")
        return 404, {"message": f"{path} is not found"}

    do_GET = do_POST = do_PUT = do_DELETE = _do

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> Iterator[demo.Scene]:
    folder = tmp_path_factory.mktemp("rules")
    token = folder / "token"
    token.write_text("secret\n")
    url = f"http://127.0.0.1:{engine.server_address[1]}"
    running = demo.Scene(folder, addresses=ServiceAddresses(engines=(EngineAddress("makai", url, token),)))
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


@pytest.fixture(scope="module")
def ada(scene: demo.Scene) -> FormBrowser:
    account = scene.store.people.account(add_people(scene, ada="admin")["ada"])
    assert account is not None
    secret = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "test")
    return FormBrowser(scene.url, {"opq_session": secret})


def test_an_engine_without_a_stream_gets_one_by_a_button(engine: FakeEngine, ada: FormBrowser) -> None:
    engine.streams = []
    ada.get("/admin/rules")
    assert "Make the stream" in ada.text
    assert ada.post("/admin/rules/makai") == 303 and engine.streams == ["boxes"]
    assert ada.headers["location"] == "/admin/rules/makai/new"
    assert ada.post("/admin/rules/makai", "/admin/rules") == 409 and "Stream boxes is there" in ada.text


def test_counters_of_a_rule_are_said_in_words_and_moments_as_times() -> None:
    told = {
        "status": "running", "message": "", "lastStartTimestamp": 1795436571529, "lastStopTimestamp": 0,
        "source_boxes_0_records_in_total": 1674, "source_boxes_0_connection_status": 1,
        "sink_log_0_0_connection_status": -1, "op_2_filter_0_process_latency_us": 11,
        "sink_log_0_0_last_exception_time": 10**40,
    }  # fmt: skip
    assert status_rows(told) == [
        ("status", "running"), ("last start", "2026-11-23 12:22:51"),
        ("source boxes 0 records in total", "1,674"), ("sink log 0 0 connection status", "-1"),
        ("op 2 filter 0 process latency, µs", "11"), ("sink log 0 0 last exception time", f"{10**40:,}"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "new", "deep sags", "tief/er"])
def test_a_rule_whose_page_would_have_no_address_is_not_saved(
    engine: FakeEngine, ada: FormBrowser, name: str
) -> None:
    new = "/admin/rules/makai/new"
    assert ada.post(new, new, **{**TYPED, "id": name}, do="save") == 400
    assert "Name the rule" in ada.text and "FROM boxes" in ada.text and engine.rules == {}


def test_a_rule_is_checked_tried_saved_and_deleted(
    scene: demo.Scene, engine: FakeEngine, ada: FormBrowser
) -> None:
    new = "/admin/rules/makai/new"
    assert ada.get(new) == 200 and "rms_min < 0.9 * coalesce(nominal_v, 120)" in ada.text
    assert ada.post(f"{new}/check", new, **{**TYPED, "sql": "SELECT *\r\nFROM nowhere"}) == 200
    assert json.loads(ada.text) == {
        "valid": False, "text": "stream <b>nowhere</b> is not known", "line": 2, "column": 6,
    }  # fmt: skip
    assert ada.post(f"{new}/check", new, **TYPED) == 200 and json.loads(ada.text)["valid"]
    assert ada.post(f"{new}/check", new, **{**TYPED, "actions": "{"}) == 200 and "no JSON" in ada.text
    assert ada.post(new, new, **TYPED, do="try", box="1", hours="1") == 200
    assert "60 rows of 60 Measurements of Box 1" in ada.text and "trial-mark" in ada.text
    assert ada.post(new, new, **TYPED, do="try", box="77", hours="1") == 409
    assert ada.post(new, new, **TYPED, do="try", box="1", hours="999") == 400
    assert ada.post(new, new, **TYPED, do="try", box="1", hours="6") == 200
    assert '<option value="6" selected>' in ada.text
    assert ada.post(new, new, **TYPED, do="save") == 303
    assert ada.get(ada.headers["location"]) == 200 and "Saved." in ada.text
    assert engine.rules["deep"]["sql"] == "SELECT box\nFROM boxes"
    assert {each[3] for each in engine.asked} == {"Bearer secret"}
    assert ada.get("/admin/rules/makai/deep") == 200 and "FROM boxes" in ada.text
    assert ada.get("/admin/rules/makai/none") == 404 and ada.get("/admin/rules/none/deep") == 404
    assert ada.post("/admin/rules/makai/deep/run", "/admin/rules", do="explode") == 400
    assert ada.post("/admin/rules/makai/deep/run", "/admin/rules", do="delete") == 303
    assert ada.post("/admin/rules/makai/deep/run", "/admin/rules", do="start") == 409
    assert ada.get("/admin/rules/makai/deep/run") == 303, "the refusal's address, loaded again"
    assert ada.headers["location"] == "/admin/rules"
    assert engine.rules == {}
    gone, added = scene.store.people.changes.entries(limit=2)
    assert (added.what, added.subject) == ("added a stream rule", "rule deep")
    assert gone.before["sql"] == added.after["sql"] == "SELECT box\nFROM boxes"
    assert "actions" not in added.after  # they may hold a password


def test_a_rule_that_is_too_long_or_sent_by_a_stranger_goes_nowhere(
    engine: FakeEngine, ada: FormBrowser
) -> None:
    new, before = "/admin/rules/makai/new", len(engine.asked)
    assert ada.post(new, "/admin/audit", **{**TYPED, "sql": "x" * 8001}, do="save") == 400
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert ada.post(new, "/admin/audit", headers, **TYPED, do="save") == 403
    assert ada.send("POST", new, "do=save", {}) == 403
    assert FormBrowser(ada.url).post(new, form_token="x") in (401, 403, 404)
    assert len(engine.asked) == before


def test_packages_stand_with_their_trouble(engine: FakeEngine, ada: FormBrowser) -> None:
    assert ada.get("/admin/plugins") == 200
    for text in ("loud", "1.1.0", "before 1.0.0", "hangs", "Roll back", "Cries <b>at</b> dips."):
        assert text in ada.text, text
    before = len(engine.asked)
    assert ada.post("/admin/plugins", "/account", engine="makai") == 400  # no file
    assert len(engine.asked) == before + 2  # what the page shows of the engine


def _measured(count: int, rms_v: float = 120.0) -> list[Measurement]:
    return [
        Measurement("1", 1_700_000_000_000 + 1000 * k, {"rms": Metric(rms_v - 1, rms_v + 1, rms_v)})
        for k in range(count)
    ]


def test_a_trial_sends_known_numbers_at_their_pace() -> None:
    rows = _measured(5)
    body = trial_body("SELECT *", "boxes", rows, 230.0, {"qos": 0})
    source = body["mockSource"]["boxes"]  # type: ignore[index]
    assert source["interval"] == 1000 and len(source["data"]) == 5
    assert all(each["nominal_v"] == 230.0 for each in source["data"])
    assert source["data"][0]["rms_min"] == 119.0 and source["data"][0]["timestamp_ms"] == rows[0].timestamp_ms
    odd = trial_body("SELECT *", "boxes", _measured(1, math.nan), 230.0, {})
    json.dumps(odd, allow_nan=False)


@pytest.mark.parametrize("nominal_v", [230.0, 120.0, None])
def test_the_rule_of_a_new_page_finds_a_sag_at_any_nominal_voltage(nominal_v: float | None) -> None:
    query, normal_v = sql.begin(rule := sql.Config(EXAMPLE.format(nominal_v=100.0))), nominal_v or 100.0
    found = []
    for share in (1.0, 0.92, 0.88):
        measured = replace(_measured(1, normal_v * share)[0], nominal_v=nominal_v)
        decision, query = sql.decide(measured, Nominal(120.0, 60.0), rule, query)
        found.append(decision is not None)
    assert found == [False, False, True]


def test_the_largest_trial_is_one_that_an_engine_reads() -> None:
    metric = Metric(119.12345678901, 121.12345678901, 120.12345678901)
    long = Measurement(
        "x" * 8, 1_700_000_000_000, dict.fromkeys(("rms", "f", "thd", "trans"), metric),
        1_700_000_000 * 10**9, 1_700_000_001 * 10**9, 123_456_789,
    )  # fmt: skip
    body = trial_body("SELECT *", "boxes", [long] * MAX_RECORDS, 230.0, {})
    assert len(json.dumps(body, separators=(",", ":"))) < MAX_JSON_BYTES


def test_a_trial_takes_the_newest_of_its_span() -> None:
    rows = _measured(MAX_RECORDS + 1000)
    first_ms, last_ms = rows[0].timestamp_ms, rows[-1].timestamp_ms

    def read(start_ms: int, end_ms: int) -> list[Measurement]:
        return [each for each in rows if start_ms <= each.timestamp_ms < end_ms]

    assert newest_measurements(read, first_ms, last_ms + 1) == rows[-MAX_RECORDS:]
    assert newest_measurements(read, last_ms - 5000, last_ms) == rows[-6:-1]


def test_what_a_rule_gave_is_drawn_where_it_says_a_time() -> None:
    rows = _measured(10_000)
    times, count = emission_times(
        [[{"timestamp_ms": rows[0].timestamp_ms}, {"box": "1"}], {"ts": math.nan}, 7]
    )
    assert times == [rows[0].timestamp_ms] and count == 4
    drawn = trial_drawing(rows, [rows[0].timestamp_ms, rows[-1].timestamp_ms, 5])
    assert drawn is not None and drawn.marks == (0.0, float(COLUMNS)) and drawn.path.count("M") == COLUMNS
    assert drawn.low_v < 119 and drawn.high_v > 121
    assert trial_drawing([], []) is None and trial_drawing(_measured(3, math.nan), []) is None


def test_rows_come_while_the_page_is_open_a_few_a_second_and_end_with_it(
    engine: FakeEngine, ada: FormBrowser
) -> None:
    engine.rules["live"] = {"id": "live", "sql": "SELECT <b> FROM boxes"}
    path = "/admin/rules/makai/live"
    try:
        assert ada.get(path) == 200 and "Rows of the next 5 s" in ada.text
        assert ada.get(f"{path}?look=1") == 200 and '{"n": ' in ada.text
        assert "20 rows" in ada.text and ada.text.count('<th scope="row"><time') == 20
        assert ada.get("/admin/rules/makai/none/rows") == 404
        engine.rules["still"] = {"id": "still", "sql": "SELECT v FROM boxes"}
        assert ada.get("/admin/rules/makai/still?look=1") == 200
        assert "The rule does not run (stopped by error: no <i>)." in ada.text
        url = urlsplit(ada.url)
        head = {"Cookie": f"opq_session={ada.cookies['opq_session']}", "Host": url.netloc}
        pages = []
        for _ in range(MAX_OPEN):
            page = HTTPConnection(url.hostname or "", url.port, timeout=60)
            page.request("GET", f"{path}/rows", headers=head)
            answer = page.getresponse()
            assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/event-stream")
            pages.append((page, answer))
        assert ada.get(f"{path}/rows") == 503 and "4 pages read rows already" in ada.text
        count, newest = 0, []
        while count < 43:  # at once, where the machine is not busy
            event = next(line for line in pages[0][1] if line.startswith(b"data: "))
            found = json.loads(event.removeprefix(b"data: "))
            newest = [row for _, row in found["rows"]]
            assert 1 <= len(newest) <= ROWS_A_SECOND
            count += len(newest) + found["passed_over"]
        assert count == 43 and newest[-1] == '{"n": 39}'
        assert engine.reading == MAX_OPEN
        for page, answer in pages:
            answer.close()
            page.close()
        end_s = time.monotonic() + 60
        while engine.reading and time.monotonic() < end_s:
            time.sleep(0.05)
        assert engine.reading == 0
    finally:
        engine.rules.clear()


def test_the_pages_find_the_token_of_an_engine_of_this_machine(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        engine = RuleEngine(EngineAddress("makai", house.url))
        assert engine.request("GET", "/rules") == []
        with pytest.raises(EngineRefusedError) as missing:
            RuleEngine(EngineAddress("makai", house.url)).open_rows("nothing")
        assert missing.value.code == 404
        wrong = tmp_path / "wrong"
        wrong.write_text("wrong")
        with pytest.raises(EngineRefusedError, match="the token is in") as refused:
            RuleEngine(EngineAddress("makai", house.url, wrong)).request("GET", "/rules")
        assert refused.value.code == 401
    finally:
        assert house.stop() == []
