"""The set-up page in a browser: its own policy lets it run, it joins a network, and it can be read by all."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from browser_program import browser_program
from in_thread import in_thread
from stand_in_nmcli import World, key_of

from opq_gateway import config as gateway_config
from opq_gateway.commands.claim_codes import ClaimCodes
from opq_gateway.commands.setup_links import SetupLinks
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed, Values
from opq_gateway.setup.networks import Secret
from opq_gateway.setup.nmcli import Nmcli
from opq_gateway.setup.server import SetupServer
from opq_gateway.setup.setup_guard import SetupGuard
from opq_gateway.setup.setup_page import SetupPage
from opq_gateway.setup.state import SetupState
from opq_gateway.setup.wifi import Wifi
from opq_proto.messages import TimeSource

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dev extra's axe")
CHROMIUM = browser_program()
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
NAME = "Hall <b>3</b>"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "nm")
    world.hears(NAME.encode(), secret=key_of(NAME.encode(), "right horse"))
    return world


@pytest.fixture
def address(tmp_path: Path, world: World) -> Iterator[str]:
    file = tmp_path / "gateway.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n[[box]]\nid = "1"\nport = "/dev/x"\n')
    config = gateway_config.load(file)
    counters = {"1": BoxCounters()}
    feed = MeasuredFeed()
    wifi = Wifi(Nmcli(threading.Event(), world.program), "OPQ", Secret("access point's"), True, BoxCounters())
    shown = SetupState(config, {"1": BoxStatus("1", 60)}, counters, {"": "s", "1": "b"}, feed, wifi)
    feed.offer(Values("1", "3s", 1, 2, 3, TimeSource.GPS, False, {"rms_v": 120.25, "f_hz": 60.0}))
    links = SetupLinks("token")
    page = SetupPage(shown, wifi, lambda settings: False, links, claims=ClaimCodes(["1"]))
    server = SetupServer("127.0.0.1:0", page, SetupGuard(None, links), wifi, counters["1"])
    links.serve_at("127.0.0.1:0", server.port)
    with closing(server), in_thread(wifi.run):
        yield str(links.make())


def test_a_phone_joins_a_network(address: str, world: World) -> None:
    """The page is readable for everybody."""
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route("**/session", lambda route: route.fulfill(status=429, json={"error": "wait"}), times=1)
        page.goto(address)
        page.get_by_text("120.25").wait_for()  # the exchange of the link is tried again
        assert "#" not in page.url
        page.get_by_role("button", name=NAME).click()
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_role("button", name="Show a claim code").press("Enter")
        page.locator(
            "#claim-said", has_text=re.compile("Box 1: [0-9A-Z]{4}-[0-9A-Z]{4} for 10 min")
        ).wait_for()
        page.get_by_label("Password").fill("right horse")
        page.get_by_role("button", name="Join").click()
        until = time.monotonic() + 240
        while not world.read()["up"] and time.monotonic() < until:
            page.wait_for_timeout(50)
        page.get_by_text("On line").wait_for()
        browser.close()
    assert world.read()["up"] and [each for each in complaints if "429" not in each] == []
