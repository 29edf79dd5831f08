"""Each command that a document shows exists, with its options; each of its links leads somewhere."""

import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from contract_snapshot import ROOT, SCRIPTS

from opq_proto.errors import READING_COMMIT

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md"))
    if not any(part.startswith((".", "build")) for part in path.relative_to(ROOT).parts)
)
COMMAND = re.compile(r"(?:^|(?<!-u)[\s;(|/$])(opq-(?:tools|gateway|cloud)(?: .*)?)$")
END = re.compile(r"\||&&?|;|2?>.*|<<.*")
"""A word of the shell that ends a command's own words."""
PLACEHOLDERS = ("...", "…", "NAME")


def load_command(place: str) -> click.Command:
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, click.Command)
    return found


def typed_in(text: str) -> Iterator[tuple[int, str, bool]]:
    """Line number and text of each command, and whether it stands in a block, which people copy whole."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            for found in COMMAND.findall(line):
                yield number, found, True
        else:
            for inside in re.findall(r"`([^`]*)`", line):
                for found in COMMAND.findall(inside):
                    yield number, found, False


def words_of(typed: str) -> list[str]:
    """The command's own words, as the shell splits them."""
    typed = typed.rstrip().removesuffix("\\")
    try:
        words = shlex.split(typed, comments=True)
    except ValueError:  # a text in quotes that goes on in the next line
        words = typed.split()
    end = next((place for place, word in enumerate(words) if END.fullmatch(word)), len(words))
    return [word.removesuffix(";") for word in words[:end]]


def problem_of(typed: str, whole: bool) -> str:
    """What is wrong with it, or nothing."""
    words = words_of(typed)
    command, rest = load_command(SCRIPTS[words[0]]), words[1:]
    path, arguments = words[0], 0
    if words[:2] == ["opq-gateway", "rules"]:
        command, path, rest = load_command(SCRIPTS["opq-gateway rules"]), "opq-gateway rules", words[2:]
    options = options_of(command)
    while rest:
        word = rest.pop(0)
        if word == "--":  # what follows are arguments for another program
            arguments += len(rest)
            break
        if word.startswith("-") and len(word) > 1 and word not in ("-h", "--help"):
            name, equals, _ = word.partition("=")
            option = options.get(name)
            if option is None:
                return f"{path} has no option {name}"
            if not option.is_flag and not equals:
                del rest[: option.nargs]
        elif isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), word)
            if inner is None and word.isdigit():  # `sim 3` is `sim run 3`
                inner, rest = command.get_command(click.Context(command), "run"), [word, *rest]
            if inner is None:
                known = (*PLACEHOLDERS, *command.list_commands(click.Context(command)))
                return "" if word.rstrip(",") in known else f"{path} has no command {word}"
            command, path = inner, f"{path} {word}"
            options = options_of(command)
        else:
            arguments += 1
    wanted = [each for each in command.params if isinstance(each, click.Argument)]
    if whole and not isinstance(command, click.Group):
        if arguments < sum(each.required for each in wanted) and "-h" not in words and "--help" not in words:
            return f"{path} wants more arguments than {arguments}"
        if all(each.nargs == 1 for each in wanted) and arguments > len(wanted):
            return f"{path} takes fewer arguments than {arguments}"
    return ""


def options_of(command: click.Command) -> dict[str, click.Option]:
    return {
        name: each
        for each in command.params
        if isinstance(each, click.Option)
        for name in (*each.opts, *each.secondary_opts)
    }


TODAY = [page for page in PAGES if "history" not in page.parts and page.name != "CHANGELOG.md"]
"""Pages that say what is so now; the others name commands that are gone."""


