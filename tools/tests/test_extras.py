"""Parts can be left out: each command loads with its own extras, and without them says which it wants."""

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from free_ports import free_offset

from opq_proto.keys.key_files import KeyFolder
from opq_tools.cli import COMMANDS, EXTRA_OF_MODULE, EXTRAS_OF_COMMAND, extras_for

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
MODULE_OF_PACKAGE = {
    "argon2-cffi": "argon2",
    "paho-mqtt": "paho",
    "pyelftools": "elftools",
    "pyserial": "serial",
    "python-jsonpath": "jsonpath",
    "pyyaml": "yaml",
}
WITHOUT = """
import importlib, sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {lacking!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Lacking())
from {place} import main
for words in {calls!r}:
    sys.argv = [{program!r}, *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def modules_of(extras: tuple[str, ...]) -> set[str]:
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    found: set[str] = set()
    for extra in extras:
        for requirement in declared[extra]:
            if requirement.startswith("opq-toolkit["):
                found |= modules_of(tuple(requirement[12:].rstrip("]").split(",")))
            else:
                package = requirement.split(">")[0].split("=")[0]
                found.add(MODULE_OF_PACKAGE.get(package, package.replace("-", "_")))
    return found


def help_without(commands: list[str], lacking: set[str]) -> subprocess.CompletedProcess[str]:
    calls = [(command, "--help") for command in commands]
    return run_without(lacking, "opq_tools.cli", "opq-tools", *calls)


def run_without(
    lacking: set[str], place: str, program: str, *calls: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """One process, which ends at the first call that fails."""
    code = WITHOUT.format(lacking=lacking, place=place, program=program, calls=calls)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )


def extras_of(command: str) -> tuple[str, ...]:
    return EXTRAS_OF_COMMAND.get(command, ("signing",) if command == "sign" else ())


@pytest.mark.parametrize("extras", sorted({extras_of(command) for command in COMMANDS}), ids=",".join)
def test_commands_load_with_nothing_but_their_extras(extras: tuple[str, ...]) -> None:
    commands = [command for command in COMMANDS if extras_of(command) == extras]
    done = help_without(commands, set(EXTRA_OF_MODULE) - modules_of(extras))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: opq-tools ") == len(commands)


@pytest.mark.parametrize(
    ("command", "extras"),
    [("flash", "flash"), ("firmware", "firmware"), ("hil run", "hil,firmware")],
)
def test_a_command_names_all_missing_extras(command: str, extras: str) -> None:
    words = (*command.split(), "--help")
    done = run_without(set(EXTRA_OF_MODULE), "opq_tools.cli", "opq-tools", words)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"pip install 'opq-toolkit[{extras}]'" in done.stderr


def test_a_partial_need_is_named_beside_the_commands() -> None:
    assert extras_for("up", "elftools") == ("cloud", "hil", "firmware")
    assert extras_for("up", "cobs") == ("cloud", "hil")
    assert extras_for("analyze", "matplotlib") == ("analyze",)
    assert extras_for("up", "somebody_elses") == ()


@pytest.mark.parametrize(("room", "word"), [("cloud", "all"), ("gateway", "run")])
def test_a_service_names_its_missing_extra(room: str, word: str, tmp_path: Path) -> None:
    entry = tomllib.loads(PYPROJECT.read_text())["project"]["scripts"][f"opq-{room}"]
    words = (word, "--data-dir", str(tmp_path))
    done = run_without(set(EXTRA_OF_MODULE), entry.removesuffix(":main"), f"opq-{room}", words)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith(f"which is not installed: pip install 'opq-toolkit[{room}]'\n")
    assert done.stderr.count("\n") == 1
    own = set(EXTRA_OF_MODULE) - modules_of((room,))
    assert run_without(own, entry.removesuffix(":main"), f"opq-{room}", ("--help",)).returncode == 0


def test_makai_and_mauka_run_without_a_web_framework(tmp_path: Path) -> None:
    lacking = modules_of(("cloud",)) - modules_of(("makai", "mauka"))
    assert {"fastapi", "starlette", "uvicorn", "jinja2", "pymongo", "cryptography"} <= lacking
    words = ("all", "--without", "view,notifications,update", "--data-dir", str(tmp_path))
    code = WITHOUT.format(
        lacking=lacking,
        place="opq_cloud.__main__",
        program="opq-cloud",
        calls=[(*words, "--port-offset", str(free_offset()))],
    )
    KeyFolder(tmp_path / "curve").create(server=True, box_ids=("1",))
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            ready = ""
            lines = []
            while not ready and (line := process.stderr.readline()):
                lines.append(line)
                ready = line if "cloud.ready" in line else ""
            assert ready, lines
            process.send_signal(signal.SIGTERM)
            assert process.wait(240) == 0
        finally:
            process.kill()
    assert '"AnalysisRunner"' in ready and '"view"' not in ready
