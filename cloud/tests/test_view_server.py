"""Pages, the JSON API and the guard of View, with a real server and a real store."""

import asyncio
import http.client
import json
import math
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import demo
import numpy as np
import pytest

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.view.pages.machine_notice import MachineNotice, write_notice
from opq_cloud.view.web import server as web_server
from opq_cloud.view.web.web_guard import ViewGuard
from opq_cloud.view.web.words import THIN
from opq_proto.kit import log
from opq_proto.messages import Finding, StoredFinding, TimeSource, Trigger, Waveform


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """The scene of a sag; tests only read it."""
    running = demo.Scene(tmp_path_factory.mktemp("view"))
    demo.fill(running.store, time.time_ns(), minutes=5)
    with running:
        yield running


def _get(
    scene: demo.Scene, path: str, method: str = "GET", **headers: str
) -> tuple[int, str, dict[str, str]]:
    parts = urlsplit(scene.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=240)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def _json(scene: demo.Scene, path: str) -> Any:
    status, body, _ = _get(scene, path)
    assert status == 200, body
    return json.loads(body)


# Pages


def test_the_front_page_shows_boxes_and_incident(full: demo.Scene) -> None:
    status, page, _ = _get(full, "/")
    assert status == 200
    assert "3 Boxes" in page
    assert "Box 2, workshop" in page
    assert re.search(r'data-value="rms_v" data-digits="2">12[12]\.\d\d<', page)
    assert "to 85.2" in page
    assert re.search(r'class="spark-line" d="M0.0,', page)


def test_an_empty_house_says_what_will_happen_next(scene: demo.Scene) -> None:
    front, incidents = _get(scene, "/")[1], _get(scene, "/incidents")[1]
    assert "No Box has been heard yet" in front
    assert "Nothing has happened yet" in front
    assert "Nothing has happened yet" in incidents


def test_a_slow_machine_is_reported(tmp_path: Path) -> None:
    """A machine that is too slow is said on the first page and in administration."""
    with demo.Scene(tmp_path, addresses=ServiceAddresses(folder=tmp_path)) as scene:
        for notice, said in ((MachineNotice(53, 0.16, 7), 1), (None, 0)):
            write_notice(tmp_path, notice)
            for path in ("/", "/admin"):
                assert _get(scene, path)[1].count("This machine is too slow for 53 Boxes") == said


def test_the_incident_page_tells_and_tabulates_everything(full: demo.Scene) -> None:
    status, page, _ = _get(full, "/incidents/1")
    assert status == 200
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u202f", " ")
    assert "The voltage at Box 1 fell to 102.2 V, 85.2 % of the nominal 120 V" in text
    assert "Also requested, without a finding: Box 4 (lowest 111.6 V, 93.0 %)" in text
    assert "No interruption in function" in text
    assert "instantaneous sag" in text
    assert "± 1.2 ms, by NTP" in text
    assert page.count('class="trace trace-') == 6  # rms and waveform of three Boxes
    assert len(re.findall(r"<tr><td class=\"num\">", page)) > 60  # half cycles of three Boxes


def test_an_old_incident_keeps_its_nominal_voltage(tmp_path: Path) -> None:
    parts = ("/incidents/1/examine/part?y=percent", "/api/v1/events/1/waveforms/4")
    with demo.Scene(tmp_path, poll_s=0.2) as scene:
        demo.fill(scene.store, time.time_ns(), minutes=1)
        before, parts_before = _get(scene, "/incidents/1")[1], [_get(scene, path)[:2] for path in parts]
        for box in scene.store.boxes():
            scene.store.put_box(replace(box, nominal_v=230.0))
        after, parts_after = _get(scene, "/incidents/1")[1], [_get(scene, path)[:2] for path in parts]
        shared = _get(scene, "/share/incidents/1")[1]
    assert parts_before == parts_after and {status for status, _ in parts_after} == {200}
    assert '"nominal_volts":120.0,"nominal_from":"findings"' in parts_after[1][1].replace(" ", "")
    assert (
        f"of the nominal 120{THIN}V" in shared and "nominal voltage of then" not in before + parts_after[0][1]
    )
    for page in (before, after):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u202f", " ")
        assert "102.2 V, 85.2 % of the nominal 120 V" in text
        assert "Box 4 (lowest 111.6 V, 93.0 %)" in text, "it has no finding, and had the same nominal voltage"