@pytest.mark.parametrize("page", TODAY, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_a_page_exists(page: Path) -> None:
    wrong = [
        f"line {number}: {typed}: {problem}"
        for number, typed, whole in typed_in(page.read_text(encoding="utf-8"))
        if (problem := problem_of(typed, whole))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_command_that_does_not_exist_is_found() -> None:
    assert problem_of("opq-tools boxes sett 1", True) == "opq-tools boxes has no command sett"
    assert problem_of("opq-tools boxes set 1 --nme x", True) == "opq-tools boxes set has no option --nme"
    assert "more arguments" in problem_of("opq-tools box rate 1", True)
    assert problem_of("opq-tools box rate", False) == ""


def test_commands_are_readable_and_options_explained() -> None:
    wrong = list(unclear(load_command(SCRIPTS["opq-tools"]), "opq-tools"))
    for script in ("opq-gateway", "opq-gateway rules", "opq-cloud"):
        wrong += unclear(load_command(SCRIPTS[script]), script)
    assert not wrong, "\n".join(wrong)


def unclear(command: click.Command, path: str) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.help:
            yield f"{path} {option.opts[0]} has no help"
    if isinstance(command, click.Group):
        names = command.list_commands(click.Context(command))
        for name in names:
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            if path != "opq-tools" and inner.get_short_help_str(74 - max(map(len, names))).endswith("..."):
                yield f"{path} {name} is cut in the list of commands; give it a short_help"
            yield from unclear(inner, f"{path} {name}")


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    fenced, found = False, set()
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        heading = re.match(r"#+ (.*)", line)
        if heading and not fenced:
            found.add(re.sub(r"[^\w\- ]", "", heading[1].strip().lower()).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_page_leads_somewhere(page: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        place, _, anchor = link.partition("#")
        if place.startswith(("http:", "https:", "mailto:")):
            continue
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            wrong.append(link)
    assert not wrong


MENTION = re.compile(r"(?<![\w/.:*{}\"-])((?:\.\./)*[\w-]+(?:/[\w.-]+)*\.md)\b")
"""A document named in a text; a name alone in quotes is a part of a path that a program puts together."""
SECTION = re.compile(r"docs/reference/(opq-interop|rules)\.md,? (?:parts? )?([A-H](?:\.\d+)?)")
SOURCES = {".py", ".md", ".c", ".h", ".txt", ".json", ".toml", ".sh", ".proto", ".yml", ".service"}


@cache
def listed() -> tuple[str, ...]:
    """The files of git."""
    done = subprocess.run(["git", "ls-files", "-z"], check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a clone: git does not list the files")
    return tuple(done.stdout.split("\0"))


def texts() -> Iterator[tuple[Path, str]]:
    """Each text of the repository that a person writes, with its place."""
    for name in listed():
        path = ROOT / name
        if path.suffix in SOURCES and "static" not in path.parts and path.is_file():
            yield path, path.read_text(encoding="utf-8")


def absent_mentions(path: Path, text: str) -> list[str]:
    """Documents that `text` names and that are neither beside `path` nor beside a folder above it."""
    if ".md" not in text:
        return []
    above = [folder for folder in path.parents if folder.is_relative_to(ROOT)]
    return [name for name in MENTION.findall(text) if not any((folder / name).exists() for folder in above)]


def test_each_named_document_exists() -> None:
    absent = [
        f"{path.relative_to(ROOT)}: {name}" for path, text in texts() for name in absent_mentions(path, text)
    ]
    assert not absent, "\n".join(absent)


def test_a_document_that_does_not_exist_is_found() -> None:
    names = [f"{stem}.md" for stem in ("docs/none", "README", "docs/api")]
    assert absent_mentions(ROOT / "cloud" / "x.py", ", ".join(names)) == names[:1]


SOURCE_NAME = re.compile(r"`((?:[\w-]+/)*[\w-]+\.(?:py|c|h|cs))`")
FOREIGN_PAGES = {
    "opq-interop.md",
    "original-plugins.md",
    "plugins.md",
    "plugins-analyses.md",
    "plugins-triggers.md",
}
"""Pages that name files of the original, or files that their reader writes."""


def absent_sources(text: str) -> list[str]:
    """Source files that `text` names and that no folder of the repository has."""
    ends = [f"/{name}" for name in listed()]
    return [name for name in SOURCE_NAME.findall(text) if not any(end.endswith(f"/{name}") for end in ends)]


def test_each_source_file_of_a_page_exists() -> None:
    pages = [(path, text) for path, text in texts() if path.suffix == ".md" and "history" not in path.parts]
    absent = {
        str(path.relative_to(ROOT)): found
        for path, text in pages
        if path.name not in FOREIGN_PAGES and (found := absent_sources(text))
    }
    assert len(pages) > 50 and absent == {}


def test_an_absent_source_file_is_found() -> None:
    assert absent_sources(
        "`live_streams.py`, `public/map_feed.py`, `suite.py`, `tests/test_documents.py`"
    ) == [
        "live_streams.py",
        "public/map_feed.py",
    ]


def sections(page: Path) -> set[str]:
    """`A`, `A.6` of headings and of bold beginnings of paragraphs, `H.3` of the items under `H`."""
    found, letter = set(), ""
    for line in page.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"(?:#+ |\*\*)([A-H])(?:\.(\d+))?[ .]", line)
        item = re.match(r"(\d+)\. ", line)
        if heading:
            letter = heading[1]
            found.add(letter if heading[2] is None else f"{letter}.{heading[2]}")
        elif item:
            found.add(f"{letter}.{item[1]}")
    return found


def test_each_cited_section_of_the_reference_exists() -> None:
    known = {name: sections(ROOT / "docs" / "reference" / f"{name}.md") for name in ("opq-interop", "rules")}
    cited = [(path, *found) for path, text in texts() for found in SECTION.findall(" ".join(text.split()))]
    absent = [f"{path.relative_to(ROOT)}: {name} {at}" for path, name, at in cited if at not in known[name]]
    assert len(cited) > 100
    assert not absent, "\n".join(absent)


COMMIT = re.compile(r"(?<![\w~/.-])(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{9,12}(?![\w-])")
"""A commit as pages write it; `mill~3f9a2c41d07b` is a site."""
FIRST = "c7695ddcf"


@cache
def commits() -> tuple[str, ...]:
    """All that lead to this state."""
    done = subprocess.run(
        ["git", "rev-list", "HEAD", "--"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    found = tuple(done.stdout.split())
    if not found or not found[-1].startswith(FIRST):
        pytest.skip(f"not a clone with its history, which begins with {FIRST}")
    return found


def absent_commits(text: str) -> list[str]:
    """Commits that `text` names and that this state does not come from."""
    return [name for name in COMMIT.findall(text) if not any(each.startswith(name) for each in commits())]


def test_each_named_commit_is_in_the_history() -> None:
    """A figure of a page, and the commit that reads what earlier programs stored."""
    pages = [text for path, text in texts() if path.suffix == ".md"]
    named = [name for text in pages for name in COMMIT.findall(text)]
    assert len(named) > 20
    assert absent_commits("\n".join((READING_COMMIT, *pages))) == []


def test_a_commit_that_does_not_exist_is_found() -> None:
    assert absent_commits(f"by 0123456789ab and {commits()[-1][:9]}") == ["0123456789ab"]
