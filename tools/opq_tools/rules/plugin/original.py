"""`opq-tools plugin install` of a folder with plug-ins of the original Mauka, into a running Mauka."""

import sys
import time
from pathlib import Path

import click

from opq_cloud.mauka.operating.manager_client import query_manager, succeeded
from opq_cloud.mauka.original.deployments import PluginDeployment, PluginDeployments
from opq_plugins.original.layout import listed_plugins, plugin_files
from opq_proto.errors import OpqError

POLL_S = 0.3
ANSWER_S = 5.0
LOAD_S = 120.0


def install_original(folder: Path, watch: bool, name: str | None, where: str) -> None:
    """Loads the plug-ins; with `watch`, again after each change, until Ctrl-C. Exit code 1 on failure.

    If a plug-in does not start, nothing is changed.
    """
    folder = folder.resolve()
    seen = stamps(folder)  # before the push, so that files saved during it are pushed too
    pushed = push(folder, where, name)
    if not watch:
        sys.exit(0 if pushed else 1)
    click.echo(f"watching {folder}; Ctrl-C ends it", err=True)
    try:
        while True:
            time.sleep(POLL_S)
            now = stamps(folder)
            if now != seen:
                seen = now
                push(folder, where, name)
    except KeyboardInterrupt:
        return


def push(folder: Path, where: str, name: str | None = None) -> bool:
    """Copies plug-ins to Mauka's folder and loads them; False, with a line on stderr, on failure."""
    try:
        listed_plugins(folder)  # first: needs no Mauka
        target = query_manager("plugin-folder", where, ANSWER_S)
        if not succeeded(target):
            click.echo(target, err=True)
            return False
        deployed = _deployed(folder, Path(target), name)
        answer = query_manager(f"load-plugin {deployed.name}", where, LOAD_S)
    except OpqError as error:
        click.echo(f"opq-tools: {error}", err=True)
        return False
    click.echo(answer, err=not succeeded(answer))
    return succeeded(answer)


def _deployed(folder: Path, target: Path, name: str | None) -> PluginDeployment:
    try:
        return PluginDeployments(target).add(folder, name)
    except PermissionError as error:
        hint = "it is written as the user that Mauka runs as, on Mauka's machine"
        raise click.ClickException(f"{target}: {error.strerror}; {hint}") from error


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """File -> (time of its change, size). A file that is being replaced may be missing."""
    found: dict[str, tuple[int, int]] = {}
    try:
        for path in plugin_files(folder):
            state = path.stat()
            found[str(path)] = state.st_mtime_ns, state.st_size
    except (OSError, OpqError):
        pass
    return found
