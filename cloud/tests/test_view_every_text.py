"""Every page in a language of brackets: a text that has none is a text that nobody can translate.

The catalogue is made of the template catalogue: a text of ours reads `⟦Boxes⟧`, its tags are as they are,
what it holds stands inside. Outside of brackets may stand only data, and what has no language: numbers,
units, names of standards and formats, names of Boxes.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from account_scene import FormBrowser, add_people
from babel.messages import Catalog
from babel.messages.pofile import write_po
from view_states import FORBIDDEN, NEW, NEW_OWNER, PAGES, STALE, FailingStore

from opq_cloud.store import CloudStore
from opq_cloud.view import demo
from opq_cloud.view.catalogues import template_catalogue

OPEN, CLOSE = "⟦", "⟧"
TAG = "eo"
"""Esperanto, because nobody here speaks it; its plural is that of English."""
FORMS = ("/sign-in", "/register", "/reset", "/first-admin", "/search?q=nothing+of+this")
SAID_ONCE = (
    "/account?saved=1", "/boxes/1/settings?saved=1", "/admin/boxes/1?saved=1", "/sign-in?made=1",
    "/sign-in?ended=1", "/compare?box=1&weeks=2", "/compare?together=1", "/calendar?box=1&day=2026-01-01",
    "/calendar?box=1&year=2026&by=rms_v", "/reports/month", "/incidents?order=severity",
)  # fmt: skip
"""Addresses of pages with texts that others do not have."""
READ_ALOUD = ("title", "placeholder", "aria-label", "aria-description", "aria-valuetext", "alt", "data-label")
DATA_IN = {"script", "style", "time", "code", "textarea", "pre", "kbd"}
"""Elements whose text is data, or no text."""
WITHOUT_LANGUAGE = re.compile(
    r"""\b(?:OPQ\ View | opq-toolkit
        | UTC | GPS | NTP | THD | ITIC | SEMI\ F47(?:-0706)? | IEEE\ 1159 | CURVE | TOTP
        | CSV | JSON | API | MQTT | SQL | PQDIF | COMTRADE | CFF | NPY | WAV | Parquet
        | English | Esperanto | now | max | min | rms
        | V | Hz | mHz | kHz | ms | s | h | d | GB | MB | kB | m | km | pu | kS/s | µs | ns | u2 | x)\b
      | \bBox\ \d+ | [a-z]+(?:[._/][\w.-]+)+""",
    re.X,
)
"""Names of standards, formats, languages and units; what an address takes; names of Boxes; identifiers."""


class Texts(HTMLParser):
    """The texts of a page: those of its elements in one, and each attribute that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.attributes: list[str] = []
        self._skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes += [given[name] for name in READ_ALOUD if name in given]
        if tag == "input" and given.get("type") in ("submit", "button"):
            self.attributes.append(given.get("value", ""))
        if (self._skipped or tag in DATA_IN) and tag not in ("input", "br", "meta", "link", "hr", "img"):
            self._skipped.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._skipped and self._skipped[-1] == tag:
            self._skipped.pop()

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.parts.append(data)


def outside(text: str) -> list[str]:
    """The pieces of a text with letters that stand in no bracket."""
    pieces, depth, piece = [], 0, ""
    for letter in text:
        if letter == OPEN:
            depth, piece = depth + 1, piece + "\n"
        elif letter == CLOSE:
            depth -= 1
        elif depth <= 0:
            piece += letter
    pieces = [each.strip() for each in piece.split("\n")]
    return [each for each in pieces if re.search(r"[^\W\d_]{2}", WITHOUT_LANGUAGE.sub(" ", each))]


def bare_texts(page: str, data: set[str]) -> set[str]:
    """The texts of a page without brackets that are no data."""
    texts = Texts()
    texts.feed(page)
    found = outside("\x00".join(texts.parts).replace("\x00", "\n"))
    for each in texts.attributes:
        found += outside(each)
    pattern = "|".join(sorted(map(re.escape, data), key=len, reverse=True))
    return {each for each in found if outside(re.sub(pattern, " ", each))}


