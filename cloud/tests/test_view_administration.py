"""Pages of administration over HTTP: who may, what they change, what the log says, what forgers get."""

import csv
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people
from fastapi import HTTPException, Request
from waiting import wait_for

from opq_cloud.operations.health_client import ServicesFound, ServiceState, read_services
from opq_cloud.operations.service_addresses import ServiceAddresses, health_url, reachable
from opq_cloud.store import BoxRecord, LocationRecord
from opq_cloud.store.box_place import box_place
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.view.pages.admin.box_facts import AdminBox
from opq_cloud.view.pages.admin.front_page import concerns
from opq_cloud.view.pages.admin.plugin_package import PackageFacts, read_package
from opq_cloud.view.web.forms import NOT_A_FORM, read_form
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import RequestFacts, Visitors
from opq_proto.errors import StoreError
from opq_proto.keys.key_files import KeyFolder, generate, key_text
from opq_proto.keys.register import KeyRegister

pytestmark = pytest.mark.usefixtures("cheap_argon2")
HEALTH = {
    "name": "opq",
    "ok": False,
    "timestamp": 0,
    "info": "not ok: mauka",
    "subcomponents": [
        {"name": "plugin threshold", "ok": True, "timestamp": 0, "info": "12 decided", "subcomponents": None},
        {"name": "plugin napali", "ok": True, "timestamp": 0, "info": "off", "subcomponents": None},
        {"name": "makai_config napali", "ok": False, "timestamp": 0, "info": "far <i>", "subcomponents": []},
        {"name": "view", "ok": True, "timestamp": 0, "info": None, "subcomponents": None},
        {
            "name": "mauka",
            "ok": False,
            "timestamp": 0,
            "info": None,
            "subcomponents": [
                {"name": "SagPlugin", "ok": False, "timestamp": 0, "info": "hangs <b>", "subcomponents": None}
            ],
        },
    ],
}
METRICS = (
    'opq_measurements_total{of="1",service="makai"} 12345.0\n'
    'opq_measurements_total{of="2",service="makai"} 7.0\nopq_late_total{of="1",service="makai"} 3.0\n'
    'opq_queue_waiting_now{of="",service="makai"} 4321.0\n'
)


class FakeHealth(BaseHTTPRequestHandler):
    """A service's health: what `opq-cloud all` answers."""

    health = HEALTH

    def do_GET(self) -> None:
        bodies = {"/": json.dumps(self.health), "/metrics": METRICS, "/connections": '{"1": 2}'}
        body = bodies.get(self.path, "").encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def health() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHealth)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, health: str) -> Iterator[demo.Scene]:
    folder = tmp_path_factory.mktemp("administration")
    keys = KeyFolder(folder / "curve")
    keys.create(True, ["1", "2", "4"])
    addresses = ServiceAddresses(health=(("opq", health),), folder=folder)
    running = demo.Scene(folder, poll_s=0.5, keys=keys, addresses=addresses)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


@pytest.fixture(scope="module")
def ids(scene: demo.Scene) -> dict[str, str]:
    opened = FormBrowser(scene.url)
    for path in (
        "/admin",
        "/admin/boxes",
        "/admin/boxes/1",
        "/admin/keys",
        "/admin/audit",
        "/admin/plugins",
        "/admin/system",
        "/admin/rules",
    ):
        assert opened.get(path) == 200, path  # no account yet: open to this machine, and to look alone
        assert '<form method="post"' not in opened.text and "first administrator" in opened.text
    assert opened.get("/admin/accounts") == 404
    assert opened.post("/admin/keys/1/revoke", form_token="x") == 401
    assert opened.get("/admin", X_Forwarded_For="192.0.2.1") in (303, 404)
    assert opened.get("/admin", Host="localhost.evil.example") == 400
    made = add_people(scene, ada="admin", rob="researcher")
    wait_for(lambda: opened.get("/admin") != 200)  # View looks once a second whether there is an account
    return made


@pytest.fixture
def ada(scene: demo.Scene, ids: dict[str, str]) -> FormBrowser:
    return _browser(scene, ids["ada"])