def test_an_unstated_nominal_is_that_of_then(tmp_path: Path) -> None:
    """The one that the record has for then is used, also after another is stated."""
    with demo.Scene(tmp_path, poll_s=0.2) as scene:
        wave = demo.waveform_of(demo.OUTLETS[1], time.time_ns() - 5 * 10**9)
        scene.store.put_box(BoxRecord("2", "workshop", nominal_v=230.0))

        def put(store: CloudStore, event_id: int, _: Sequence[Finding]) -> Sequence[StoredFinding]:
            drift = Finding("frequency_deviation", "2", wave.start_ns, wave.end_ns, 1000)
            return demo.put_together(store, event_id, [drift])

        demo.put_event(scene.store, [wave], "drift", put)
        scene.store.put_box(BoxRecord("2", "workshop", nominal_v=400.0))
        for path in ("/incidents/1", "/incidents/1/examine"):
            words = f"of then, because no finding states another: Box 2 (workshop) (230{THIN}V)."
            assert words in _get(scene, path)[1]
        facts = json.loads(_get(scene, "/api/v1/events/1/waveforms/2")[1])
        assert (facts["nominal_volts"], facts["nominal_from"]) == (230.0, "record")


def test_an_incident_of_two_events_is_one(tmp_path: Path) -> None:
    with demo.Scene(tmp_path, poll_s=0.2) as scene:
        whole = demo.waveform_of(demo.OUTLETS[0], time.time_ns())
        incident = demo.put_event(scene.store, [whole], "onset")
        assert incident is not None
        finding = incident.findings[0].finding
        worse = replace(finding, residual_percent=50.0, residual_v=60.0)
        skipped = round((finding.start_ns - whole.start_ns) * whole.rate_hz / 1e9) + 24
        deep = replace(  # an event that begins within the incident, and saw more of it
            whole,
            start_ns=whole.start_ns + round(skipped / whole.rate_hz * 1e9),
            first_sample=whole.first_sample + skipped,
            v_per_lsb=whole.v_per_lsb * 60.0 / (finding.residual_v or math.nan),
            counts=whole.counts[skipped:],
        )
        trigger = Trigger("second", deep.start_ns, deep.end_ns, ("1",), "1", "deeper")
        second = scene.store.open_event(trigger, "deeper")
        scene.store.put_waveform(second, deep)
        scene.store.finish_event(second)
        put_findings(scene.store, second, [worse])
        joined = scene.store.incident(incident.incident_id)
        assert joined is not None and joined.event_ids == (1, 2)
        _, page, _ = _get(scene, f"/incidents/{incident.incident_id}")
        assert "Sag to 50.0" in page
        assert page.count('class="trace trace-') == 2  # one line of rms, and one of samples of both events
        length_ms = (joined.end_ns - joined.start_ns) / 1e6
        assert page.count(f"{length_ms:.0f}\u202fms") >= 2  # one duration, wherever it stands


def test_an_unbalance_is_in_percent(tmp_path: Path) -> None:
    """An unbalance is shown in percent with all three phases."""
    with demo.Scene(tmp_path, poll_s=0.2) as scene:
        waves = [demo.waveform_of(each, time.time_ns()) for each in (demo.OUTLETS * 3)[:3]]
        waves = [replace(wave, box_id=str(number)) for number, wave in enumerate(waves, 1)]
        for wave in waves:
            scene.store.put_box(BoxRecord(wave.box_id, "", location="cellar"))
        first = demo.put_event(scene.store, waves, "uneven")
        begin_ns = waves[0].start_ns
        figures = (("u2_percent", 2.871), ("rms_a_v", 232.2), ("rms_b_v", 221.4), ("rms_c_v", 229.7))
        uneven = Finding("unbalance", "1", begin_ns, begin_ns + 10**9, 100, because="u2", figures=figures)
        put_findings(scene.store, first.event_ids[0] if first else 1, [uneven])
        (incident,) = [each for each in scene.store.incidents() if each.kind == "unbalance"]
        scene.store.put_box(BoxRecord("1", "", location="attic"))  # it moves afterwards
        page = _get(scene, f"/incidents/{incident.incident_id}")[1].replace(THIN, " ")
        assert "Unbalance u2</dt><dd>2.87 %</dd>" in page and "a 232.2 V, b 221.4 V, c 229.7 V" in page
        assert "Also requested" not in page and "not defined for this class" not in page


