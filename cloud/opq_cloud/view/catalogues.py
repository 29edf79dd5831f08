"""Catalogues of texts by Babel: the template catalogue of all texts of View, and the `.po` files of a folder.

Babel is imported here alone, and this module only where a folder is configured or the template is printed.
"""

import json
import re
import zlib
from collections.abc import Iterator
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path

import structlog
from babel import Locale, UnknownLocaleError
from babel.messages import Catalog
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po, write_po

from opq_cloud.service import ServiceCounters
from opq_cloud.view.languages import Language, Languages
from opq_proto.errors import ConfigError

log = structlog.get_logger()

ROOT = Path(__file__).parent
SOURCES = {"static/*.js": "javascript", "**.py": "python", "templates/**.html": "jinja2.ext:babel_extract"}
OPTIONS: dict[str, dict[str, object]] = {
    "templates/**.html": {"trimmed": "true", "newstyle_gettext": "true", "silent": "false"},
    "static/*.js": {"parse_template_string": True},
}
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None}
PLACE_OR_TAG = re.compile(r"%\(\w+\)[a-z]|%%|%|</?[a-z][^>]*>", re.I)
HEADER = """\
# All texts of OPQ View: docs/languages.md says how to translate them.
# %(places)s and <tags> stay as they are; a percent sign is written %%."""
COUNTED = 200
"""Forms by number: that of a larger number is that of its last two digits, from 100 on."""


def template_catalogue() -> Catalog:
    """All texts of templates, Python and scripts, as they are now."""
    made = Catalog(project="OPQ View", header_comment=HEADER, charset="utf-8")
    for text, file, line in _extracted(SOURCES):
        made.add(text, locations=[(file, line)])
    return made


def print_template() -> str:
    """The template catalogue in gettext's form."""
    made = BytesIO()
    write_po(made, template_catalogue(), width=100)
    return made.getvalue().decode()


def _extracted(sources: dict[str, str]) -> Iterator[tuple[str | tuple[str, ...], str, int]]:
    """Each text (a pair where it has a plural), its file and its line."""
    found = extract_from_dir(
        ROOT,
        method_map=list(sources.items()),
        options_map=OPTIONS,
        keywords=KEYWORDS,
    )
    for file, line, text, _comments, _context in found:
        yield text, file, line


def script_texts() -> set[str]:
    """The texts of the scripts, by their English; of a plural the singular."""
    only_scripts = {name: method for name, method in SOURCES.items() if method == "javascript"}
    return {text if isinstance(text, str) else text[0] for text, _, _ in _extracted(only_scripts)}


def read_languages(folder: Path, counters: ServiceCounters) -> Languages:
    """The languages of the `.po` files in a folder.

    A file that cannot be read is logged, counted as `languages_refused` and passed over; a text whose places
    or tags differ from the English ones is counted as `texts_refused` and stays English.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"view.languages is {folder}; want a folder with translations such as de.po")
    found, of_scripts = {}, script_texts()
    for path in sorted(folder.glob("*.po")):
        try:
            language, refused = read_language(path, of_scripts)
        except (OSError, ValueError, LookupError, PoFileError, UnknownLocaleError) as error:
            counters.add("languages_refused")
            log.warning("language.unreadable", file=str(path), why=str(error))
            continue
        found[language.tag] = language
        if refused:
            counters.add("texts_refused", len(refused), label=language.tag)
            log.warning("language.texts_refused", file=str(path), count=len(refused), first=refused[0])
    found.pop("en", None)
    log.info("languages.read", languages=list(found))
    return Languages(found)


def read_language(path: Path, of_scripts: set[str]) -> tuple[Language, list[str]]:
    """A language of one file, and the texts (in English) that cannot be used.

    Raises:
        ValueError, LookupError, PoFileError, OSError: the file's name is no language, or it is malformed.
    """
    locale = Locale.parse(path.stem.replace("-", "_"))
    with path.open("rb") as file:
        catalogue = read_po(file, locale=locale, abort_invalid=True)
    usable = Catalog(locale=locale, charset="utf-8")
    usable.mime_headers = catalogue.mime_headers
    refused = []
    for message in catalogue:
        if not message.id or message.fuzzy:
            continue
        if fits(message):
            usable.add(message.id, message.string)
        else:
            refused.append(_english(message))
    compiled = BytesIO()
    write_mo(compiled, usable)
    compiled.seek(0)
    texts = GNUTranslations(compiled)
    scripts = _for_scripts(usable, texts, of_scripts)
    return Language(
        tag=str(locale).replace("_", "-"),
        name=(locale.get_display_name() or str(locale)).capitalize(),
        direction="rtl" if locale.character_order == "right-to-left" else "ltr",
        texts=texts,
        for_scripts=scripts,
        version=f"{zlib.crc32(scripts):08x}",
    ), refused


def fits(message: Message) -> bool:
    """Whether every form of a translation has the places and tags of the English text, or is empty."""
    forms = (message.string,) if isinstance(message.string, str) else message.string or ()
    english = (message.id,) if isinstance(message.id, str) else message.id
    allowed = [_marks(each) for each in english]
    return not any(forms) or all(_marks(each) in allowed for each in forms)


def _marks(text: str) -> list[str]:
    return sorted(PLACE_OR_TAG.findall(text))


def _english(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def _for_scripts(catalogue: Catalog, texts: GNUTranslations, of_scripts: set[str]) -> bytes:
    """JSON: English -> text, or forms; and the form of each number below COUNTED."""
    wanted = {_english(each): each.string for each in catalogue if each.id and _english(each) in of_scripts}
    forms = [texts.plural(number) for number in range(COUNTED)]  # type: ignore[attr-defined]
    facts = {"texts": {english: text for english, text in wanted.items() if text}, "forms": forms}
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()
