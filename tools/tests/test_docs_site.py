"""The documentation as pages and man pages: each is in the navigation; with -m slow, built, in the wheel."""

import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from browser_program import browser_program
from contract_snapshot import ROOT

OUTSIDE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\">]+")
"""What a browser would load from another machine."""


def listed(*patterns: str) -> list[str]:
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a clone: git does not list the files")
    return sorted(name for name in set(done.stdout.splitlines()) if (ROOT / name).is_file())


def test_each_page_has_one_place_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +- (?:.*: )?\"?([\w./-]+\.md)", text, re.MULTILINE)
    pages = [name for name in listed("*.md") if not name.startswith(".")]
    messages = [f"{name}.md" for name in listed("proto/*.proto")]  # shown by tools/docs_site.py
    assert sorted(named) == sorted(pages + messages)


MOST_LINES = 300
LONGER = {
    "docs/history/before-0.2.0.md": "the log of the work before the first tag",
    "docs/reference/opq-interop.md": "code cites its sections by letter and number",
    "docs/reference/rules.md": "code cites its sections by letter and number",
}
"""Page -> why it may be longer."""


def test_a_page_is_short_and_answers_one_question() -> None:
    lines = {name: (ROOT / name).read_text(encoding="utf-8").count("\n") for name in listed("*.md")}
    assert {name for name, count in lines.items() if count > MOST_LINES} == set(LONGER)


def test_a_man_page_is_made_of_each_command(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "tools" / "man_pages.py"))["write"]("opq-cloud", tmp_path)
    assert {"opq-cloud.1", "opq-cloud-view.1"} <= {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / "opq-cloud.1").read_text()
    assert "opq-cloud\\-view(1)" in text or "opq-cloud-view(1)" in text
    assert "..." not in text.partition(".SH COMMANDS")[2]
    if man := shutil.which("man"):
        words = (man, "--warnings", "-l", tmp_path / "opq-cloud-view.1")
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "--first-admin" in done.stdout and not done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the repository in which the site was built as RELEASING.md says."""
    folder = tmp_path_factory.mktemp("site")
    copy = folder / "copy"
    for name in listed():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    subprocess.run((sys.executable, "-m", "venv", folder / "venv"), check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run((python, "-m", "pip", "install", "-q", "--no-compile", "-e", f"{copy}[docs]"), check=True)
    done = subprocess.run(
        (python, "-m", "mkdocs", "build"), cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    subprocess.run((python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, copy), check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow  # 3 minutes: packages from the index, the pages, the wheel
@pytest.mark.timeout(1200)
def test_the_wheel_has_site_messages_and_man_pages(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
        names = set(file.namelist())
    assert {f"opq_proto/{name}.proto" for name in ("opq", "opqbox3", "mauka")} <= names
    assert {"opq_tools/monitoring/alerts.yml", "opq_tools/monitoring/opq.json"} <= names
    assert not [name for name in names if name.endswith(".map") or name.startswith("opq_sim/faults/")]
    manual = {Path(name).name for name in names if ".data/data/share/man/man1/" in name}
    assert {"opq-tools.1", "opq-tools-box-info.1", "opq-gateway.1", "opq-cloud-view.1"} <= manual
    site = tmp_path / "opq_tools" / "site"
    assert {"index.html", "docs/glossary.html", "proto/opqbox3.proto.html"} <= {
        path.relative_to(site).as_posix() for path in site.rglob("*.html")
    }
    version = wheel.name.split("-")[1]
    assert f"OPQ toolkit {version}" in (site / "index.html").read_text(encoding="utf-8")
    programs = (site / "docs/examples/wire/index.html").read_text(encoding="utf-8")
    assert "--8<" not in programs and {"opqbox3_pb2", "next_varint", "TextDecoderStream"} <= {
        *re.findall(r"\w+", re.sub("<[^>]+>", "", programs))
    }
    wrong = []
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        wrong += [(page, found) for found in OUTSIDE.findall(text)]
        if page.name != "404.html":  # its links begin at the root of a server
            wrong += [
                (page, link)
                for link in re.findall(r"(?:href|src)=\"?([^\" >]+)", text)
                if not re.match(r"[a-z]+:|#", link)
                if not (page.parent / link.partition("#")[0]).is_file()
            ]
    assert not wrong
    search_from_disk(site)


def search_from_disk(site: Path) -> None:
    """The search finds the glossary in pages that were opened as files, and nothing is asked of a network."""
    program = browser_program()
    if program is None:
        pytest.skip("no Chromium: apt install chromium-headless-shell; the site itself was tested")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.click(".md-search__input")
        page.keyboard.type("synchrophasor glossary")  # the theme reads the field when a key goes up
        page.wait_for_selector(".md-search-result__item a[href*='glossary.html']", state="attached")
        browser.close()
    assert asked and not [address for address in asked if not address.startswith("file:")]