def test_a_230_v_box_is_judged_by_it(tmp_path: Path) -> None:
    """A Box without nominal values has the grid's."""
    now_ns = time.time_ns()
    with demo.Scene(tmp_path, poll_s=30.0) as scene:
        scene.store.put_box(demo.BoxRecord("1", "Cellar", nominal_v=230.0, nominal_hz=50.0))
        scene.store.put_box(demo.BoxRecord("4", "Roof"))
        t = np.arange(24_000) / 12_000
        rms_v = np.where((t > 1.0) & (t < 1.2), 161.0, 230.0)  # 70 %
        counts = np.round(rms_v * math.sqrt(2) * np.sin(2 * np.pi * 50 * t) / 0.0125).astype(np.int16)
        wave = Waveform("1", now_ns, 5, TimeSource.NTP, 12_000_000, 0.0125, 0, counts)
        event_id = scene.store.open_event(Trigger("t", now_ns, now_ns + 2 * 10**9, ("1",), "1", "dip"), "")
        scene.store.put_waveform(event_id, wave)
        scene.store.finish_event(event_id)
        sag = Finding(
            kind="sag",
            box_id="1",
            start_ns=now_ns + 10**9,
            end_ns=now_ns + 1_200_000_000,
            uncertainty_ns=5,
            residual_v=161.0,
            residual_percent=70.0,
        )
        put_findings(scene.store, event_id, [sag])
        page = _get(scene, "/incidents/1")[1]
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u202f", " ")
        assert "fell to 161.0 V, 70.0 % of the nominal 230 V" in text
        assert "lowest 161.0 V, 70.0 %" in text
        assert re.search(r'tone-down"[^>]*>sag 90\u202f%', page)
        assert "230 V nominal" in _get(scene, "/boxes/1")[1].replace("\u202f", " ")
        assert "50 Hz nominal" in _get(scene, "/boxes/1")[1].replace("\u202f", " ")
        nominal = {
            item["box_id"]: (item["nominal_v"], item["nominal_hz"])
            for item in _json(scene, "/api/v1/boxes")["items"]
        }
        assert nominal == {"1": (230.0, 50.0), "4": (120.0, 60.0)}


def test_a_boxs_page_has_hour_and_incidents(full: demo.Scene) -> None:
    status, page, _ = _get(full, "/boxes/1")
    assert status == 200
    assert 5 <= page.count('<th scope="row">') <= 7  # minutes
    assert 'href="/incidents/1"' in page
    assert "/incidents/1" not in _get(full, "/boxes/2")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/incidents/99",
        "/incidents/0",
        "/incidents/-1",
        "/incidents/x",
        "/incidents/" + "9" * 30,
        "/boxes/77",
        "/boxes/%2e%2e",
        "/boxes/" + "a" * 40,
        "/incidents?class=nonsense",
        "/incidents?box=%3Cb%3E",
        "/incidents?region=nowhere",
    ],
)
def test_what_is_not_there_is_a_readable_404(full: demo.Scene, path: str) -> None:
    status, page, headers = _get(full, path)
    assert status == 404
    assert "Nothing is here" in page
    assert 'lang="en"' in page
    assert headers["content-type"].startswith("text/html")


def test_an_unusable_value_is_a_readable_400(full: demo.Scene) -> None:
    for path in ("/incidents?before=x", "/incidents?before=0", "/incidents?before=99999999999999999999"):
        status, page, _ = _get(full, path)
        assert status == 400 and "cannot be used" in page