def _browser(scene: demo.Scene, account_id: str) -> FormBrowser:
    account = scene.store.people.account(account_id)
    assert account is not None
    secret = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "test")
    return FormBrowser(scene.url, {"opq_session": secret})


def _upload(
    browser: FormBrowser, path: str, page: str, file: bytes, name: str = "x.key", **fields: str
) -> int:
    """As a browser sends a form with a file."""
    browser.get(page)
    token = browser.text.partition('name="form_token" value="')[2].partition('"')[0]
    parts = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in {"form_token": token, **fields}.items()
    )
    head = f'--b\r\nContent-Disposition: form-data; name="key_file"; filename="{name}"\r\n\r\n'
    body = parts + head.encode() + file + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return browser.send("POST", path, body.decode("latin-1"), headers)


def _last(scene: demo.Scene) -> dict[str, object]:
    entry = scene.store.people.changes.entries(limit=1)[0]
    return {
        "what": entry.what,
        "subject": entry.subject,
        **{f"-{k}": v for k, v in entry.before.items()},
        **{f"+{k}": v for k, v in entry.after.items()},
    }


def test_the_log_has_a_boxs_changed_facts(scene: demo.Scene, ids: dict[str, str], ada: FormBrowser) -> None:
    box = "/admin/boxes/1"
    fields = {"name": "Cellar", "region": "oahu", "feeder": "f2", "nominal_v": "230", "privacy": "region"}
    assert ada.post(f"{box}/facts", box, **fields) == 303
    record = scene.store.box("1")
    assert record is not None and (record.name, record.region, record.nominal_v) == ("Cellar", "oahu", 230.0)
    entry = scene.store.people.changes.entries(limit=1)[0]
    scene.store.put_location(LocationRecord("house", 21.5, -158.0))
    scene.store.put_box(BoxRecord("1", "", location="house"))
    place = {"latitude": "21.5", "longitude": "-158.0"}
    assert ada.post(f"{box}/facts", box, **{**fields, **place}) == 303
    assert (stays := scene.store.box("1")) is not None and stays.location == "house"
    record = scene.store.box("1")
    assert dict(entry.before) == {"name": "Box 1", "privacy": "nothing"}
    assert dict(entry.after) == {
        "name": "Cellar",
        "region": "oahu",
        "feeder": "f2",
        "nominal_v": "230.0",
        "privacy": "region",
    }
    assert (entry.account_id, entry.address, entry.by) == (ids["ada"], "127.0.0.1", "page")
    for path in ("/admin", "/admin/audit", box):
        ada.get(path)
        assert "set facts of a Box" in ada.text and "Cellar" in ada.text and "Ada" in ada.text
    for wrong in (
        {"nominal_v": "nan"},
        {"nominal_hz": "1e9"},
        {"latitude": "91", "longitude": "0"},
        {"name": "workshop"},
        {"privacy": "all of it"},
    ):
        assert ada.post(f"{box}/facts", box, **{"name": "Cellar", "privacy": "nothing", **wrong}) == 400, (
            wrong
        )
    assert scene.store.box("1") == record
    assert ada.get("/admin/boxes/77") == 404 and ada.get("/admin/boxes/..%2f1") == 404


def test_a_move_leaves_the_former_place(scene: demo.Scene, ada: FormBrowser) -> None:
    """What was measured before a move on the page stays where it was; who removes the place removes all."""
    box, store, since = "/admin/boxes/4", scene.store, "2026-10-26T08:00"
    fields = {"name": "Garage", "privacy": "nothing"}

    def places() -> list[float | None]:
        record, known = store.box("4"), store.locations()
        assert record is not None
        return [box_place(span.box, known, {}).latitude for span in record.all_spans(("location",))]

    for latitude, longitude in (("23.5", "-158.0"), ("24.0", "-159.0"), ("23.5", "-158.0")):
        assert ada.post(f"{box}/facts", box, **fields, latitude=latitude, longitude=longitude) == 303
    assert places()[-3:] == [23.5, 24.0, 23.5]
    assert ada.post(f"{box}/facts", box, **fields, latitude="25", longitude="-159", since=since) == 303
    assert places()[-4:] == [23.5, 25.0, 24.0, 23.5], "a correction of the past"
    assert ada.post(f"{box}/facts", box, **fields) == 303
    assert {*places()} == {None} and not any(slug.startswith("box-4") for slug in store.locations())


