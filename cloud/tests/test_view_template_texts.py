"""Templates: every text that somebody reads is a message that a catalogue can translate."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment

import opq_cloud.view

TEMPLATES = Path(opq_cloud.view.__file__).parent / "templates"
READ_ALOUD = {"alt", "aria-label", "data-label", "placeholder", "title"}
SAME_EVERYWHERE = {
    "OPQ View", "rms", "Hz", "MB", "THD", "UTC", "ITIC", "SEMI", "IEEE", "SQL", "SHA",
    "CFF", "COMTRADE", "CSV", "JSON", "NPY", "PQDIF", "WAV",
}  # fmt: skip
"""Names of formats, standards and units."""
COLOUR_SCHEMES = "light dark"
LITERAL = {"code", "kbd", "pre", "script", "style"}
JINJA = re.compile(r"\{%\s*trans\b.*?endtrans\s*%\}|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.S)

EXPRESSION = re.compile(r"\{\{.*?\}\}|\{% (?:for|set) .*?%\}", re.S)
STRING = re.compile(r'(_\()?"([^"]*)"')
WORDS = re.compile(r"\b[A-Z][a-z]{2}|[a-z]{2} [a-z]{2}")
"""A string in an expression is a text where it has a capital, or two words."""


class BareTexts(HTMLParser):
    """Collects the words outside messages: text, and attributes that are read or shown."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = [*self._open, tag][-20:]
        literal = {"now", "now-30d"} if tag == "input" else set()  # what may be typed
        self._add(*(value or "" for name, value in attrs if name in READ_ALOUD and value not in literal))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not LITERAL & set(self._open):
            self._add(data)

    def _add(self, *texts: str) -> None:
        for text in texts:
            said = " ".join(re.findall(r"[^\W\d_]{2,}", text))
            if said and said not in SAME_EVERYWHERE:
                self.found.append(text.strip())


def bare_texts(source: str) -> list[str]:
    """The words of a template outside `_()` and `{% trans %}`; a tag's name may be an expression."""
    parser = BareTexts()
    parser.feed(JINJA.sub("_", re.sub(r"<(/?)\{\{", r"<\1b {{", source)))
    parser.close()
    strings = STRING.findall(" ".join(EXPRESSION.findall(source)))
    return parser.found + [
        text for message, text in strings if not message and text != COLOUR_SCHEMES and WORDS.search(text)
    ]


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.stem)
def test_every_text_of_a_template_is_a_message(path: Path) -> None:
    assert bare_texts(path.read_text()) == []


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.stem)
def test_a_message_stands_for_itself(path: Path) -> None:
    """No half sentence with blanks or a comma at its end, for a translator does not see what follows."""
    made = Environment(extensions=["jinja2.ext.i18n"])
    made.policies["ext.i18n.trimmed"] = True
    for _line, _function, message in made.extract_translations(path.read_text()):
        texts = [message] if isinstance(message, str) else [text for text in message or () if text]
        assert [text for text in texts if text != text.strip(" ,;")] == []


def test_a_text_beside_a_message_is_found() -> None:
    assert bare_texts('<p title="{{ _("Boxes") }}">{% trans %}All Boxes{% endtrans %}</p>') == []
    assert bare_texts('<p title="Boxes {{ n }}">{{ n }} more<code>opq-tools</code></p>') == [
        "Boxes _",
        "_ more",
    ]
    assert bare_texts('{{ "Ask it again" if said else _("Ask the Box") }}') == ["Ask it again"]
