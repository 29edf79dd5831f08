"""`/admin/plugins`: plug-ins of Mauka and Makai; packages installed, replaced, rolled back while all runs."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.operations.health_client import ServiceState, read_services
from opq_cloud.operations.plugin_manager import VERBS, PluginManager, PluginManagerError
from opq_cloud.operations.rule_engine import (
    CHANGE_S,
    EngineError,
    EngineRefusedError,
    RuleEngine,
)
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.admin.plugin_package import read_package
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_plugins.package.manifest import NAME, REST_KINDS

PACKAGE_BYTES = 32 * 2**20
MAX_PACKAGES = 100
MAX_HELP = 500
"""In characters."""
DONE_WORDS = {"start": "started", "stop": "stopped", "restart": "started again"} | {
    "enable": "allowed to start",
    "disable": "stopped for good",
}


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """One package as its engine describes it."""

    name: str
    kinds: str
    version: str
    previous: str
    state: str
    trouble: str
    counts: str
    triggers: tuple[str, ...] = ()
    """The triggers in the package."""
    help: str = ""
    """Its purpose, in its author's words."""


@dataclass(frozen=True, slots=True)
class EngineShown:
    """One engine; `trouble` is why nothing of it is shown."""

    name: str
    url: str
    packages: tuple[InstalledPackage, ...] = ()
    trouble: str = ""


