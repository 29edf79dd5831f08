"""A hook of mkdocs (../mkdocs.yml): the pages of the site are the Markdown files of the repository.

Links between them stay as they are written. A link to a folder leads to its README or to a list of its files;
one to code leads to a page that shows it. The page of a .proto file is made of what protoc reads in it.
"""

import posixpath
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
AS_THEY_ARE = {".md", ".png", ".svg", ".ipynb"}
"""What a browser or a notebook opens; other files are shown as code."""
FIELD = descriptor_pb2.FieldDescriptorProto


def places(entry: Any) -> Iterator[str]:
    """The pages of a part of the navigation: a page, a title with a page or a list, or a list."""
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from places(inner)


def place_in_site(page: str, link: str) -> str:
    """The file of the site that a page's link leads to, from the root of the repository."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if (ROOT / target).is_dir():
        return f"{target}/README.md"
    return target if Path(target).suffix in AS_THEY_ARE else f"{target}.md"


def shown(place: str) -> str:
    """The text of a page that is made for a folder without README, or for a file."""
    source = ROOT / place.removesuffix(".md")
    if source.suffix == ".proto":
        return messages(source)
    if not source.is_file():
        folder = (ROOT / place).parent
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        return f"# {folder.relative_to(ROOT)}\n\nFiles of the repository:\n\n" + "".join(
            f"- `{name}`\n" for name in names if "__pycache__" not in name
        )
    code = source.read_text(encoding="utf-8")
    return f"# {source.relative_to(ROOT)}\n\n`````{source.suffix.lstrip('.')}\n{code.rstrip()}\n`````\n"


def messages(source: Path) -> str:
    """The reference of a .proto file: each message and enum with its fields, types and comments."""
    with tempfile.NamedTemporaryFile() as out:
        words = ("-m", "grpc_tools.protoc", "--include_source_info", f"--descriptor_set_out={out.name}")
        subprocess.run((sys.executable, *words, f"-I{source.parent}", source.name), check=True)
        file = descriptor_pb2.FileDescriptorSet.FromString(out.read()).file[0]
    comments = {
        tuple(each.path): " ".join((each.leading_comments + each.trailing_comments).split())
        for each in file.source_code_info.location
    }
    own = f".{file.package}." if file.package else "."
    text = [f"# {source.relative_to(ROOT)}", comments[(file.SYNTAX_FIELD_NUMBER,)]]
    text += [f"`{file.syntax or 'proto2'}`" + (f", package `{file.package}`" if file.package else "")]

    def put(kind: Any, path: tuple[int, ...], columns: str, rows: list[tuple[str, ...]]) -> None:
        text.extend((f"## {kind.name}", comments.get(path, "")))
        table = [columns.split(), ["---"] * (columns.count(" ") + 1), *rows]
        if not any(row[-1] for row in rows):  # no comments
            table = [row[:-1] for row in table]
        text.append("\n".join(f"| {' | '.join(row)} |" for row in table) if rows else "It has no fields.")

    def put_enum(enum: Any, path: tuple[int, ...]) -> None:
        says = [comments.get((*path, enum.VALUE_FIELD_NUMBER, k), "") for k in range(len(enum.value))]
        rows = [
            (str(each.number), f"`{each.name}`", said) for each, said in zip(enum.value, says, strict=True)
        ]
        put(enum, path, "number value meaning", rows)

    def put_message(message: Any, path: tuple[int, ...]) -> None:
        entries = {f"{own}{message.name}.{each.name}": each for each in message.nested_type}
        rows = []
        for k, field in enumerate(message.field):
            kind = type_of(field, entries)
            if field.HasField("oneof_index") and not field.proto3_optional:
                kind += f", one of `{message.oneof_decl[field.oneof_index].name}`"
            said = comments.get((*path, message.FIELD_FIELD_NUMBER, k), "").replace("|", "\\|")
            rows.append((str(field.number), f"`{field.name}`", kind, said))
        put(message, path, "number field type meaning", rows)
        for k, enum in enumerate(message.enum_type):
            put_enum(enum, (*path, message.ENUM_TYPE_FIELD_NUMBER, k))

    def type_of(field: Any, entries: dict[str, Any]) -> str:
        if field.type_name in entries:
            key, value = (type_of(each, {}) for each in entries[field.type_name].field)
            return f"map of {key} to {value}"
        name = field.type_name.removeprefix(own)
        kind = (
            f"[{name}](#{name.rpartition('.')[2].lower()})"
            if name
            else FIELD.Type.Name(field.type)[5:].lower()
        )
        if field.label == FIELD.LABEL_REPEATED:
            return f"list of {kind}"
        optional = field.proto3_optional or (not file.syntax and field.label == FIELD.LABEL_OPTIONAL)
        return f"{kind}, optional" if optional else kind

    for k, enum in enumerate(file.enum_type):
        put_enum(enum, (file.ENUM_TYPE_FIELD_NUMBER, k))
    for k, message in enumerate(file.message_type):
        put_message(message, (file.MESSAGE_TYPE_FIELD_NUMBER, k))
    code = source.read_text(encoding="utf-8").rstrip()
    return "\n\n".join((*filter(None, text), f"## The file\n\n`````protobuf\n{code}\n`````\n"))


def on_config(config: Any) -> Any:
    """The foot of each page names the version that it describes."""
    config.copyright = f"OPQ toolkit {version('opq-toolkit')}"
    return config


def on_files(files: Files, config: Any) -> Files:
    """Takes the files of the repository that the navigation names, and those that they link to."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    named = set(places(config.nav))
    pages = {place for place in named if (ROOT / place).is_file()}  # mkdocs reports the others
    led_to = {
        place_in_site(page, link)
        for page in pages
        for link in LINK.findall((ROOT / page).read_text(encoding="utf-8"))
        if (ROOT / page).parent.joinpath(link).exists()  # here, too
    }
    made = {place for place in named - pages if (ROOT / place.removesuffix(".md")).is_file()}
    for place in sorted(pages | led_to | made):
        there = (ROOT / place).is_file()
        source = {"abs_src_path": str(ROOT / place)} if there else {"content": shown(place)}
        level = InclusionLevel.UNDEFINED if place in named else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, place, inclusion=level, **source))
    files.append(File.generated(config, "iframe-worker.js", abs_src_path=str(ROOT / "tools/docs_site.js")))
    files.append(File.generated(config, "wide.css", content=".md-grid { max-width: 84rem }\n"))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to folders and to code lead to their pages."""
    here = page.file.src_uri

    def led(found: re.Match[str]) -> str:
        return posixpath.relpath(place_in_site(here, found[1]), posixpath.dirname(here) or ".")

    return LINK.sub(led, markdown)
