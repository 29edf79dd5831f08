"""Plug-ins by View's pages: packages into a real triggering service, commands to Mauka's real address."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import demo
import pytest
from account_scene import add_people
from free_ports import free_endpoint
from judging_plugins import trigger_zip

from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.operating.plugin_commands import PluginCommands
from opq_cloud.operations.plugin_manager import PluginManager, PluginManagerError
from opq_cloud.operations.rule_engine import EngineAddress
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.view.pages.admin.plugin_pages import shown_engine
from opq_cloud.view.web.sign_in import SignIn
from opq_proto.errors import PluginError

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
pytestmark = pytest.mark.usefixtures("cheap_argon2")


class TwoPlugins:
    """What Mauka's `PluginControl` offers, over two analyses."""

    def __init__(self) -> None:
        self.running = {"sag": True, "flicker": True}

    def names(self) -> list[str]:
        return sorted(self.running)

    def status(self, name: str) -> dict[str, Any]:
        facts = {"name": name, "origin": "built-in", "enabled": True, "running": self.running[name]}
        return {**facts, "takes": ["Event"], "gives": ["Finding"], "trouble": None, "messages_received": 7}

    def start(self, name: str) -> None:
        self._set(name, True)

    def stop(self, name: str) -> None:
        self._set(name, False)

    def _set(self, name: str, on: bool) -> None:
        if self.running[name] == on:
            raise PluginError(f"plug-in {name} is so already")
        self.running[name] = on


@pytest.fixture
def manager(makai: Any) -> Iterator[str]:
    endpoint = free_endpoint()
    with makai.running(PluginCommands(MaukaSection(plugin_manager_endpoint=endpoint), TwoPlugins())):  # type: ignore[arg-type]
        yield endpoint


@pytest.mark.slow
def test_a_package_is_installed_replaced_and_rolled_back(
    makai_with: Callable[..., Any], tmp_path: Path, manager: str, signed_in: Callable[..., Any]
) -> None:
    """Mauka follows each step."""
    house = makai_with(trusted=("loud",))
    engines = (EngineAddress("makai", f"http://127.0.0.1:{house.port}"),)
    packages = tmp_path / "packages"
    packages.mkdir()
    first, second = (_path(trigger_zip(packages, each, mode="inproc")) for each in ("1.0.0", "1.1.0"))
    scene = demo.Scene(tmp_path / "view", addresses=ServiceAddresses(plugin_manager=manager, engines=engines))
    with scene:
        page = signed_in(scene, False)
        page.goto(scene.url + "/admin/plugins")
        for package, version in ((first, "1.0.0"), (second, "1.1.0")):
            page.set_input_files("#package", package)
            page.get_by_role("button", name="Install it").click()
            assert version in page.locator("tr", has_text="loud").inner_text()
            assert house.ask("GET", "/plugins/triggers/loud")["version"] == version
        page.set_input_files("#package", first)
        page.get_by_role("button", name="Install it").click()
        assert "1.1.0" in page.get_by_role("alert").inner_text()  # a lower version is refused
        page.get_by_role("button", name="Roll loud back").click()
        assert house.ask("GET", "/plugins/triggers/loud")["version"] == "1.0.0"
        assert house.ask("GET", "/config/uploads") == []
        page.get_by_role("button", name="Stop flicker").click()
        assert "stopped" in page.locator("tr", has_text="flicker").inner_text()
        page.get_by_role("button", name="Delete loud").click()
        assert house.ask("GET", "/plugins/triggers") == []
        page.get_by_role("link", name="System", exact=True).click()
        assert "flicker" in page.locator("#graph ~ div table, section:has(#graph) table").inner_text()
        drawn = page.context.request.get(scene.url + "/admin/system/mauka.svg")
        assert drawn.ok and "flicker (stopped)" in drawn.text()
        page.get_by_role("link", name="Log of changes", exact=True).click()
        log = page.locator("table.audit").inner_text()
        for text in (
            "installed a plug-in",
            "replaced a plug-in",
            "1.0.0 → 1.1.0",
            "rolled a plug-in back",
            "plug-in stopped",
            "deleted a plug-in",
        ):
            assert text in log, text
        page.context.close()


