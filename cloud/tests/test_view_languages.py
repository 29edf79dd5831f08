"""View in other languages: catalogues, the choice of a language, pages, the live feed."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from gettext import NullTranslations
from pathlib import Path

import pytest
from account_scene import FormBrowser, add_people
from click.testing import CliRunner

from opq_cloud.__main__ import cloud
from opq_cloud.service import ServiceCounters
from opq_cloud.view import demo, languages
from opq_cloud.view.catalogues import read_languages, script_texts, template_catalogue
from opq_cloud.view.languages import ENGLISH, LANGUAGE, Language, Languages, _, accepted_tags, ngettext
from opq_cloud.view.live_messages import LiveMessage, incident_message
from opq_cloud.view.service import _languages
from opq_cloud.view_settings import ViewSection
from opq_proto.errors import ConfigError
from opq_proto.messages import Incident

HEAD = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
GERMAN = f"""{HEAD}
msgid "Language"
msgstr "Sprache"

msgid "There are no such texts."
msgstr "Solche Texte gibt es nicht."
"""


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.po").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT, en;q=0.5", "de"),
        ("en, de;q=0.9", "en"),
        ("en;q=0.2, xx, de;q=0.9", "de"),
        ("pt", "pt-BR"),
        ("pt-PT;q=0.8, de;q=0.1", "pt-BR"),
        ("*", "en"),
        ("de;q=0, fr", "en"),
        ("de;q=many, ;, ,=", "en"),
    ],
)
def test_the_browsers_language_is_the_best_one_that_there_is(header: str, tag: str) -> None:
    known = Languages({tag: Language(tag, tag) for tag in ("de", "pt-BR")})
    assert known.chosen("", header).tag == tag
    assert known.chosen("de", header).tag == "de", "the account goes first"
    assert known.chosen("gone", header).tag == tag


def test_a_long_header_is_read_to_a_limit() -> None:
    assert len(accepted_tags(",".join(["de"] * 100_000))) == languages.MAX_CHOICES


def test_a_text_is_in_the_present_language_and_english_where_it_lacks_one(tmp_path: Path) -> None:
    forms = (
        'msgid "%(num)d Box"\nmsgid_plural "%(num)d Boxes"\n'
        'msgstr[0] "%(num)d Kiste"\nmsgstr[1] "%(num)d Kisten"\n'
    )
    found = read_languages(write(tmp_path / "l", de=GERMAN + forms), ServiceCounters())
    assert found.choices == {"en": "English", "de": "Deutsch"}
    assert _("Language") == "Language" and ngettext("%(num)d Box", "%(num)d Boxes", 2) == "2 Boxes"
    with found.chosen("de", "").spoken():
        assert _("Language") == "Sprache" and _("50 %% of %(what)s", what="all") == "50 % of all"
        assert ngettext("%(num)d Box", "%(num)d Boxes", 1) == "1 Kiste"
        assert ngettext("%(num)d Box", "%(num)d Boxes", 0) == "0 Kisten"
    assert LANGUAGE.get() is ENGLISH


def test_a_malformed_file_is_counted_and_passed_over(tmp_path: Path) -> None:
    counters = ServiceCounters()
    folder = write(
        tmp_path / "l", de=GERMAN, fr="this is no catalogue", klingon=GERMAN,
        it=HEAD.replace("utf-8\\n", "utf-8\\nPlural-Forms: nplurals=2; plural=n+q\\n"),
    )  # fmt: skip
    (folder / "es.po").write_bytes(b'msgid "Language"\nmsgstr "\xff\xfe"\n')
    (folder / "notes.txt").write_text("not read")
    assert list(read_languages(folder, counters).choices) == ["en", "de"]
    assert counters.total("languages_refused") == 4
    with pytest.raises(ConfigError, match="nowhere"):
        read_languages(tmp_path / "nowhere", counters)


@pytest.mark.parametrize(
    "text",
    ["%(other)s", "none", "%(box)s %", "%(box)s <b>", "<script>%(box)s</script>", "%(box)s %(box)s"],
)
def test_a_text_that_would_break_a_page_stays_english(tmp_path: Path, text: str) -> None:
    counters = ServiceCounters()
    po = f'{GERMAN}\nmsgid "Box %(box)s"\nmsgstr "{text}"\n'
    german = read_languages(write(tmp_path / "l", de=po), counters).chosen("de", "")
    with german.spoken():
        assert _("Box %(box)s", box=4) == "Box 4" and _("Language") == "Sprache"
    assert counters.snapshot()["texts_refused"] == {"de": 1}


def test_the_template_has_the_texts_of_templates_python_and_scripts() -> None:
    made = CliRunner().invoke(cloud, ["view", "texts"])
    assert made.exit_code == 0 and "Plural-Forms" not in made.output
    files = {str(Path(file).parent) for each in template_catalogue() for file, _line in each.locations}
    assert {".", "templates"} <= files
    assert 'msgid "There are no such texts."' in made.output


def test_every_text_of_a_script_is_extracted() -> None:
    """The extraction passes over a text with places inside of a template string."""
    static = Path(languages.__file__).parent / "static"
    marked = {
        text
        for path in static.glob("*.js")
        for text in re.findall(r'(?<![\w.$])(?:_|N_|ngettext)\("([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(marked) > 50 and marked - script_texts() == set()


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """A View with German beside English, and one account."""
    place = tmp_path_factory.mktemp("german")
    running = demo.Scene(place, poll_s=0.2)
    running.view._config = replace(running.config, languages=write(place / "l", de=GERMAN))
    add_people(running, ada="admin")
    with running:
        yield running


def test_the_account_chooses_and_else_the_browser(german: demo.Scene) -> None:
    browser = FormBrowser(german.url)
    browser.get("/sign-in", accept_language="de")
    assert '<html lang="de"' in browser.text
    browser.get("/nothing", accept_language="de")
    browser.sign_in("ada@example.org")
    browser.get("/account", accept_language="de-CH")
    assert '<label for="language">Sprache</label>' in browser.text
    browser.get("/account")
    assert '<html lang="en"' in browser.text and '<label for="language">Language</label>' in browser.text
    profile = {"name": "Ada", "theme": "system", "time_zone": "UTC"}
    assert browser.post("/account/profile", "/account", **profile, language="tlh") == 400
    assert browser.post("/account/profile", "/account", **profile, language="de") == 303
    browser.get("/account", accept_language="en")
    assert '<html lang="de"' in browser.text and '<option value="de" lang="de" selected>' in browser.text
    assert browser.post("/account/profile", "/account", **profile) == 303, "a form of before keeps it"
    browser.get("/account/data.json")
    assert json.loads(browser.text)["account"]["language"] == "de"
    browser.get("/api/nothing", accept_language="de")
    assert json.loads(browser.text) == {"error": "There is no page at this address."}


def test_the_texts_of_scripts_have_an_address_of_their_own(german: demo.Scene) -> None:
    browser = FormBrowser(german.url)
    browser.get("/sign-in", accept_language="de")
    found = re.search(r'data-texts="(/texts/de-[0-9a-f]{8}\.json)"', browser.text)
    assert found is not None
    assert browser.get(found[1]) == 200
    facts = json.loads(browser.text)
    assert facts["forms"][:3] == [1, 0, 1] and len(facts["forms"]) == 200
    assert "immutable" in browser.headers["cache-control"]
    assert browser.get("/texts/de.json", accept_language="de") == 404
    browser.get("/sign-in")
    assert "data-texts" not in browser.text


def test_the_texts_of_a_live_message_are_of_the_streams_language() -> None:
    """An incident is told once in each language, and measurements are the same bytes for all."""
    incident = Incident(1, "sag", ("1",), (1,), 0, 10**8, True, 85.2, ())
    german = Language("de", texts=Shouting())
    told = incident_message(incident, {})
    spoken = told.in_language(german)
    assert "FOR 100" in spoken.data and '"class_words": "SAG"' in spoken.data and "for 100" in told.data
    assert spoken.event_id == told.event_id and told.in_language(german) is spoken
    assert told.in_language(ENGLISH) is told
    gone = LiveMessage("incident_gone", '{"id": 1}')
    assert gone.in_language(german) is gone


class Shouting(NullTranslations):
    """Each text in capitals, with its places as they are."""

    def gettext(self, message: str) -> str:
        return re.sub(
            r"%\(\w+\)[sd]|.", lambda part: part[0] if len(part[0]) > 1 else part[0].upper(), message
        )

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


def test_a_view_that_wants_translations_without_babel_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "opq_cloud.view.catalogues")
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(ConfigError, match=r"languages: .* pip install 'opq-toolkit\[languages\]'"):
        _languages(ViewSection(languages=tmp_path), ServiceCounters())