def bracketed(folder: Path) -> Path:
    """A folder with the language of brackets."""
    folder.mkdir()
    made = Catalog(locale=TAG, charset="utf-8")
    for message in template_catalogue():
        if message.id:
            forms = message.id if isinstance(message.id, tuple) else (message.id,)
            strings = tuple(f"{OPEN}{each}{CLOSE}" for each in forms)
            made.add(message.id, strings if len(strings) > 1 else strings[0])
    file = BytesIO()
    write_po(file, made)
    (folder / f"{TAG}.po").write_bytes(file.getvalue())
    return folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """Boxes, incidents, an administrator and an owner without a Box; public to everybody who is signed in."""
    place = tmp_path_factory.mktemp("brackets")
    running = demo.Scene(place, poll_s=0.2)
    running.view._config = replace(running.config, languages=bracketed(place / "l"))
    demo.fill(running.store, time.time_ns(), minutes=2)
    add_people(running, ada="admin", grace="owner")
    with running:
        assert running.view.counters.total("texts_refused") == 0
        yield running


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """A new system."""
    place = tmp_path_factory.mktemp("new")
    running = demo.Scene(place, poll_s=0.2)
    running.view._config = replace(running.config, languages=bracketed(place / "l"))
    with running:
        yield running


def data_of(scene: demo.Scene) -> set[str]:
    """What people, Boxes and analyses have said: it is shown as it is stored."""
    store = scene.store
    found = {"Ada", "Grace", "ada@example.org", "grace@example.org", "signed in", "not noted"}
    for box in store.boxes():
        found |= {box.name, box.location or "", box.region or "", box.feeder or "", box.description or ""}
    found |= {place.description for place in store.locations().values()}
    for incident_id in (1, 2, 3):
        incident = store.incident(incident_id)
        for item in incident.findings if incident else ():
            found |= {item.finding.because or "", item.finding.ieee1159 or ""}
        event = store.event_record(incident_id)
        found |= {event.because or "", *event.missing.values()} if event else set()
    found |= {"this View knows no address of Mauka's plug-in manager"}  # said by what is asked
    return {each for each in found if each}


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """All Boxes fell silent ten minutes ago; its store can be taken away."""
    place = tmp_path_factory.mktemp("stale")
    running = demo.Scene(place, poll_s=0.2)
    running.view._config = replace(running.config, languages=bracketed(place / "l"))
    demo.fill(running.store, time.time_ns() - 600 * 10**9, minutes=1)
    running.store = cast(CloudStore, FailingStore(running.store))
    with running:
        yield running


def until(holds: Callable[[], bool]) -> None:
    """Polls for a minute."""
    stop_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < stop_s
        time.sleep(0.02)


def read(scene: demo.Scene, who: str, paths: list[str]) -> dict[str, set[str]]:
    """Page -> what has no brackets, of pages that have some."""
    browser, data = FormBrowser(scene.url), data_of(scene)
    if who:
        browser.sign_in(f"{who}@example.org")
    found = {}
    for path in paths:
        browser.get(path, accept_language=TAG)
        is_page = "text/html" in browser.headers.get("content-type", "")
        if is_page and (bare := bare_texts(browser.text, data)):
            found[path] = bare
    return found


def test_what_has_no_brackets_is_found() -> None:
    page = """<title>⟦Boxes⟧ · OPQ View</title><p title="Bare">⟦In <b>two</b> parts⟧ 12 V</p>
    <p>Box 4 naked</p><code>data</code><time>2026</time><input type="submit" value="Go there">
    <p>Cellar <i>⟦x⟧</i></p>"""
    assert bare_texts(page, {"Cellar"}) == {"Bare", "Box 4 naked", "Go there"}


def test_every_text_of_every_page_can_be_translated(scene: demo.Scene) -> None:
    assert read(scene, "ada", [*PAGES.values(), *FORMS, *SAID_ONCE]) == {}


def test_every_text_of_empty_forbidden_and_open_pages_can_be_translated(
    scene: demo.Scene, new: demo.Scene
) -> None:
    found = {**read(scene, "grace", [*NEW_OWNER, *FORBIDDEN]), **read(new, "", [*NEW, *FORMS])}
    assert found == {}


def test_every_text_of_stale_and_unavailable_pages_can_be_translated(stale: demo.Scene) -> None:
    assert read(stale, "", [*STALE, *PAGES.values()]) == {}
    browser = FormBrowser(stale.url)
    cast(Any, stale.store).away = True
    try:
        until(lambda: browser.get("/incidents", accept_language=TAG) == 503)
        assert bare_texts(browser.text, {"/secret/place/store.db is gone"}) == set()
    finally:
        cast(Any, stale.store).away = False