class TwoPackages:
    """A rule engine with a sink and an analysis; neither has been called there."""

    address = EngineAddress("makai", "http://127.0.0.1:9081")

    def request(self, method: str, path: str) -> object:
        if path.endswith("/status"):
            return {"version": "1.0.0", "status": "running", "calls": 0, "failures": 0}
        return [{"name": "keep", "sinks": ["keep"]}, {"name": "peak", "analyses": ["peak"]}]


def test_an_analysis_has_no_counts_of_the_engine() -> None:
    """The rule engine does not call it."""
    packages = shown_engine(TwoPackages()).packages  # type: ignore[arg-type]
    assert [(each.name, each.counts) for each in packages] == [("keep", "0 calls, 0 failed"), ("peak", "–")]


@pytest.fixture
def signed_in(browser: "sync_api.Browser") -> Callable[..., Any]:
    """A page of a scene in which Ada, an administrator, has signed in."""

    def made(scene: demo.Scene, scripts: bool) -> Any:
        account = scene.store.people.account(add_people(scene, ada="admin")["ada"])
        assert account is not None
        secret = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "a browser")
        context = browser.new_context(java_script_enabled=scripts)
        context.set_default_timeout(240_000)
        context.add_cookies([{"name": "opq_session", "value": secret, "url": scene.url}])
        return context.new_page()

    return made


STREAM = 'CREATE STREAM boxes () WITH (DATASOURCE="*", TYPE="opqbox", FORMAT="json")'


@pytest.mark.slow
def test_a_rule_is_stopped_and_started(
    makai_with: Callable[..., Any], tmp_path: Path, signed_in: Callable[..., Any]
) -> None:
    house = makai_with()
    engines = (EngineAddress("makai", f"http://127.0.0.1:{house.port}"),)
    scene = demo.Scene(tmp_path / "view", addresses=ServiceAddresses(engines=engines))
    demo.fill(scene.store, time.time_ns(), minutes=1)
    with scene:
        page = signed_in(scene, True)
        page.goto(scene.url + "/admin/rules")
        assert "There is no rule yet" in page.locator("main").inner_text()
        house.ask("POST", "/streams", {"sql": STREAM}, 201)
        house.ask(
            "POST", "/rules", {"id": "deep", "sql": "SELECT box FROM boxes", "actions": [{"log": {}}]}, 201
        )
        page.reload()
        page.get_by_role("button", name="Stop deep").click()
        sync_api.expect(page.locator("main")).to_contain_text("stopped", timeout=240_000)
        page.get_by_role("button", name="Start deep").click()
        sync_api.expect(page.locator("main")).to_contain_text("running", timeout=240_000)
        whats = [each.what for each in scene.store.people.changes.entries(limit=2)]
        assert whats == ["started a stream rule", "stopped a stream rule"]
        page.context.close()
        assert scene.view.counters.total("requests_failed") == 0


@pytest.mark.slow
def test_an_engine_that_does_not_answer_is_named(tmp_path: Path, signed_in: Callable[..., Any]) -> None:
    engines = (EngineAddress("cabinet", "http://127.0.0.1:1"),)
    with demo.Scene(tmp_path / "view", addresses=ServiceAddresses(engines=engines)) as scene:
        page = signed_in(scene, False)
        for path in ("/admin/rules", "/admin/plugins"):
            page.goto(scene.url + path)
            assert "no rule engine answers at http://127.0.0.1:1" in page.locator("main").inner_text().lower()
        page.context.close()


def _path(url: str) -> str:
    return url2pathname(urlsplit(url).path)


def test_the_manager_must_speak_the_originals_text(manager: str) -> None:
    asked = PluginManager(manager)
    assert [each["name"] for each in asked.plugins()] == ["flicker", "sag"]
    assert "stopped" in asked.command("stop", "sag")
    for name in ("sag x", "a" * 90, "sag\nstop-all-plugins", ""):
        with pytest.raises(PluginManagerError, match="not a name of a plug-in"):
            asked.command("stop", name)
    with pytest.raises(PluginManagerError, match="is so already"):
        asked.command("stop", "sag")
    assert asked.plugin("sag")["running"] is False