def test_keys_change_as_by_the_command(scene: demo.Scene, ada: FormBrowser) -> None:
    """Keys are added, exchanged and revoked."""
    keys = scene.keys
    assert keys is not None
    register, pair = KeyRegister(keys), generate()
    private = key_text(pair, "8", secret=True)
    assert _upload(ada, "/admin/keys", "/admin/keys", private, box_id="8") == 400
    assert "private key file" in ada.text
    assert _upload(ada, "/admin/keys", "/admin/keys", b"nothing", box_id="8") == 400
    for box_id in ("../8", "08", "", "x"):
        assert ada.post("/admin/keys", "/admin/keys", box_id=box_id) == 400, box_id
    public = key_text(pair, "8")
    assert _upload(ada, "/admin/keys", "/admin/keys", public, "../../etc/opqbox9.key", box_id="8") == 303
    assert {each.box_id: each.state for each in register.entries()[0]}["8"] == "admitted"
    assert not (keys.public_keys / "opqbox9.key").exists()
    assert _last(scene)["+key"] == "admitted" and _last(scene)["-key"] == "none"
    assert ada.post("/admin/keys", "/admin/keys", box_id="9", public_key=pair.public.decode()) == 400
    assert "is that of Box 8" in ada.text  # a key is one Box's
    assert ada.post("/admin/keys/8/rotate", "/admin/keys", public_key=generate().public.decode()) == 303
    assert register.entries()[0][-1].state == "rotating" and "+next_fingerprint" in _last(scene)
    assert ada.post("/admin/keys/8/rotate", "/admin/keys") == 400  # an exchange waits
    asks = "The new key that its gateway may have been given is shut out"
    for page in ("/admin/keys", "/admin/boxes/8"):
        assert ada.get(page) == 200 and asks in ada.text
        assert ada.text.count('name="force" value="on"') == 1, "of this Box alone, and it asks first"
    assert ada.post("/admin/keys/8/rotate", "/admin/keys", force="on") == 200
    assert "private_keys" in ada.text
    assert ada.post("/admin/keys/8/revoke", "/admin/keys") == 303
    assert {
        "what": "revoked a key",
        "subject": "box 8",
        "-key": "rotating",
        "+key": "revoked",
    }.items() <= _last(scene).items()
    assert ada.post("/admin/keys/8/revoke", "/admin/keys") == 400
    assert "nothing to revoke" in ada.text


def test_a_retired_box_can_be_taken_back(scene: demo.Scene, ada: FormBrowser) -> None:
    box = "/admin/boxes/4"
    assert ada.post(f"{box}/retire", box, **{"retired-since": "tomorrow"}) == 400
    assert "Since is tomorrow" in ada.text
    assert ada.post(f"{box}/retire", box, **{"retired-since": "2025-01-02T03:04"}) == 303
    record = scene.store.box("4")
    assert record is not None and record.retired_ms == 1_735_787_040_000 and record.unplugged
    assert _last(scene)["+key"] == "revoked" and _last(scene)["+retired"] == "yes"
    ada.get("/admin/boxes")
    assert '/admin/boxes/4"' not in ada.text
    ada.get("/admin/boxes?show=retired")
    assert '/admin/boxes/4"' in ada.text
    assert ada.post(f"{box}/return", box) == 303
    assert (taken := scene.store.box("4")) is not None and not taken.retired_ms and not taken.unplugged


def _refused(box_id: str) -> None:
    raise StoreError("the disk is full")


