"""The lists of stream rules and packages over HTTP, with an engine that answers as the real one."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import demo
import pytest
from account_scene import FormBrowser, add_people
from rules_house import House

from opq_cloud.operations.rule_engine import EngineAddress, EngineRefusedError, EngineSilentError, RuleEngine
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.view.web.sign_in import SignIn
from opq_proto.keys.rest_token import CHALLENGE, PROOFS, proofs_of

pytestmark = pytest.mark.usefixtures("cheap_argon2")


class FakeEngine(ThreadingHTTPServer):
    """A rule engine's REST: what it was asked, and rules that it keeps."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, object, str]] = []
        self.rules: dict[str, dict[str, object]] = {}
        self.streams = ["boxes"]
        self.plugin, self.plugin_help = "loud", "Cries <b>at</b> dips."
        super().__init__(("127.0.0.1", 0), EngineHandler)


class EngineHandler(BaseHTTPRequestHandler):
    def _do(self) -> None:
        assert isinstance(self.server, FakeEngine)
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        is_json = self.headers.get("Content-Type") == "application/json"
        body = json.loads(content) if is_json and content else len(content)
        method, path = self.command, self.path
        challenge = self.headers.get(CHALLENGE)
        if challenge is None:
            self.server.asked.append((method, path, body, self.headers.get("Authorization", "")))
            status, answer = self._answer(self.server, method, path, body)
        else:
            sums = [hashlib.sha256(b"secret").hexdigest()]
            status, answer = 401, {PROOFS: proofs_of(sums, challenge, self.server.server_address[1])}
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
            case "GET", "/rules/status/all":
                return 200, {each: {"status": "running", **facts} for each, facts in engine.rules.items()}
            case "GET", "/plugins/packages":
                return 200, [
                    {
                        "name": engine.plugin,
                        "version": "1.0.0",
                        "triggers": [engine.plugin],
                        "help": engine.plugin_help,
                    }
                ]
            case "GET", _ if unquote(path) == f"/plugins/packages/{engine.plugin}/status":
                return 200, {
                    "status": "running",
                    "version": "1.1.0",
                    "previous": "1.0.0",
                    "errMsg": "hangs <i>",
                }
        if method == "POST" and path.split("/")[1:3] == ["rules", "deep"] and "deep" in engine.rules:
            return 200, f"done: {name}"
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


def test_an_engine_without_rules_names_the_command(engine: FakeEngine, ada: FormBrowser) -> None:
    assert ada.get("/admin/rules") == 200 and "opq-tools rules create" in ada.text
    engine.streams = []
    try:
        assert ada.get("/admin/rules") == 200 and "opq-tools rules stream create boxes" in ada.text
    finally:
        engine.streams = ["boxes"]


def test_rules_are_listed_started_and_stopped(
    scene: demo.Scene, engine: FakeEngine, ada: FormBrowser
) -> None:
    """Rules are listed with state and trouble, started and stopped."""
    engine.rules["deep"] = {"message": "no column <i>"}
    run = "/admin/rules/makai/deep/run"
    try:
        assert ada.get("/admin/rules") == 200
        for text in ("deep", "running", "no column <i>", "Start", "Stop"):
            assert text in ada.text, text
        assert ada.post(run, "/admin/rules", do="explode") == 400
        assert ada.post("/admin/rules/none/deep/run", "/admin/rules", do="stop") == 404
        assert ada.post("/admin/rules/makai/none/run", "/admin/rules", do="start") == 409
        assert ada.get(run) == 303, "the refusal's address, loaded again"
        assert ada.headers["location"] == "/admin/rules"
        for verb in ("stop", "start"):
            assert ada.post(run, "/admin/rules", do=verb) == 303
            assert ("POST", f"/rules/deep/{verb}") in [each[:2] for each in engine.asked]
        assert {each[3] for each in engine.asked} == {"Bearer secret"}
        whats = [each.what for each in scene.store.people.changes.entries(limit=2)]
        assert whats == ["started a stream rule", "stopped a stream rule"]
        assert ada.get("/admin/rules/makai/deep") == 404
    finally:
        engine.rules.clear()


def test_a_foreign_form_reaches_no_engine(engine: FakeEngine, ada: FormBrowser) -> None:
    run, before = "/admin/rules/makai/deep/run", len(engine.asked)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert ada.post(run, "/admin/audit", headers, do="stop") == 403
    assert ada.send("POST", run, "do=stop", {}) == 403
    assert FormBrowser(ada.url).post(run, form_token="x") in (401, 403, 404)
    assert len(engine.asked) == before


def test_packages_stand_with_their_trouble(engine: FakeEngine, ada: FormBrowser) -> None:
    assert ada.get("/admin/plugins") == 200
    for text in ("loud", "1.1.0", "before 1.0.0", "hangs", "Roll back", "Cries <b>at</b> dips."):
        assert text in ada.text, text
    before = len(engine.asked)
    assert ada.post("/admin/plugins", "/account", engine="makai") == 400  # no file
    assert len(engine.asked) == before + 2  # what the page shows of the engine


def test_the_pages_find_a_local_engines_token(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        engine = RuleEngine(EngineAddress("makai", house.url))
        assert engine.request("GET", "/rules") == []
        with pytest.raises(EngineRefusedError) as missing:
            engine.request("GET", "/rules/nothing")
        assert missing.value.code == 404
        wrong = tmp_path / "wrong"
        wrong.write_text("wrong")
        with pytest.raises(EngineSilentError, match="does not prove that it has the token"):
            RuleEngine(EngineAddress("makai", house.url, wrong)).request("GET", "/rules")
    finally:
        assert house.stop() == []
