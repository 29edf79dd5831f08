"""The tab key in real shells: commands, options, and Boxes of a store; nothing where there is nothing."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from opq_cloud.store import BoxRecord, open_store
from opq_tools.cli import tools

PROGRAM = Path(sys.executable).parent
SHELLS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"no {name} here"))
    for name in ("bash", "zsh", "fish")
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose default data folder has two Boxes."""
    home = tmp_path_factory.mktemp("home")
    (home / ".local" / "share" / "opq").mkdir(parents=True)
    store = open_store(None, home / ".local" / "share" / "opq")
    store.put_box(BoxRecord("17", "Cellar"))
    store.put_box(BoxRecord("18", "Attic"))
    store.close()
    return home


def environment(home: Path) -> dict[str, str]:
    path = f"{PROGRAM}:{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "TERM": "dumb", "LC_ALL": "C.UTF-8", "PS1": "> "}


def offered(shell: str, lines: Sequence[str], home: Path) -> list[list[str]]:
    """What one shell offers at the end of each line."""
    load = f"opq-tools completion {shell}"
    if shell == "bash":
        script = f'eval "$({load})"\n'
        for line in lines:
            words = line.split(" ")
            script += f'COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); COMP_CWORD={len(words) - 1}\n'
            script += 'COMPREPLY=(); _opq_tools_completion opq-tools; printf "%s\\n" "${COMPREPLY[@]}" ---\n'
    else:
        script = f"{load} | source\n" + "".join(f'complete -C "{line}"; echo ---\n' for line in lines)
    done = subprocess.run(
        [shell, "-c", script], env=environment(home), capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stderr == "", done.stderr
    pieces = done.stdout.split("---\n")[:-1]
    return [[each.partition("\t")[0] for each in piece.split("\n") if each] for piece in pieces]


def typed_in_zsh(line: str, home: Path, until: str) -> str:
    """What an interactive zsh shows after the line and the tab key."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment(home))
    load = 'autoload -U compinit; compinit -u -D; eval "$(opq-tools completion zsh)"; echo loaded\n'
    try:
        read_until(terminal, "> ")
        os.write(terminal, load.replace("lo''aded", "lo''aded").encode())
        read_until(terminal, "\nloaded")
        os.write(terminal, f"{line}\t\t".encode())  # the first inserts what all have, the second lists
        return read_until(terminal, until)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, wanted: str) -> str:
    text, end = "", time.monotonic() + 240
    while wanted not in text.replace("\r", ""):
        assert time.monotonic() < end and select.select([terminal], [], [], 60)[0], text
        text += os.read(terminal, 65_536).decode("utf-8", "replace")
    return text


OFFERED = {
    "opq-tools b": ["backup", "bench", "box", "boxes"],
    "opq-tools boxes show ": ["17", "18"],
    "opq-tools incidents show --box 18": ["18"],
    "opq-tools logs --lev": ["--level"],
    "opq-tools logs --level wa": ["warning"],
    "opq-tools up --scenario village_": ["village_random"],
    "opq-tools rules show ": [],  # no rule engine runs
}
"""Line -> what is offered at its end."""


@pytest.mark.parametrize("shell", [each for each in SHELLS if each.values[0] != "zsh"])
def test_a_shell_offers_commands_options_and_values(shell: str, home: Path) -> None:
    lines = list(OFFERED) if shell == "bash" else list(OFFERED)[:2]  # each is a process of ours
    found = offered(shell, lines, home)
    assert [sorted(each) for each in found] == [OFFERED[line] for line in lines]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_lists_boxes_with_their_names(home: Path) -> None:
    assert "Attic" in typed_in_zsh("opq-tools boxes show ", home, "Cellar")


def test_completion_imports_no_command(home: Path) -> None:
    code = (
        "import sys; from opq_tools.cli import tools\n"
        "try: tools(prog_name='opq-tools')\n"
        "except SystemExit: print(*sorted(each for each in sys.modules if each.startswith('opq_tools.')))"
    )
    asked = {"_OPQ_TOOLS_COMPLETE": "bash_complete", "COMP_WORDS": "opq-tools ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home) | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"plain,{next(iter(tools.list_commands(None)))}" in done.stdout  # type: ignore[arg-type]
    assert done.stdout.splitlines()[-1] == "opq_tools.cli opq_tools.lazy_group"
