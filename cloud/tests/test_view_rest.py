"""`/api/v1` as a program meets it: lists, cursors, ETags, problems, limits, scopes, exports."""

import asyncio
import csv
import io
import json
import math
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

import demo
import httpx
import numpy as np
import pytest
from fastapi import Request

from opq_cloud.core.service import ServiceCounters
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.api.answers import RequestLimits, cursor_place, cursor_text, json_answer
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.shares import share_key
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.messages import Disturbance, Interval, Measurement

V1 = "/api/v1"
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """An open View with three events."""
    running = demo.Scene(tmp_path_factory.mktemp("rest"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    for number in range(2):
        dipping = replace(demo.OUTLETS[number], dip_v=demo.DIP_BOX_1)
        start_ns = time.time_ns() - (3600 + 600 * number) * 10**9
        demo.put_event(running.store, [demo.waveform_of(dipping, start_ns)], f"alone-{number}")
    with running:
        yield running


@pytest.fixture
def client(scene: demo.Scene) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=scene.url + V1, timeout=240, verify=False) as made:
        yield made


def items(client: httpx.Client, path: str, **values: object) -> list[dict[str, object]]:
    """All pages of a list."""
    found: list[dict[str, object]] = []
    while True:
        answer = client.get(path, params=values)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if answer.json()["next"] is None:
            return found
        values["cursor"] = answer.json()["next"]


def test_boxes_measurements_and_trends(client: httpx.Client) -> None:
    assert [box["box_id"] for box in items(client, "/boxes")] == ["1", "2", "4"]
    assert client.get("/boxes/2").json()["name"] == "Box 2, workshop"
    whole = items(client, "/boxes/1/measurements", limit=1000)
    assert len(whole) == 60 and items(client, "/boxes/1/measurements", limit=7) == whole
    trend = client.get("/boxes/1/trend", params={"from": "now-7d", "level": "1h"}).json()
    assert trend["step_ms"] == 3_600_000 and "rows" in trend


def test_intervals_and_disturbances_page_by_page(scene: demo.Scene, client: httpx.Client) -> None:
    ten_ns = 600 * 10**9
    first_ns = time.time_ns() // ten_ns * ten_ns - 10 * ten_ns
    rows = [
        Measurement(
            "1",
            1,
            {},
            first_ns + at * ten_ns,
            first_ns + (at + 1) * ten_ns,
            5,
            sequence=10**6 + at,
            interval=Interval(600_000, at == 2, 1.0, {"rms_v": 120.0 + at, "harmonics_v": (120.0, 0.5)}),
        )
        for at in range(7)
    ]
    dips = [Disturbance("1", "dip", first_ns + at, first_ns + at + 10**8, 5, 80.0) for at in range(3)]
    rows += [
        Measurement("1", 1, {}, each.start_ns, each.end_ns, 5, sequence=2 * 10**6 + at, disturbance=each)
        for at, each in enumerate(dips)
    ]
    scene.store.intervals.append(rows)
    whole = items(client, "/boxes/1/intervals")
    assert [row["rms_v"] for row in whole] == [120.0 + at for at in range(7)]
    assert [row["flagged"] for row in whole].index(True) == 2 and whole[0]["h2_v"] == 0.5
    assert items(client, "/boxes/1/intervals", limit=3) == whole
    assert items(client, "/boxes/1/intervals", length="2h") == items(client, "/boxes/2/intervals") == []
    found = items(client, "/boxes/1/disturbances")
    assert [row["start_ns"] for row in found] == [each.start_ns for each in dips]
    assert items(client, "/boxes/1/disturbances", limit=1) == found and found[0]["class"] == "dip"
    assert client.get("/boxes/1/intervals?length=1h").status_code == 400


def test_new_incidents_do_not_shift_pages(scene: demo.Scene, client: httpx.Client) -> None:
    """A page stays where it is."""
    first = client.get("/incidents", params={"limit": 1}).json()
    wave = demo.waveform_of(demo.OUTLETS[0], time.time_ns() - 10**10)
    made = demo.put_event(scene.store, [wave], "while-reading")
    assert made is not None and made.incident_id > first["items"][0]["id"]
    rest = items(client, "/incidents", limit=1, cursor=first["next"])
    every = items(client, "/incidents")
    assert [each["id"] for each in every] == [
        made.incident_id,
        first["items"][0]["id"],
        *(r["id"] for r in rest),
    ]
    starts = [float(str(each["start_ms"])) for each in every]
    assert starts == sorted(starts, reverse=True), "numbers 2 and 3 began before number 1"
    numbers = [str(each["id"]) for each in every]
    feed = httpx.get(f"{scene.url}/feeds/incidents.atom", timeout=240).text
    assert re.findall(r"incidents/(\d+)</id>", feed) == numbers
    front = httpx.get(scene.url, timeout=240).text
    assert re.findall(r'href="/incidents/(\d+)"', front) == numbers
    table = httpx.get(f"{scene.url}{V1}/exports/incidents?format=json", timeout=240).json()["incidents"]
    assert [str(each["id"]) for each in table] == numbers[::-1], "an export begins with the oldest"
    events = items(client, "/events", limit=1)
    assert (
        [each["id"] for each in events]
        == [made.event_ids[0], 1, 2, 3]
        == [e["id"] for e in items(client, "/events")]
    )
    assert client.get("/events", params={"cursor": cursor_text("events", 999)}).json()["items"] == []


def test_incidents_and_findings(client: httpx.Client) -> None:
    assert {each["class"] for each in items(client, "/incidents", box="1")} == {"sag"}
    assert items(client, "/incidents", **{"class": "swell"}) == []
    findings = client.get("/incidents/1/findings").json()["items"]
    assert findings[0]["incident_id"] == 1 and findings[0]["because"]
    assert findings[0] in items(client, "/findings", box="1")
    one = client.get("/incidents/1").json()
    assert one["summary"].startswith("Sag") and one["worst_event_id"] in one["event_ids"]
    worst = next(each for each in findings if each["residual_percent"] == one["residual_percent"])
    assert one["worst_box_id"] == worst["box_id"]


def test_a_waveform_is_what_was_stored(scene: demo.Scene, client: httpx.Client) -> None:
    found = client.get("/events/1/waveforms/4").json()
    event = scene.store.event(1)
    assert event is not None
    wave = next(each for each in event.waveforms if each.box_id == "4")
    assert np.array_equal(found["counts"], wave.counts)
    assert (found["volts_per_lsb"], found["start_ns"]) == (wave.v_per_lsb, wave.start_ns)


def test_an_etag_saves_the_answer(client: httpx.Client) -> None:
    for path in ("/incidents/1", "/events/1", "/events/1/export?format=cff&box=1", "/events/1/waveforms/1"):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
        other = client.get(path, headers={"If-None-Match": '"other"'})
        assert other.status_code == 200 and other.content == first.content
    plain, wav = (client.get(f"/events/1/export?format={form}").headers["etag"] for form in ("cff", "wav"))
    assert plain != wav


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/incidents?limit=0", 400, "query.limit"),
        ("/incidents?class=foo", 400, "no class 'foo'; there are sag, swell, "),
        ("/findings?class=foo&box=1", 400, "no class 'foo'; there are sag, swell, "),
        ("/incidents?bx=1", 400, "no value 'bx' here; did you mean box?"),
        ("/events?box=1", 400, "no value 'box' here; it takes limit, cursor."),
        ("/live?boxes=1", 400, "did you mean box?"),
        ("/incidents?cursor=x", 400, "cursor is of another list"),
        ("/boxes/a%20b", 400, "path.box_id"),
        ("/boxes/1/measurements?from=yesterday", 400, "want now, now-24h"),
        ("/boxes/1/trend?from=now-1y&level=1m", 400, "allowed: 1d"),
        ("/boxes/77", 404, "no Box 77"),
        ("/boxes/77/measurements", 404, "no Box 77"),
        ("/boxes/77/trend", 404, "no Box 77"),
        ("/boxes/77/intervals", 404, "no Box 77"),
        ("/boxes/77/disturbances", 404, "no Box 77"),
        ("/boxes/77/minutes", 404, "no Box 77"),
        ("/boxes/77/history", 404, "no Box 77"),
        ("/incidents?box=77", 404, "no Box 77"),
        ("/findings?box=77", 404, "no Box 77"),
        ("/phenomena?box=77", 404, "no Box 77"),
        ("/exports/measurements?box=77", 404, "no Box 77"),
        ("/exports/changes?box=77&box=78", 404, "no Box 77 or 78"),
        ("/exports/incidents?box=77,78", 404, "no Box 77 or 78"),
        ("/exports/findings?box=77&class=sag", 404, "no Box 77"),
        ("/incidents/99999", 404, "no incident 99999"),
        ("/events/1/waveforms/77", 404, "it has 1, 2, 4"),
        ("/events/1/export?format=pdf", 400, "comtrade"),
        ("/exports/measurements", 400, "query.box"),
        ("/exports/measurements?box==1", 400, "not an id of a Box"),
        ("/live?rate=1000", 400, "query.rate"),
        ("/nothing", 404, "nothing at this address"),
    ],
)
def test_a_problem_says_what_is_allowed(client: httpx.Client, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status and answer.headers["content-type"] == PROBLEM, answer.text
    found = answer.json()
    assert words in json.dumps(found) and found["status"] == status
    assert found["instance"] == V1 + path.partition("?")[0].replace("%20", " ")


def test_other_methods_than_get_are_problems(client: httpx.Client) -> None:
    """They get a problem document."""
    answer = client.delete("/incidents/1")
    assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)
    assert answer.headers["allow"] == "GET, HEAD"