def test_our_fault_is_a_500_without_traceback(full: demo.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is a readable 500 without a traceback."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("opq_cloud.view.pages.incidents.incident_page.page", broken)
    log.configure("view")  # structlog's default draws a traceback with all its values: seconds
    status, page, headers = _get(full, "/incidents/1")
    assert status == 500
    assert "This page failed" in page
    assert "secret detail" not in page and "Traceback" not in page
    assert "content-security-policy" in headers
    assert full.view.counters.total("requests_failed") == 1


def test_what_a_stranger_named_is_shown_as_text(scene: demo.Scene) -> None:
    nasty = '<img src=x onerror="alert(1)">'
    finding = Finding("sag", "1", 10**18, 10**18 + 10**8, 1000, residual_v=90.0, residual_percent=75.0)
    scene.store.put_box(demo.BoxRecord("1", nasty, location=nasty))
    stored = put_findings(scene.store, 1, [replace(finding, because=nasty, ieee1159=nasty, kind="sag")])
    for path in ("/", "/boxes/1", "/incidents", f"/incidents/{stored[0].incident_id}"):
        status, page, _ = _get(scene, path)
        assert status == 200
        assert "<img" not in page
    assert "&lt;img" in _get(scene, f"/incidents/{stored[0].incident_id}")[1]


def test_a_boxs_name_is_beside_its_number(scene: demo.Scene) -> None:
    finding = Finding("sag", "1", 10**18, 10**18 + 10**8, 1000, residual_v=90.0, residual_percent=75.0)
    (stored,) = put_findings(scene.store, 1, [finding])
    scene.store.put_box(demo.BoxRecord("1", "Cellar & roof"))
    for path in ("/", "/boxes/1", "/incidents", f"/incidents/{stored.incident_id}"):
        assert "Box 1 (Cellar &amp; roof)" in _get(scene, path)[1], path
    assert _json(scene, f"/api/v1/incidents/{stored.incident_id}")["summary"].endswith(
        "Box 1 (Cellar & roof)"
    )


def test_an_incident_whose_event_is_gone_says_so(scene: demo.Scene) -> None:
    finding = Finding("sag", "1", 10**18, 10**18 + 10**8, 1000, residual_v=90.0, residual_percent=75.0)
    stored = put_findings(scene.store, 99, [finding])
    status, page, _ = _get(scene, f"/incidents/{stored[0].incident_id}")
    assert status == 200
    assert "no longer in the store" in page


def test_incidents_are_paged_by_id_and_filtered(scene: demo.Scene) -> None:
    base = Finding("sag", "1", 0, 0, 1000, residual_v=90.0, residual_percent=75.0)
    for k in range(60):
        start_ns = (10**9 + 100 * k) * 10**9
        kind, box_id = ("swell", "4") if k % 10 == 0 else ("sag", "1")
        finding = replace(base, kind=kind, box_id=box_id, start_ns=start_ns, end_ns=start_ns + 10**8)
        put_findings(scene.store, k + 1, [finding])
    seen: list[int] = []
    path = "/api/v1/incidents?limit=25"
    while True:
        answer = _json(scene, path)
        seen += [item["id"] for item in answer["items"]]
        if answer["next"] is None:
            break
        path = f"/api/v1/incidents?limit=25&cursor={answer['next']}"
    assert seen == list(range(60, 0, -1))
    assert {item["class"] for item in _json(scene, "/api/v1/incidents?class=swell")["items"]} == {"swell"}
    assert len(_json(scene, "/api/v1/incidents?box=4")["items"]) == 6
    first = _get(scene, "/incidents")[1]
    older = re.search(r'href="(/incidents\?before=\d+~36)" rel="next"', first)
    assert older and 'href="/incidents/35"' in _get(scene, older[1])[1]
    assert "Nothing here fits" in _get(scene, "/incidents?class=flicker")[1]


# The JSON API


@pytest.mark.parametrize("path", ["boxes", "incidents/1", "events/1/waveform/1?points=500", "openapi.json"])
def test_an_address_without_a_version_names_the_api(full: demo.Scene, path: str) -> None:
    status, text, _ = _get(full, f"/api/{path}")
    assert status == 404
    assert json.loads(text) == {
        "error": "There is nothing at this address. The API is below /api/v1; /api/v1/docs explains it."
    }


def test_the_api_gives_the_contracts_keys(full: demo.Scene) -> None:
    incident = _json(full, "/api/v1/incidents/1")
    assert incident["class"] == "sag"
    assert incident["box_ids"] == ["1"]
    finding = _json(full, "/api/v1/incidents/1/findings")["items"][0]
    assert finding["class"] == "sag"
    assert finding["duration_cycles"] == pytest.approx(9, abs=0.5)
    boxes = {item["box_id"]: item for item in _json(full, "/api/v1/boxes")["items"]}
    assert boxes["1"]["measurement"]["rms_v"] == pytest.approx(122.2, abs=0.5)
    assert boxes["1"]["nominal_v"] == 120.0
    rows = _json(full, "/api/v1/boxes/1/minutes?minutes=10")["rows"]
    assert min(row["rms_v"][0] for row in rows) == pytest.approx(102.22)
    assert _json(full, "/api/v1/events/1")["received"] == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/incidents/99", 404),
        ("/api/v1/incidents/x", 400),
        ("/api/v1/incidents?class=foo", 400),
        ("/api/v1/events/1/waveforms/77", 404),
        ("/api/v1/events/99/waveforms/1", 404),
        ("/api/v1/events/1/waveforms/..", 404),
        ("/api/v1/incidents?limit=100000", 400),
        ("/api/v1/boxes/1/minutes?minutes=0", 400),
        ("/api/v1/boxes/1/history?rows=0", 400),
        ("/api/v1/nothing", 404),
    ],
)
def test_what_the_api_cannot_answer_is_json_too(full: demo.Scene, path: str, status: int) -> None:
    code, body, headers = _get(full, path)
    assert code == status
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["detail"]


