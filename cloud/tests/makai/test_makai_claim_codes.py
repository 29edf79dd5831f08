"""A Box claimed by the code of its gateway: through View's page, a real broker, the gateway's desk."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import demo
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.operations import box_client
from opq_cloud.operations.box_client import BoxClient, BoxReport
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.view.web.sign_in import SignIn
from opq_gateway.commands.claim_codes import MAX_TRIES, ClaimCodes
from opq_gateway.commands.command_handler import CommandedBox, CommandHandler
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_proto.wire.command_client import CommandClient, UnansweredError
from opq_proto.wire.frames import claim_accepted
from opq_proto.wire.opqbox3_pb2 import Command, Response

pytestmark = pytest.mark.usefixtures("cheap_argon2", "no_tries_return")


class GatewayDesk:
    """The gateway's command desk on the connection of one Box; `instead` answers in its place."""

    def __init__(self, plain: Any, box_id: str) -> None:
        self.claims = ClaimCodes([box_id])
        self.instead: Callable[[Command], Response] | None = None
        self.heard = 0
        handler = CommandHandler(60.0, claims=self.claims)
        status = BoxStatus(box_id, 60)
        respond = plain.push.send_multipart
        desk = CommandedBox(status, None, BoxCounters(), "", lambda cycles: None, respond)  # type: ignore[arg-type]
        handler.add(box_id, desk)
        self._stop = threading.Event()

        def run() -> None:
            while not self._stop.is_set():
                command = plain.command(timeout_ms=20)
                if command is None:
                    continue
                self.heard += 1
                if self.instead is not None:
                    respond([self.instead(command).SerializeToString()])
                else:
                    handler.handle_command(box_id, command.SerializeToString())

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(240)


@pytest.fixture
def house(
    makai: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[demo.Scene, dict[str, GatewayDesk], dict[str, FormBrowser]]]:
    """View, the broker, the gateways of Boxes 1 and 4, and three people."""
    monkeypatch.setattr(box_client, "ANSWER_S", 60.0)
    monkeypatch.setattr(box_client, "CONNECT_S", 60.0)
    brokers = makai.brokers()
    acquisition = brokers.acquisition_config
    addresses = ServiceAddresses(commands=acquisition.request_endpoint, answers=acquisition.answer_endpoint)
    desks: dict[str, GatewayDesk] = {}
    with makai.running(brokers.acquisition):
        try:
            for box_id in ("1", "4"):
                desks[box_id] = GatewayDesk(makai.box(brokers, box_id), box_id)
                makai.wait_for(lambda box=box_id: brokers.acquisition.counters.of("boxes_listening", box))
            scene = demo.Scene(makai.folder, keys=brokers.keys, addresses=addresses)
            demo.fill(scene.store, time.time_ns(), minutes=1)
            scene.addresses = addresses
            with scene:
                people = add_people(scene, ada="owner", eve="owner", vic="viewer")
                yield scene, desks, {name: signed_in(scene, each) for name, each in people.items()}
        finally:
            for desk in desks.values():
                desk.close()


def signed_in(scene: demo.Scene, account_id: str) -> FormBrowser:
    account = scene.store.people.account(account_id)
    assert account is not None
    return FormBrowser(
        scene.url, {"opq_session": SignIn(scene.store.people).begin_session(account, "127.0.0.1", "test")}
    )


def claim(browser: FormBrowser, box_id: str, code: str) -> int:
    return browser.post("/account/boxes", "/account/boxes", box_id=box_id, proof=code)