def test_a_retired_box_is_deleted_after_its_number(
    scene: demo.Scene, ada: FormBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "/admin/boxes/4/delete"
    ada.get(page)
    assert "is in service; retire it first" in ada.text and "What stays, and for how long" in ada.text
    assert ada.post(page, "/admin/boxes/4", box_id="4") == 409
    ada.post("/admin/boxes/4/retire", "/admin/boxes/4")
    monkeypatch.setattr("opq_cloud.operations.box_service.QUIET_S", 0.0)
    assert ada.post(page, page, box_id="1") == 400 and scene.store.box("4") is not None
    with monkeypatch.context() as failing:
        failing.setattr(scene.store, "delete_box", _refused)
        assert ada.post(page, page, box_id="4") == 409 and "Not all of it is deleted" in ada.text
    assert _last(scene)["what"] == "began to delete a Box"
    assert ada.post(page, page, box_id="4") == 303
    assert scene.store.box("4") is None and not scene.store.latest_measurements().get("4")
    assert _last(scene)["what"] == "deleted a Box with its data and keys"
    assert ada.get("/admin/boxes/4") == 404 and ada.get("/boxes/4") == 404
    scene.store.delete_box("1")  # by a command, in another process
    assert ada.get("/boxes/1") == 404
    ada.get("/admin/boxes?show=retired")
    assert '/admin/boxes/4"' not in ada.text


def test_forms_of_strangers_change_nothing(scene: demo.Scene, ids: dict[str, str], ada: FormBrowser) -> None:
    before = len(scene.store.people.changes.entries(limit=1000))
    posts = ("/admin/boxes/1/facts", "/admin/boxes/1/retire", "/admin/keys", "/admin/keys/1/revoke")
    rob = _browser(scene, ids["rob"])
    for path in posts:
        assert ada.post(path, "/admin/keys", headers={"Origin": "https://evil.example"}) == 403, path
        assert ada.post(path, "/admin/keys", headers={"Sec-Fetch-Site": "cross-site"}) == 403, path
        assert ada.send("POST", path, "form_token=made-up", {}) == 403, path
        assert rob.post(path, "/account", box_id="77", privacy="nothing") == 404, path
    assert _upload(rob, "/admin/keys", "/account", key_text(generate()), box_id="77") == 404
    ada.get("/admin/keys")
    for kind in ("multipart/form-data", "multipart/form-data; boundary=" + "y" * 60):
        assert ada.send("POST", "/admin/keys", "--b", {"Content-Type": kind}) == 400
    assert ada.send("POST", "/admin/keys", "{}", {"Content-Type": "application/json"}) == 415
    assert len(scene.store.people.changes.entries(limit=1000)) == before
    assert scene.view.counters.total("requests_failed") == 0


def test_the_log_is_filtered_paged_and_exported_whole(
    scene: demo.Scene, ids: dict[str, str], ada: FormBrowser
) -> None:
    changes = scene.store.people.changes
    for number in range(60):
        changes.add(ids["rob"], "=cmd|' /C calc'!A0", "+wrote", f"incident {number}", {}, {"name": "=1+1"})
    ada.get(f"/admin/audit?who={ids['rob']}")
    assert ada.text.count("<tr><th") == 51 and "Older ones" in ada.text  # with the table's head
    older = ada.text.partition('href="/admin/audit?who')[2].partition('"')[0]
    ada.get(f"/admin/audit?who{older}")
    assert ada.text.count("<tr><th") == 11 and "Older ones" not in ada.text
    ada.get(f"/admin/audit.csv?who={ids['rob']}")
    rows = list(csv.DictReader(io.StringIO(ada.text)))
    assert len(rows) == 60 and rows[0]["who"] == "Rob" and rows[0]["subject"] == "incident 59"
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    ada.get("/admin/audit.json?subject=incident+7")
    (row,) = json.loads(ada.text)
    assert row["after"] == {"name": "=1+1"} and row["account_id"] == ids["rob"]
    changes.add(ids["rob"], "127.0.0.1", "retired a Box", "box 77")
    changes.add(ids["rob"], "127.0.0.1", "renamed a Box", "box 77")
    ada.get("/admin/audit.json?subject=77&words=retired+a+box")
    assert [each["what"] for each in json.loads(ada.text)] == ["retired a Box"]
    assert ada.get("/admin/audit?from=yesterday") == 400
    ada.get("/admin/audit?to=1999-01-01&by=page")
    assert "No change fits this filter" in ada.text


def test_what_services_say_stands_on_the_pages(scene: demo.Scene, ada: FormBrowser) -> None:
    ada.get("/admin")
    assert "SagPlugin" in ada.text and "hangs" in ada.text
    ada.get("/admin/boxes/1")
    assert "12,345" in ada.text and "connected" in ada.text and "measurements" in ada.text
    ada.get("/admin/keys")
    assert "not connected" in ada.text


def test_tokens_and_open_views_show_no_administration(
    scene: demo.Scene, ids: dict[str, str], ada: FormBrowser
) -> None:
    """A token of an admin, and a View without sign-in, show no administration."""
    assert (
        ada.post("/account/tokens", "/account", label="program", days="7", present_password=PASSWORD) == 200
    )
    secret = ada.text.partition('<code class="secret">')[2].partition("<")[0]
    program = FormBrowser(scene.url)
    assert program.get("/admin/audit.json", Authorization=f"Bearer {secret}") == 404
    asking = RequestFacts({"host": "127.0.0.1"}, "127.0.0.1")
    behind_a_proxy = Visitors(scene.store.people, replace(scene.config, sign_in="never")).of(asking)
    assert behind_a_proxy.everything and not behind_a_proxy.sees_administration


def test_services_without_an_answer_are_named(health: str) -> None:
    silent = "http://127.0.0.1:1"
    found = read_services(ServiceAddresses(health=(("mauka", health), ("gateway", silent))))
    assert [(each.name, each.answers) for each in found.states if each.depth == 0] == [
        ("opq", True),
        ("gateway", False),
    ]
    assert [each.name for each in found.troubles] == ["gateway", "makai_config napali", "SagPlugin"]
    assert found.urls == (health,)
    assert read_services(ServiceAddresses()).states == ()


def test_many_boxes_same_trouble_is_one_concern() -> None:
    free = AdminBox(BoxRecord("1", ""), True, "Live", None, "free-running", True, "", "none", None, None)
    boxes = [replace(free, record=BoxRecord(str(k), "")) for k in range(1, 13)]
    boxes[6] = replace(
        free, record=BoxRecord("7", "Cellar"), live=False, state="Silent for 5 min", age_ms=300_000
    )
    found = concerns(boxes, ServicesFound((), ()))
    assert [(each.what, each.why, each.link) for each in found] == [
        ("Box 7 (Cellar)", "Silent for 5 min", "/admin/boxes/7"),
        ("11 Boxes", "Clock: free-running", "/admin/boxes?show=attention"),
    ]
    boxes[2] = replace(free, record=BoxRecord("3", ""), live=False, state="Silent for 42 s", age_ms=42_000)
    boxes[4] = replace(free, record=BoxRecord("5", ""), live=False, state="Not heard yet")
    found = concerns(boxes, ServicesFound((), ()))
    assert [(each.what, each.why) for each in found] == [
        ("Box 5", "Not heard yet"),
        ("Boxes 3 and 7 (Cellar)", "Silent for 5 min at most"),
        ("9 Boxes", "Clock: free-running"),
    ], "silence of other lengths is one line"
    misfit = "It measures 230 V, 50.0 Hz where 120 V, 60 Hz are nominal"
    (one,) = concerns([replace(free, clock_doubtful=False, misfit=misfit)], ServicesFound((), ()))
    assert (one.what, one.why, one.link) == ("Box 1", misfit, "/admin/boxes/1")


def test_a_stopped_services_boxes_are_no_concern() -> None:
    """Silence of Boxes behind a stopped service is not a separate concern."""
    silent = AdminBox(
        BoxRecord("1", ""), False, "Silent for 5 min", 300_000, "GPS", False, "", "none", None, None
    )
    dead = ServiceState("gateway", False, "does not run", answers=False)
    found = concerns([silent], ServicesFound((dead,), ("http://x",), (dead,)))
    assert [each.what for each in found] == ["gateway"]
    other = ServiceState("notifications", False, "does not run", answers=False)
    found = concerns([silent], ServicesFound((other,), ("http://x",), (other,)))
    assert [each.what for each in found] == ["notifications", "Box 1"]


def test_bound_addresses_are_asked_locally() -> None:
    assert health_url("127.0.0.1:8911") == health_url("*:8911") == health_url("http://0.0.0.0:8911/")
    assert health_url("cloud.example:8911") == "http://cloud.example:8911"
    assert reachable("tcp://*:12000") == "tcp://127.0.0.1:12000"


def test_a_form_with_file_keeps_its_bytes() -> None:
    """A form with a file keeps its bytes and forgets its folders."""
    content = bytes(range(256)) * 3 + b"\r\n--not-it\r\n"
    body = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xc3\xa9\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="..\\..\\x/y.zip"\r\n'
        b"Content-Type: application/zip\r\n\r\n" + content + b"\r\n--b--\r\n"
    )
    found = anyio.run(read_form, _uploading(iter([body])), 50_000)
    file = found.file("f")
    assert file is not None and file.content == content and file.name == "y.zip"
    assert found.text("a") == "é" and found.file("a") is None