def test_exports_are_the_files_of_the_command(client: httpx.Client) -> None:
    answer = client.get("/incidents/1/export", params={"format": "comtrade", "data": "ascii"})
    assert answer.headers["content-disposition"] == 'attachment; filename="incident-1-comtrade.zip"'
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert "event-1-box-4.cfg" in names and len(names) == 12
    rows = client.get("/exports/measurements", params={"box": ["1", "4"], "from": "now-1h"}).text
    found = list(csv.DictReader(rows.splitlines()))
    assert len(found) == 120
    assert client.get("/exports/incidents?format=json").json()["incidents"]
    assert client.get("/incidents/1/findings/export").text.count("sag") >= 1
    assert client.get("/exports/findings?format=parquet").content[:4] == b"PAR1"


def test_the_document_and_its_page(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["servers"] == [{"url": V1}]
    assert "422" not in document["paths"]["/incidents"]["get"]["responses"]
    assert "example" in document["components"]["schemas"]["IncidentShape"]
    page = client.get("/docs")
    assert page.status_code == 200 and "<code>GET /api/v1/incidents</code>" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_the_page_of_an_incident_offers_its_files(scene: demo.Scene) -> None:
    page = httpx.get(f"{scene.url}/incidents/1", timeout=240).text
    assert 'href="/api/v1/incidents/1/export?format=cff"' in page


def test_the_feed_of_one_box_holds_no_other(client: httpx.Client) -> None:
    with client.stream("GET", "/live", params={"box": "2", "rate": 1}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        data = next(line for line in answer.iter_lines() if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: "))["box_id"] == "2"


def test_a_cursor_of_another_list_is_none() -> None:
    assert cursor_place("incidents", cursor_text("incidents", -5, 17)) == (-5, 17)
    other = cursor_text("events", 17), cursor_text("incidents", 17), cursor_text("incidents", 1, 2**64)
    for text in (*other, "", "é", "====", "MTc", cursor_text("incidents", 1, 2, 3)):
        with pytest.raises(RestProblemError):
            cursor_place("incidents", text)


async def refused(limits: RequestLimits, visitor: Visitor) -> RestProblemError | None:
    token = VISITOR.set(visitor)
    try:
        await limits.request()
    except RestProblemError as error:
        return error
    finally:
        VISITOR.reset(token)
    return None


def test_too_many_requests_are_refused_and_counted() -> None:

    now_s = 0.0
    counters = ServiceCounters()
    limits = RequestLimits(counters, TokenBuckets(2, 0.5, monotonic_s=lambda: now_s))
    one, other = Visitor(address="192.0.2.1"), Visitor(address="192.0.2.2")
    assert [asyncio.run(refused(limits, one)) for _ in range(2)] == [None, None]
    error = asyncio.run(refused(limits, one))
    assert error is not None and error.status == 429 and int((error.headers or {})["Retry-After"]) >= 1
    assert asyncio.run(refused(limits, other)) is None
    assert counters.snapshot()["requests_limited"] == {"request": 1}
    now_s = 2.0
    assert asyncio.run(refused(limits, one)) is None


def test_addresses_of_one_ipv6_network_are_one() -> None:
    assert share_key(Visitor(address="2001:db8::1")) == share_key(Visitor(address="2001:db8::ffff:2"))
    assert share_key(Visitor(address="192.0.2.1")) != share_key(Visitor(address="192.0.2.2"))
    assert share_key(Visitor(address="::ffff:192.0.2.1")) == share_key(Visitor(address="192.0.2.1"))


def test_reading_samples_needs_its_scope(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = demo.Scene(tmp_path_factory.mktemp("scopes"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    people = running.store.people
    ada = people.add_account("ada@example.org", "Ada", "admin", "no-hash")
    assert ada is not None
    people.change_access("4", lambda _: BoxAccess("4", ada.account_id, (), "all"))
    tokens = {
        name: make_ticket(people, "token", 3600, account_id=ada.account_id, label=name, scopes=scopes)
        for name, scopes in {"old": (), "read": ("read",), "both": ("read", "waveforms")}.items()
    }
    gone = make_ticket(people, "token", -1, account_id=ada.account_id, label="gone")
    raw = ("/events/1/export?format=json", "/events/1/waveforms/1", "/incidents/1/export?format=csv")
    with running:
        for name, token in tokens.items():
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(
                base_url=running.url + V1, headers=headers, timeout=240, verify=False
            ) as client:
                assert len(client.get("/boxes").json()["items"]) == 3, name
                wanted = 404 if name == "read" else 200
                assert [client.get(path).status_code for path in raw] == [wanted] * 3, name
                assert ("reads no raw waveforms" in client.get(raw[1]).text) == (name == "read")
                assert client.get("/incidents/1").status_code == 200
        with httpx.Client(base_url=running.url + V1, timeout=240, verify=False) as nobody:
            assert [box["box_id"] for box in nobody.get("/boxes").json()["items"]] == ["4"]
            assert [nobody.get(path).status_code for path in raw] == [404] * 3
            assert nobody.get("/events/1/waveforms/4").status_code == 404, "shown, but not its samples"
            expired = nobody.get("/boxes", headers={"Authorization": f"Bearer {gone}"})
            assert expired.status_code == 401, "not taken for the public, which sees Box 4"
        people.change_access("4", lambda was: replace(was, privacy="nothing"))
        deadline = time.monotonic() + 240
        while (answer := httpx.get(f"{running.url}{V1}/boxes", timeout=240, verify=False)).status_code != 401:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)
        assert answer.headers["content-type"] == PROBLEM and answer.headers["www-authenticate"] == "Bearer"


def test_answers_write_numbers_of_any_kind() -> None:
    """A figure that is not known may be NaN, and figures come as NumPy's and as views of dicts too."""
    facts = {
        "nan": math.nan,
        "inf": -math.inf,
        "numpy": np.float64(1.5),
        "view": MappingProxyType({"a": (1,)}),
    }
    answer = json_answer(Request({"type": "http", "headers": []}), facts)
    assert json.loads(answer.body) == {"nan": None, "inf": None, "numpy": 1.5, "view": {"a": [1]}}
    assert json_answer(Request({"type": "http", "headers": []}), {"ü": 1}).body == '{"ü":1}'.encode()