def test_an_answers_body_follows_its_head_immediately() -> None:
    """The body of an answer does not wait for the acknowledgement of its head."""

    async def delayed() -> bool:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            made = writer.get_extra_info("socket")
            found.set_result(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accepted, sock=web_server._bind("127.0.0.1", 0)) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            no_delay = await asyncio.wait_for(found, 60)
            writer.close()
        return not no_delay

    assert not asyncio.run(delayed())


def test_health_and_metrics(full: demo.Scene) -> None:
    health = _json(full, "/health")
    assert (health["name"], health["ok"]) == ("view", True)
    assert abs(health["timestamp"] - time.time()) < 60
    status, text, headers = _get(full, "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    assert "opq_view_measurements_total" in text and "opq_view_clients_now" in text


# The guard


def test_every_answer_has_a_strict_policy(full: demo.Scene) -> None:
    """It allows no inline code and no other host."""
    for path in ("/", "/incidents/1", "/nope", "/api/v1/boxes", "/static/view.css", "/health"):
        headers = _get(full, path)[2]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"  # a link that carries a secret goes nowhere
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost:x", "a b"])
def test_a_strange_host_name_gets_nothing(full: demo.Scene, host: str) -> None:
    for path in ("/", "/live", "/api/v1/boxes", "/static/view.css", "/health"):
        status, body, _ = _get(full, path, Host=host)
        assert status == 400
        assert "rms" not in body


@pytest.mark.parametrize("host", ["127.0.0.1:8888", "localhost", "LOCALHOST:1", "[::1]:8888"])
def test_the_names_of_loopback_are_answered(full: demo.Scene, host: str) -> None:
    assert _get(full, "/health", Host=host)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/", "/incidents", "/incidents/1", "/events/1", "/boxes/1", "/boxes/99", "/map", "/past", "/wall",
        "/report", "/sign-in", "/search", "/nope", "/api/v1/boxes", "/api/v1/openapi.json", "/api/v1/nothing",
        "/static/view.css", "/health", "/metrics", "/robots.txt", "/feeds/incidents.atom", "/live",
    ],
)  # fmt: skip
def test_head_answers_as_get_without_body(full: demo.Scene, path: str) -> None:
    """Monitors, link checkers and load balancers send HEAD; a feed's ends with its head."""
    status, body, headers = _get(full, path, "HEAD")
    assert body == "" and status in (200, 303, 307, 404)
    if path != "/live":
        asked, _, known = _get(full, path)
        varying = ("date", "content-length", "etag", "set-cookie")
        assert status == asked
        assert {k: v for k, v in headers.items() if k not in varying} == {
            k: v for k, v in known.items() if k not in varying
        }


