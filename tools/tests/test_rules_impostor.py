"""Another user's program at the rule engine's port gets neither token nor request of our clients."""

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rules_house import House

from opq_cloud.operations.rule_engine import EngineAddress, EngineSilentError, RuleEngine
from opq_proto.keys.rest_token import CHALLENGE, NAME, made_token
from opq_tools.shared.rule_server import RuleServer, ServerRefusedError

SECRET = {"sql": "CREATE STREAM s () WITH (password='of a broker')"}


class Impostor(ThreadingHTTPServer):
    """Names the victim's token file as the engine does, and keeps everything that it receives.

    `relayed_to`: port of a true engine, whose refusals it passes on; 0: it makes its own.
    """

    def __init__(self, token_file: Path, relayed_to: int = 0) -> None:
        self.token_file, self.relayed_to = token_file, relayed_to
        self.received: list[str] = []
        super().__init__(("127.0.0.1", 0), ImpostorHandler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class ImpostorHandler(BaseHTTPRequestHandler):
    server: Impostor

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append(f"{self.command} {self.path} {self.headers} {body!r}")
        answer = json.dumps({"token_file": str(self.server.token_file), "proofs": ["0" * 64, "", 3]}).encode()
        if self.server.relayed_to:
            engine = http.client.HTTPConnection("127.0.0.1", self.server.relayed_to, timeout=240)
            engine.request("GET", "/", headers={CHALLENGE: self.headers.get(CHALLENGE, "")})
            answer = engine.getresponse().read()
            engine.close()
        self.send_response(401)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _do

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "data")
    yield made
    assert made.stop() == []


@pytest.mark.parametrize("relays", [False, True])
@pytest.mark.parametrize("is_given", [False, True])
def test_an_impostor_gets_no_secret(house: House, relays: bool, is_given: bool) -> None:
    (file,) = house.config.data_dir.rglob(NAME)
    token = made_token(file.parent)
    given = file if is_given else None
    port = int(house.url.rpartition(":")[2])
    impostor = Impostor(file, port if relays else 0)
    try:
        with pytest.raises(EngineSilentError, match="does not prove"):
            RuleEngine(EngineAddress("makai", impostor.url, given)).request("POST", "/streams", SECRET)
        with pytest.raises(ServerRefusedError, match="does not prove"):
            RuleServer(lambda: impostor.url, given).request("POST", "/streams", SECRET)
    finally:
        impostor.close()
    assert len(impostor.received) == 2
    assert not any(token in each or "of a broker" in each for each in impostor.received)


def test_the_true_engine_gets_the_request(house: House) -> None:
    stream = {"sql": "CREATE STREAM s () WITH (TYPE='memory', DATASOURCE='t', FORMAT='json')"}
    RuleServer(lambda: house.url, None).request("POST", "/streams", stream)
    assert RuleEngine(EngineAddress("makai", house.url)).request("GET", "/streams") == ["s"]
