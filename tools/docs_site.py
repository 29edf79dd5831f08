"""A hook of mkdocs (../mkdocs.yml): the pages of the site are the Markdown files of the repository.

Links between them stay as they are written. A link to a folder leads to its README or to a list of its files;
one to code leads to a page that shows it.
"""

import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
AS_THEY_ARE = {".md", ".png", ".svg", ".ipynb"}
"""What a browser or a notebook opens; other files are shown as code."""
PROTOCOL = [f"proto/{path.name}.md" for path in ROOT.glob("proto/*.proto")]
"""The pages of the messages, which have places in the navigation."""


def pages() -> list[str]:
    """The Markdown files of the repository, but for those of GitHub's own forms."""
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in sorted(set(listed.stdout.splitlines())) if not name.startswith(".")]


def place_in_site(page: str, link: str) -> str:
    """The file of the site that a page's link leads to, from the root of the repository."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if (ROOT / target).is_dir():
        return f"{target}/README.md"
    return target if Path(target).suffix in AS_THEY_ARE else f"{target}.md"


def shown(place: str) -> str:
    """The text of a page that is made for a folder without README, or for a file of code."""
    source = ROOT / place.removesuffix(".md")
    if not source.is_file():
        folder = (ROOT / place).parent
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        return f"# {folder.relative_to(ROOT)}\n\nFiles of the repository:\n\n" + "".join(
            f"- `{name}`\n" for name in names if "__pycache__" not in name
        )
    language = {".proto": "protobuf"}.get(source.suffix, source.suffix.lstrip("."))
    code = source.read_text(encoding="utf-8")
    return f"# {source.relative_to(ROOT)}\n\n`````{language}\n{code.rstrip()}\n`````\n"


def on_files(files: Files, config: Any) -> Files:
    """Takes the files of the repository instead of those of docs_dir alone."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    names = pages()
    for page in names:
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
    led_to = {
        place_in_site(page, link)
        for page in names
        for link in LINK.findall((ROOT / page).read_text(encoding="utf-8"))
        if (ROOT / page).parent.joinpath(link).exists()  # mkdocs reports the others
    }
    for place in sorted({*led_to, *PROTOCOL} - {*names}):
        if (ROOT / place).is_file():
            files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
        else:
            level = InclusionLevel.INCLUDED if place in PROTOCOL else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, place, content=shown(place), inclusion=level))
    files.append(File.generated(config, "iframe-worker.js", abs_src_path=str(ROOT / "tools/docs_site.js")))
    files.append(File.generated(config, "wide.css", content=".md-grid { max-width: 84rem }\n"))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to folders and to code lead to their pages."""
    here = page.file.src_uri

    def led(found: re.Match[str]) -> str:
        return posixpath.relpath(place_in_site(here, found[1]), posixpath.dirname(here) or ".")

    return LINK.sub(led, markdown)
