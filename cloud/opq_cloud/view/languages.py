"""The language of the page that is being made: `_`, `ngettext`, `N_`, and the choice of the language.

English stands in templates, Python and scripts; other languages are catalogues (`catalogues.py`) that an
administrator gives. A text is looked up when its page is made, in the language of the request; outside of a
request, for programs, and where no catalogue is given, it is English. Every text is a format for `%`: places
are named, `_("Box %(box)s", box="1")`, and a percent sign is written twice.
"""

import gettext as standard
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from markupsafe import Markup

NO_BABEL = "translations need Babel, which is not installed: pip install 'opq-toolkit[languages]'"
MAX_CHOICES = 16
"""Languages that are read from one Accept-Language."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language of pages. `texts` finds its texts; a text that it lacks stays English."""

    tag: str = "en"
    """As in HTML: `de`, `pt-BR`."""
    name: str = "English"
    """In the language itself."""
    direction: str = "ltr"
    texts: standard.NullTranslations = field(default_factory=standard.NullTranslations)
    for_scripts: bytes = b""
    """The texts of the scripts as JSON; empty for English, which the scripts hold."""
    version: str = ""
    """Changes with `for_scripts`."""
    marked: dict[str, tuple[Markup, Markup]] = field(default_factory=dict, repr=False, compare=False)
    """Texts as templates show them: with their places, and without any."""

    @property
    def scripts_path(self) -> str:
        """The address of `for_scripts`; empty for English."""
        return f"/texts/{self.tag}-{self.version}.json" if self.for_scripts else ""

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """Makes texts in this language: for threads that answer no request."""
        token = LANGUAGE.set(self)
        try:
            yield
        finally:
            LANGUAGE.reset(token)


ENGLISH = Language()
LANGUAGE: ContextVar[Language] = ContextVar("language", default=ENGLISH)
"""The language of the request that this thread or task answers."""


def plain_ngettext(one: str, many: str, num: int) -> str:
    """The form that a number wants, before its places are filled."""
    return LANGUAGE.get().texts.ngettext(one, many, num)


def _(text: str, /, **places: object) -> str:
    """The text in the present language, with its places filled."""
    return LANGUAGE.get().texts.gettext(text) % places


def ngettext(one: str, many: str, num: int, /, **places: object) -> str:
    """Like `_`, in the form that `num` wants; the number itself is the place `num`."""
    return plain_ngettext(one, many, num) % {"num": num, **places}


def N_(text: str) -> str:  # noqa: N802  (gettext's name; programs that extract texts know it)
    """Marks the text of a constant, which `_` looks up where it is shown."""
    return text


class Languages:
    """English and the languages of the catalogues; never changes."""

    def __init__(self, languages: Mapping[str, Language] | None = None) -> None:
        """`languages`: tag -> language, without English."""
        self._of_tag = {"en": ENGLISH, **(languages or {})}

    def __len__(self) -> int:
        return len(self._of_tag)

    @property
    def choices(self) -> dict[str, str]:
        """Tag -> name, for a form."""
        return {tag: each.name for tag, each in self._of_tag.items()}

    def chosen(self, wanted: str, accepted: str) -> Language:
        """The language that an account wants, else the best of an Accept-Language, else English."""
        return self._of_tag.get(wanted) or self._accepted(accepted)

    def _accepted(self, header: str) -> Language:
        """Without an exact match, `de-AT` is `de`, and `pt` is the first language whose tag begins so."""
        for tag in accepted_tags(header):
            if tag == "*":
                break
            for narrow in (tag, tag.partition("-")[0]):
                for own, language in self._of_tag.items():
                    if own.lower() == narrow or own.lower().startswith(f"{narrow}-"):
                        return language
        return ENGLISH

    def of_scripts_path(self, file: str) -> Language | None:
        """The language whose texts for scripts have this address below `/texts/`."""
        found = (each for each in self._of_tag.values() if each.scripts_path == f"/texts/{file}")
        return next(found, None)


NO_LANGUAGES = Languages()


def accepted_tags(header: str) -> list[str]:
    """The tags of an Accept-Language in lower case, the most wanted first (RFC 9110, 12.5.4)."""
    weighted = []
    for each in header.split(",")[:MAX_CHOICES]:
        tag, _sign, weight = each.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if tag.strip() and quality > 0:
            weighted.append((-quality, tag.strip().lower().replace("_", "-")))
    return [tag for _quality, tag in sorted(weighted, key=lambda pair: pair[0])]
