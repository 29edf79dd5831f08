"""View below a path of another site: links, scripts, redirects and cookies stay below it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import demo
import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter, ValidationError

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.store import open_store
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.server import guarded
from opq_cloud.view.web.visitors import Visitors

ROOT = re.compile(r"""(?:href|src|action|formaction|content)=["'](/[^"']*)["']""")
SCRIPT_PATH = re.compile(r"""["'`](/(?:api|live|incidents|past|report|map|search|sign-in|static)\b[^"'`]*)""")


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = open_store(None, tmp_path_factory.mktemp("view"))
    demo.fill(store, time.time_ns(), minutes=5)
    config = ViewSection(sign_in="never", public_url="https://example.org/opq/")
    counters = ServiceCounters()
    services = ViewServices(
        store, LiveHub(counters), counters, Visitors(store.people, config), Mailer(MailSection(), counters)
    )
    with TestClient(
        guarded(create_app(services), config, counters),
        base_url="https://example.org",
        follow_redirects=False,
    ) as client:
        yield client
    store.close()


@pytest.mark.parametrize("front", ["/opq", ""])
def test_every_link_stays_below_the_path(below: TestClient, front: str) -> None:
    """Whether the proxy passes the path on or not; each link of the first page leads on."""
    seen = set()
    for path in (
        "/",
        "/incidents",
        "/incidents/1",
        "/boxes/1",
        "/map",
        "/past",
        "/report",
        "/search",
        "/nope",
    ):
        answer = below.get(front + path)
        links = ROOT.findall(answer.text)
        assert links and answer.status_code in (200, 404), path
        assert [each for each in links if not re.match(r"/opq(/|\?|#|$)", each)] == [], path
        assert "/opq/opq" not in answer.text
        seen |= set(links) if path == "/" else set()
    for link in sorted(seen):
        answer = below.get(link.replace("&amp;", "&").partition("#")[0])
        assert answer.status_code < 400, link
        assert answer.status_code < 300 or answer.headers["location"].startswith("/opq/"), link


@pytest.mark.parametrize(
    "name", ["live", "feed", "feed_worker", "keys", "palette", "availability", "examine", "seen"]
)
def test_scripts_name_paths_below_it(below: TestClient, name: str) -> None:
    source = Path(demo.__file__).parents[1] / "opq_cloud/view/static" / f"{name}.js"
    answer = below.get(f"/opq/static/{name}.js")
    assert answer.status_code == 200 and "etag" not in answer.headers
    named = SCRIPT_PATH.findall(source.read_text())
    assert len(re.findall(r"""["'`]/opq[/"'`]""", answer.text)) >= len(named)
    assert SCRIPT_PATH.findall(answer.text) == []


def test_redirects_cookies_and_found_paths(below: TestClient) -> None:
    led = below.get("/opq/sign-out")
    assert led.status_code == 303 and led.headers["location"] == "/opq/"
    assert "path=/opq" in below.get("/opq/sign-in").headers["set-cookie"].lower()
    found = below.get("/opq/search/found?q=box")
    assert '"/opq/' in found.text and not re.search(r':\s*"/(?!opq/)', found.text)


@pytest.mark.parametrize("front", ["/opq", ""])
@pytest.mark.parametrize("path", ["/incidents/1/", "/api/v1/boxes/"])
def test_a_slash_too_many_stays_below_it(below: TestClient, front: str, path: str) -> None:
    """The proxy asks by http what a browser asked by https: no scheme and host in the answer."""
    answer = below.get(front + path)
    assert answer.status_code == 307
    assert answer.headers["location"] == f"/opq{path[:-1]}"


def test_api_and_health_are_unchanged(below: TestClient) -> None:
    assert below.get("/opq/api/v1/openapi.json").json()["servers"] == [{"url": "/opq/api/v1"}]
    for path in ("/api/v1/incidents", "/health"):  # a Box has its availability until this minute
        assert below.get(f"/opq{path}").json() == below.get(path).json()
    assert below.get("/opqx").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/", "GET, HEAD"),
        ("POST", "/incidents", "GET, HEAD"),
        ("DELETE", "/sign-in", "GET, HEAD, POST"),
        ("TRACE", "/api/v1/boxes", "GET, HEAD"),
        ("DELETE", "/sign-out", "POST"),
        ("PUT", "/account/data.json", "GET, HEAD"),
        ("PUT", "/incidents/1/note", "POST"),
        ("PUT", "/api/v1/incidents/1/work", "POST"),
        ("PUT", "/no-page", "GET, HEAD"),
    ],
)
def test_a_refused_method_names_those_allowed(
    below: TestClient, method: str, path: str, allowed: str
) -> None:
    """RFC 9110, 15.5.6."""
    answer = below.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert f"only answers {allowed}." in answer.text


@pytest.mark.parametrize(
    "url",
    ["http://host:99999", "http://host:", "http://:8888", "https://a@host", "host:8888", "http://::1:8888"],
)
def test_an_impossible_public_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ViewSection).validate_python({"public_url": url})


@pytest.mark.parametrize(
    ("url", "address", "path"),
    [
        ("https://pq.example.org/", "https://pq.example.org", ""),
        ("http://host:8888", "http://host:8888", ""),
        ("http://[::1]:65535", "http://[::1]:65535", ""),
        ("https://example.org/a/b/", "https://example.org/a/b", "/a/b"),
    ],
)
def test_a_slash_at_the_end_is_no_path(url: str, address: str, path: str) -> None:
    config = ViewSection(public_url=url)
    assert (config.address, config.base_path) == (address, path)