def test_a_box_with_only_a_key_is_listed(scene: demo.Scene, ada: FormBrowser) -> None:
    assert scene.keys is not None
    KeyRegister(scene.keys).add("12")
    assert ada.get("/admin/boxes/12") == 200 and "never" in ada.text
    assert "It has only a key so far" in ada.text and 'href="/boxes/12' not in ada.text, (
        "these pages are 404 yet"
    )
    scene.store.put_box(BoxRecord("12", '"><script>alert(1)</script>'))
    ada.get("/admin/boxes?words=12+script")
    assert "Box 12" in ada.text


def test_a_switched_off_trigger_is_logged(scene: demo.Scene, ada: FormBrowser) -> None:
    """The page shows how Makai takes it."""
    page, path = "/admin/plugins", "/admin/plugins/triggers"
    limits = TriggeringLimits(percent_v_low=7.0)
    scene.store.put_makai_config(MakaiConfig(limits, triggers={"threshold": {"swell_percent": 120}}))
    assert ada.get(page) == 200 and "Switch threshold off" in ada.text and "Switch napali on" in ada.text
    assert ada.post(f"{path}/threshold", page, do="off") == 303
    config = scene.store.makai_config()
    assert config is not None and config.limited and config.default == limits
    assert config.triggers == {"threshold": {"swell_percent": 120, "enabled": False}}
    assert _last(scene) == {
        "what": "switched a trigger off",
        "subject": "trigger threshold",
        "-enabled": "yes",
        "+enabled": "no",
    }
    assert ada.get(page) == 200  # this Makai does not follow
    assert "is being switched off" in ada.text and "Switch threshold on" in ada.text
    assert ada.post(f"{path}/napali", page, do="on") == 303
    assert ada.get(page) == 200 and "far <i>" in ada.text
    assert ada.post(f"{path}/unknown", page, do="on") == 404
    assert ada.post(f"{path}/threshold", page, do="away") == 400
    scene.store.put_makai_config(None)