def test_names_of_an_address_are_composed() -> None:
    """ü as u and two points, as macOS types it, is ü as one letter; other escaped bytes stay."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["query_string"]))

    scope = {
        "type": "http",
        "method": "GET",
        "headers": [(b"host", b"localhost")],
        "path": "/sites/Mu\u0308ller",
        "query_string": b"site=Mu%CC%88ller&a=%26%FF&b=M%C3%BCller",
    }
    asyncio.run(ViewGuard(app, ["localhost"])(scope, None, None))  # type: ignore[arg-type]
    assert seen == [("/sites/M\u00fcller", b"site=M%C3%BCller&a=%26%FF&b=M%C3%BCller")]


def test_only_short_reading_requests_are_allowed(full: demo.Scene) -> None:
    """Other methods and long addresses are refused."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert _get(full, "/api/v1/incidents", method)[0] == 405
    assert _get(full, "/incidents?box=" + "x" * 3000)[0] == 414


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/vendor",
    ],
)
def test_nothing_outside_of_the_static_folder_is_served(full: demo.Scene, path: str) -> None:
    status, body, _ = _get(full, path)
    assert status == 404
    assert "import" not in body and "root:" not in body


def test_a_page_has_scope_severity_and_order(tmp_path: Path) -> None:
    """It also names what the incident follows."""
    with demo.Scene(tmp_path) as scene:
        for box_id in ("1", "2"):
            scene.store.put_box(BoxRecord(box_id, f"Box {box_id}", feeder="north", location=f"place{box_id}"))
        at_ns = time.time_ns() - 100 * 10**9
        dip = Finding("sag", "1", at_ns, at_ns + 10**8, 1000, residual_percent=70.0, itic="no_damage")
        late = replace(dip, box_id="2", start_ns=at_ns + 2_500_000, uncertainty_ns=40_000_000)
        again = replace(dip, start_ns=at_ns + 5 * 10**9, end_ns=at_ns + 6 * 10**9)
        put_findings(scene.store, 1, [dip, late, again])
        told = _json(scene, "/api/v1/incidents/1")
        assert (told["scope"], told["follows"], told["classes"]) == ("feeder", None, {"1": "sag", "2": "sag"})
        assert told["cause"]["name"] == "fault" and 4 <= told["severity"] <= 8
        assert [(each["box_id"], each["after_ms"], each["disciplined"]) for each in told["arrivals"]] == [
            ("1", 0.0, True),
            ("2", 2.5, False),
        ]
        text = _get(scene, "/incidents/1")[1]
        assert 'id="why"' in text and "Perhaps a short circuit" in text
        assert "several places of one feeder" in text and f"2.5{THIN}ms later" in text
        assert "its clock is too poor to say who was first" in text
        put_findings(scene.store, 1, [replace(late, box_id=box_id) for box_id in ("4", "10", "3")])
        text = _get(scene, "/incidents/1")[1]
        assert f"Boxes 2, 3, 4 and 10: 2.5{THIN}ms later" in text and "their clocks are too poor" in text
        text = _get(scene, "/incidents/2")[1]
        assert 'It follows <a href="/incidents/1">incident #1</a>' in text


def test_a_following_box_names_what_came_before(tmp_path: Path) -> None:
    """The Box does not lead its incident."""
    with demo.Scene(tmp_path) as scene:
        at_ns = time.time_ns() - 100 * 10**9
        dip = Finding("sag", "1", at_ns, at_ns + 10**8, 1000, residual_percent=70.0)
        before = replace(dip, box_id="2", start_ns=at_ns - 20 * 10**9, end_ns=at_ns - 19 * 10**9)
        steady = replace(before, kind="harmonics", box_id="4")
        late = [replace(dip, box_id=box_id, start_ns=at_ns + 2_500_000) for box_id in ("2", "4")]
        put_findings(scene.store, 1, [before])
        put_findings(scene.store, 2, [steady])
        put_findings(scene.store, 3, [dip, *late])
        facts = scene.store.incident(3)
        assert facts is not None and facts.follows is None and facts.box_ids == ("1", "2", "4")
        text = _get(scene, "/incidents/3")[1]
        said = re.findall(r"At (Box[^,]*), <a href=\"/incidents/(\d+)\">", text)
        assert said == [("Box 2", "1")]
        assert re.findall(r"came shortly before", _get(scene, "/incidents/1")[1]) == []