class PluginAdminPages:
    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._manager = PluginManager(context.addresses.plugin_manager)

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/admin/plugins", self.plugins_page, response_class=HTMLResponse)
        install = form_route(self.install, file_bytes=PACKAGE_BYTES)
        router.add_route("/admin/plugins", install, methods=["POST"])
        for path, form in (
            ("/admin/plugins/mauka/{name}", self.command),
            ("/admin/plugins/triggers/{name}", self.switch),
            ("/admin/plugins/{engine}/{name}/rollback", self.roll_back),
            ("/admin/plugins/{engine}/{name}/delete", self.delete),
        ):
            router.add_route(path, form_route(form), methods=["POST"])
        return router

    def plugins_page(self) -> Response:
        self._context.require_reader()
        return self._page()

    def _page(self, problem: str = "", code: int = 200) -> Response:
        mauka: list[Mapping[str, object]] = []
        silent = ""
        try:
            mauka = list(self._manager.plugins())
        except PluginManagerError as error:
            silent = str(error)
        services = read_services(self._context.addresses)
        engines = [shown_engine(RuleEngine(each)) for each in self._context.addresses.engines]
        return self._context.page(
            "plugins.html",
            "plugins",
            code=code,
            mauka=mauka,
            mauka_silent=silent,
            triggers=shown_triggers(
                services.states, self._context.store.makai_config(), packed_triggers(engines)
            ),
            services_answer=bool(services.urls),
            engines=engines,
            problem=problem,
        )

    def command(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Starts, stops, restarts, enables or disables a plug-in of Mauka."""
        visitor = self._context.require_administrator()
        name, verb = request.path_params["name"], form.text("do", 20)
        if verb not in VERBS:
            raise HTTPException(400, f"{verb} is not offered; there are {', '.join(VERBS)}.")
        try:
            before = _state(self._manager.plugin(name))
            self._manager.command(verb, name)
            after = _state(self._manager.plugin(name))
        except PluginManagerError as error:
            return self._refused(error)
        self._context.accounts.note(visitor, f"plug-in {DONE_WORDS[verb]}", f"plug-in {name}", before, after)
        return see_other("/admin/plugins#mauka")

    def switch(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Switches a trigger of Makai on or off in `makai_config`, which Makai follows."""
        visitor = self._context.require_administrator()
        name, do = request.path_params["name"], form.text("do", 20)
        if do not in ("on", "off"):
            raise HTTPException(400, f"{do} is not offered; there are on, off.")
        services, store = read_services(self._context.addresses), self._context.store
        if not services.urls:
            return self._page("No service answers at its health address; which triggers run is unknown.", 409)
        engines = [shown_engine(RuleEngine(each)) for each in self._context.addresses.engines]
        config = store.makai_config()
        found = [
            each
            for each in shown_triggers(services.states, config, packed_triggers(engines))
            if each.name == name
        ]
        if not found:
            raise HTTPException(404, "Makai reports no such trigger.")
        if found[0].installed:
            return self._page(f"{name} came as a package: delete the package, or roll it back.", 409)
        store.put_makai_config(switched(config, name, do == "on"))
        was = found[0].runs if found[0].wanted is None else found[0].wanted
        self._context.accounts.note(
            visitor, f"switched a trigger {do}", f"trigger {name}", {"enabled": was}, {"enabled": do == "on"}
        )
        return see_other("/admin/plugins#triggers")

    def install(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Installs a package from a file; a version above the installed one takes over while all runs."""
        visitor = self._context.require_administrator()
        engine, file = self._context.engine(form.text("engine", 60)), form.file("package")
        if file is None:
            return self._page("Choose a package: a zip file.", 400)
        try:
            package = read_package(file.content)
        except ValueError as error:
            return self._page(str(error), 400)
        path = f"/plugins/{REST_KINDS[package.kind]}/{package.name}"
        try:
            before = _version(engine, package.name)
            place = engine.upload(file.content)
            try:
                body = {"name": package.name, "file": f"file://{place}"}
                down = "?downgrade=true" if form.checked("downgrade") else ""
                engine.request("PUT", path + down, body, CHANGE_S)
            finally:
                with contextlib.suppress(EngineError):
                    engine.remove_upload(place)
            after = _version(engine, package.name)
        except EngineError as error:
            return self._refused(error)
        what = "replaced a plug-in" if before["version"] else "installed a plug-in"
        self._context.accounts.note(
            visitor, what, f"plug-in {package.name}", before, {**after, "kind": package.kind}
        )
        return see_other("/admin/plugins#packages")

    def roll_back(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        engine, name = self._named(request)
        try:
            before = _version(engine, name)
            engine.request("POST", f"/plugins/packages/{name}/rollback", wait_s=CHANGE_S)
            after = _version(engine, name)
        except EngineError as error:
            return self._refused(error)
        self._context.accounts.note(visitor, "rolled a plug-in back", f"plug-in {name}", before, after)
        return see_other("/admin/plugins#packages")

    def delete(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Deletes all versions; the engine refuses while a rule uses the plug-in."""
        visitor = self._context.require_administrator()
        engine, name = self._named(request)
        try:
            before = _version(engine, name)
            engine.request("DELETE", f"/plugins/packages/{name}", wait_s=CHANGE_S)
        except EngineError as error:
            return self._refused(error)
        self._context.accounts.note(visitor, "deleted a plug-in", f"plug-in {name}", before, {})
        return see_other("/admin/plugins#packages")

    def _refused(self, error: Exception) -> Response:
        text = str(error)
        return self._page(f"{text[:1].upper()}{text[1:2000]}.", 409)

    def _named(self, request: Request) -> tuple[RuleEngine, str]:
        name = request.path_params["name"]
        if not NAME.fullmatch(name):
            raise HTTPException(404, "There is no such plug-in.")
        return self._context.engine(request.path_params["engine"]), name


def packed_triggers(engines: Sequence[EngineShown]) -> set[str]:
    """The names of triggers that came in packages."""
    return {name for engine in engines for package in engine.packages for name in package.triggers}


def shown_engine(engine: RuleEngine) -> EngineShown:
    """The packages that are installed in an engine."""
    address = engine.address
    try:
        found = engine.request("GET", "/plugins/packages")
        rows = [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
        packages = tuple(_package(engine, each) for each in rows[:MAX_PACKAGES])
    except EngineError as error:
        return EngineShown(address.name, address.url, trouble=str(error))
    return EngineShown(address.name, address.url, packages)


def _package(engine: RuleEngine, manifest: Mapping[str, object]) -> InstalledPackage:
    name = str(manifest.get("name"))
    status = engine.request("GET", f"/plugins/packages/{quote(name, safe='')}/status")
    facts = status if isinstance(status, Mapping) else {}
    kinds = [kind for kind, folder in REST_KINDS.items() if manifest.get(folder)]
    counts = f"{facts.get('calls', 0)} calls, {facts.get('failures', 0)} failed"
    return InstalledPackage(
        name,
        ", ".join(kinds),
        str(facts.get("version") or manifest.get("version") or ""),
        str(facts.get("previous") or ""),
        str(facts.get("status") or "not known"),
        str(facts.get("errMsg") or ""),
        counts if kinds != ["analysis"] else "–",  # Mauka calls it, and this engine does not count that
        _names(manifest.get("triggers")),
        str(manifest.get("help") or "")[:MAX_HELP],
    )


def _names(found: object) -> tuple[str, ...]:
    return tuple(str(each) for each in found) if isinstance(found, list) else ()


def _version(engine: RuleEngine, name: str) -> dict[str, object]:
    """The installed version, for the log of changes; None where the plug-in is not installed."""
    try:
        found = engine.request("GET", f"/plugins/packages/{quote(name, safe='')}/status")
    except EngineRefusedError as error:
        if error.code == 404:
            return {"version": None}
        raise
    return {"version": found.get("version") if isinstance(found, Mapping) else None}


def _state(facts: Mapping[str, object]) -> dict[str, object]:
    return {"running": bool(facts.get("running")), "enabled": bool(facts.get("enabled"))}


TRIGGER_PART = "plugin "
"""The prefix of each trigger in Makai's health; the next is that of ignored `makai_config` entries."""
CONFIG_PART = "makai_config "
OFF = "off"
"""The text for a trigger that does not run."""


@dataclass(frozen=True, slots=True)
class ShownTrigger:
    """One trigger of Makai, as its health reports it and `makai_config` wants it."""

    name: str
    ok: bool
    info: str
    runs: bool
    wanted: bool | None
    """Whether `makai_config` wants it to run; None where it does not say."""
    installed: bool
    """The trigger came in a package: it is deleted, not switched."""
    trouble: str
    """Why Makai does not follow `makai_config`."""

    @property
    def words(self) -> str:
        if self.wanted is not None and self.wanted != self.runs:
            return "is being switched on" if self.wanted else "is being switched off"
        return "off" if not self.runs else "runs" if self.ok else "not well"


def shown_triggers(
    states: Sequence[ServiceState], config: MakaiConfig | None, packed: Collection[str]
) -> list[ShownTrigger]:
    """Makai's triggers from its health, running ones first. `packed`: the triggers that came in packages."""
    tables = {} if config is None else config.triggers
    wanted = {name: table.get("enabled") for name, table in tables.items()}
    troubles = {each.name.removeprefix(CONFIG_PART): each.info for each in states if not each.ok}
    found = []
    for each in states:
        if each.name.startswith(TRIGGER_PART):
            name = each.name.removeprefix(TRIGGER_PART)
            want = wanted.get(name)
            found.append(
                ShownTrigger(
                    name,
                    each.ok,
                    "" if each.info == OFF else each.info,
                    each.info != OFF,
                    want if isinstance(want, bool) else None,
                    name in packed,
                    troubles.get(name, ""),
                )
            )
    return sorted(found, key=lambda each: not each.runs)


def switched(config: MakaiConfig | None, name: str, on: bool) -> MakaiConfig:
    """The configuration with this trigger on or off, otherwise unchanged."""
    before = config or MakaiConfig(TriggeringLimits(), limited=False)
    table = {**before.triggers.get(name, {}), "enabled": on}
    return replace(before, triggers={**before.triggers, name: table})