def test_a_changed_retention_is_logged(scene: demo.Scene, ada: FormBrowser) -> None:
    """How long things are kept is changed and logged."""
    path, page = "/admin/system/retention", "/admin/system"
    wanted = {"measurements": "2", "trends": "", "events": "30", "incidents": "365"}
    assert ada.post(path, page, **wanted) == 303
    assert scene.store.ttls().measurements == 2 * 86_400 and scene.store.ttls().trends is None
    assert _last(scene) == {
        "what": "set how long things are kept",
        "subject": "retention",
        "-measurements_s": "86400",
        "+measurements_s": "172800",
    }
    for wrong in ({"events": "-1"}, {"incidents": "nan"}, {"measurements": ""}, {"trends": "1e9"}):
        assert ada.post(path, page, **{**wanted, **wrong}) == 400, wrong
    assert scene.store.ttls().events == 30 * 86_400


def test_the_system_page_shows_queues_and_losses(ada: FormBrowser) -> None:
    """And which service does not answer."""
    assert ada.get("/admin/system") == 200
    for text in ("SagPlugin", "hangs", "queue waiting", "4,321", "late", "GB of", "does not answer"):
        assert text in ada.text, text
    assert ada.get("/admin/system/mauka.svg") == 503
    assert ada.get("/admin/plugins") == 200
    assert "threshold" in ada.text and "This View knows no rule engine" in ada.text
    assert ada.post("/admin/plugins/mauka/x", "/admin/plugins", do="stop") == 409
    assert ada.post("/admin/plugins/mauka/x", "/admin/plugins", do="explode") == 400
    assert ada.post("/admin/plugins/none/x/rollback", "/admin/plugins") == 404


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "no plugin.json"),
        ({"plugin.json": "[]"}, "not a JSON object"),
        ({"plugin.json": "{"}, "not a JSON object"),
        ({"plugin.json": '{"name": "../x", "kind": "trigger"}'}, "wants a name"),
        ({"plugin.json": '{"name": "x", "kind": "kernel"}'}, "wants a name"),
        ({"plugin.json": "{}"}, "wants a name"),
        ({"plugin.json": " " * 70_000}, "more than 65536 bytes"),
        ({"x/plugin.json": "{}"}, "no plugin.json"),
    ],
)
def test_an_invalid_package_is_refused_early(files: dict[str, str], why: str) -> None:
    """A file that is not a package is refused before an engine gets it."""
    with pytest.raises(ValueError, match=why):
        read_package(_zip(files))