def test_a_box_is_claimed_only_by_its_code(
    house: tuple[demo.Scene, dict[str, GatewayDesk], dict[str, FormBrowser]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gateway shows the code; similar codes are refused."""
    scene, desks, browsers = house
    ada, eve, vic = browsers["ada"], browsers["eve"], browsers["vic"]
    people = scene.store.people
    code = desks["1"].claims.make("1").code
    assert claim(eve, "4", code) == 403, "the code of another Box"
    assert claim(vic, "1", code) == 403, "a viewer claims nothing"
    assert claim(eve, "1", "not a code") == 403 and desks["1"].heard == 0, "only codes are sent to a Box"
    assert claim(ada, "01", code.lower().replace("-", "")) == 303
    assert ada.get("/boxes/1/settings") == 200
    entry = people.changes.entries(limit=1)[0]
    assert (entry.what, entry.subject) == ("claimed a Box", "box 1") and code not in str(entry)
    assert claim(eve, "1", code) == 403, "it has an owner"
    assert ada.post("/boxes/1/release", "/boxes/1/settings") == 303
    assert claim(eve, "1", code) == 403, "a replay: it counted once"
    assert people.access("1").owner_id == ""
    code = desks["1"].claims.make("1").code
    assert claim(eve, "1", "AAAA-AAAA") == 403
    assert claim(eve, "1", code) == 429, "five wrong ones from one place: then one a minute"
    assert desks["1"].claims.open_codes() and people.access("1").owner_id == ""


def test_a_silent_box_delays_no_other(
    house: tuple[demo.Scene, dict[str, GatewayDesk], dict[str, FormBrowser]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its owner asks it, others claim and ask their Boxes; it is not asked a second time meanwhile."""
    scene, desks, browsers = house
    ada = browsers["ada"]
    began, goes_on = threading.Event(), threading.Event()

    def away(client: CommandClient, box_id: str) -> BoxReport:
        if box_id == "1":
            return BoxReport(None, "", "", "", ())
        began.set()
        goes_on.wait(240)
        raise UnansweredError(f"Box {box_id} does not answer")

    monkeypatch.setattr(box_client, "_read_report", away)
    eve = scene.store.people.account_of("eve@example.org")
    assert eve is not None and scene.store.people.claim_box("4", eve.account_id)
    asks = threading.Thread(target=browsers["eve"].get, args=("/boxes/4?ask=1",))
    asks.start()
    try:
        assert began.wait(240)
        assert claim(ada, "1", desks["1"].claims.make("1").code) == 303
        assert ada.get("/boxes/1?ask=1") == 200 and "Its firmware does not count every loss." in ada.text
        again = signed_in(scene, eve.account_id)
        assert again.get("/boxes/4?ask=1") == 200 and "Box 4 is being asked" in again.text
    finally:
        goes_on.set()
        asks.join(240)
    assert "Box 4 does not answer" in browsers["eve"].text


def test_a_box_without_a_key_is_not_asked(
    house: tuple[demo.Scene, dict[str, GatewayDesk], dict[str, FormBrowser]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot answer, so a claim of it would hold a thread of pages for seconds."""
    asked: list[str] = []

    def sent(box_id: str, *_: str) -> bytes:
        asked.append(box_id)
        raise UnansweredError(f"Box {box_id} does not answer")

    monkeypatch.setattr(box_client, "plugin_command", sent)
    assert [claim(house[2]["ada"], each, "AAAA-AAAA") for each in ("999999", "1")] == [403, 403]
    assert asked == ["1"]


def test_a_guesser_at_the_broker_has_limited_tries(
    house: tuple[demo.Scene, dict[str, GatewayDesk], dict[str, FormBrowser]],
) -> None:
    """The guesser goes past View and its limits, to the acquisition broker's address in clear."""
    scene, desks, _ = house
    questions = BoxClient(scene.addresses)
    code = desks["4"].claims.make("4").code
    for _ in range(MAX_TRIES):
        assert not desks["4"].claims.spend("4", "AAAA-AAAA")
    assert not questions.spend_claim_code("4", code), "closed by wrong tries"
    code = desks["1"].claims.make("1").code
    assert not questions.spend_claim_code("4", code), "the code of another Box"

    def as_an_original_box(command: Command) -> Response:
        answer = Response(box_id=command.box_id, seq=command.seq, timestamp_ms=1)
        answer.command_to_plugin_response.ok = True  # it says so whatever it is asked
        return answer

    desks["4"].instead = as_an_original_box
    assert not questions.spend_claim_code("4", "AAAA-AAAA")

    def as_box_1(command: Command) -> Response:
        answer = as_an_original_box(command)
        answer.box_id = 1
        answer.command_to_plugin_response.detail = claim_accepted("1")
        return answer

    desks["4"].instead = as_box_1  # a key admits its own Box's answers: the broker drops this one
    assert not questions.spend_claim_code("1", "AAAA-AAAA")
    assert questions.spend_claim_code("1", code)
    assert not questions.spend_claim_code("1", code), "a replay"
