"""`opq-tools plugin new`: writes a folder with a working plug-in, its test, its samples and a Dockerfile."""

import re
from pathlib import Path

import click

from opq_proto.errors import PluginError

TEMPLATE = Path(__file__).parent / "template"
ENGINE = {"source": "sources", "sink": "sinks", "function": "functions"}
TAKES = ("Event", "Measurement")
FOLDERS = {**ENGINE, "trigger": "triggers", "analysis": "analyses"}


@click.command("new", short_help="Write a new, working plug-in to start from.")
@click.argument("kind", type=click.Choice(list(FOLDERS)))
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--takes",
    type=click.Choice(TAKES),
    default=TAKES[0],
    show_default=True,
    help="What a new analysis takes; others that it may take: docs/plugins-analyses.md.",
)
def command(kind: str, name: str, folder: Path | None, takes: str) -> None:
    """Write a new plug-in of KIND called NAME into FOLDER (default: NAME).

    Example: opq-tools plugin new sink mysql mysql-sink
    """
    if kind != "analysis" and takes != TAKES[0]:
        raise click.UsageError(f"--takes is for an analysis, not for a {kind}")
    for path in new_plugin(kind, name, folder or Path(name), takes):
        click.echo(path)


def new_plugin(kind: str, name: str, folder: Path, takes: str = "Event") -> list[Path]:
    """Writes a plug-in; returns its files. Raises PluginError: the folder has files, or a bad name."""
    template = kind if takes == TAKES[0] else f"{kind}_of_{takes.lower()}s"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
        raise PluginError(f"{name!r}: want letters, digits and _, a letter first")
    if folder.exists() and any(folder.iterdir()):
        raise PluginError(f"{folder} is not empty; nothing was written")
    written = []
    for each in ENGINE.values() if kind in ENGINE else (FOLDERS[kind],):
        (folder / each).mkdir(parents=True, exist_ok=True)
    (folder / "tests").mkdir()
    places = {
        TEMPLATE / f"{template}.py.txt": folder / FOLDERS[kind] / f"{name}.py",
        TEMPLATE / f"{template}.json.txt": folder / FOLDERS[kind] / f"{name}.json",
        TEMPLATE / f"{template}.samples.json.txt": folder / "samples.json",
        TEMPLATE / f"{template}.test.py.txt": folder / "tests" / f"test_{name}.py",
        TEMPLATE / "plugin.json.txt": folder / "plugin.json",
        TEMPLATE / "README.md.txt": folder / "README.md",
        TEMPLATE / "Dockerfile.txt": folder / "Dockerfile",
    }
    for source, target in places.items():
        if not source.exists():
            continue
        text = source.read_text(encoding="utf-8")
        text = text.replace("@NAME@", name).replace("@KIND@", kind).replace("@FOLDER@", FOLDERS[kind])
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return written