def test_a_package_says_what_it_is() -> None:
    own = _zip({"plugin.json": '{"name": "loud", "kind": "trigger", "version": "1.0.0"}', "../../x": "evil"})
    assert read_package(own) == PackageFacts("loud", "trigger", "1.0.0")
    both = _zip(
        {"plugin.json": '{"name": "both", "version": "1.0.0", "symbols": {"sinks": [], "sources": []}}'}
    )
    assert read_package(both).kind == "package"
    for content in (b"", b"PK", _zip({"plugin.json": "{}"})[:-10]):
        with pytest.raises(ValueError, match="not a zip file"):
            read_package(content)


def _zip(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in files.items():
            made.writestr(name, text)
    return packed.getvalue()


def _uploading(pieces: Iterator[bytes]) -> Request:
    """A request that sends these pieces of a multipart body."""

    async def receive() -> dict[str, object]:
        piece = next(pieces, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def test_an_upload_without_end_is_left_unread() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while True:
            piece = b"x" * 1000 if sent else head
            sent += len(piece)
            yield piece

    with pytest.raises(HTTPException) as refused:
        anyio.run(read_form, _uploading(pieces()), 50_000)
    assert refused.value.status_code == 413 and sent < 70_000


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b"".join(b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\nx\r\n' % n for n in range(65))
        + b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 17_000 + b"\r\n--b--\r\n",
    ],
    ids=["a part without a name", "too many fields", "a field that is too long"],
)
def test_a_malformed_body_is_refused_with_reason(body: bytes) -> None:
    """No browser sends such a body."""
    with pytest.raises(HTTPException) as refused:
        anyio.run(read_form, _uploading(iter([body])), 50_000)
    assert (refused.value.status_code, refused.value.detail) == (400, NOT_A_FORM)


def test_a_form_says_from_when(scene: demo.Scene, ids: dict[str, str], ada: FormBrowser) -> None:
    """What is changed holds since then, the rest since when it did; the log says that it is for the past."""
    box, fields = "/admin/boxes/2", {"name": "Loft", "privacy": "region", "site": "mill", "feeder": "f1"}
    assert ada.post(f"{box}/facts", box, **fields) == 303
    moved = {**fields, "site": "yard", "since": "2026-10-26"}
    assert ada.post(f"{box}/facts", box, **{**moved, "since": "2126-10-26"}) == 400
    assert ada.post(f"{box}/facts", box, **moved) == 303
    record, since_ns = scene.store.box("2"), 1_792_972_800 * 10**9
    assert record is not None
    assert [record.at(each).site for each in (since_ns - 1, since_ns)] == ["mill", "yard"]
    assert [record.at(each).feeder for each in (0, since_ns)] == ["f1", "f1"]
    assert _last(scene)["what"] == "set facts of a Box for the past, since 2026-10-26T00:00:00 UTC"
