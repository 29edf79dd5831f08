"""The app by mypy, with MicroPython's stubs (micropython-stm32-stubs) and our own; and its numbers."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from golden_script import dialogue
from host_library import DEVICE

from opq_proto.link import log_codes
from opq_proto.link import messages as link_messages

APP = DEVICE / "app"
CONFIG = """\
[mypy]
strict = true
python_version = 3.11

[mypy-_mpy_shed.*,machine,math,micropython]
ignore_errors = true
"""
"""Version 1.25.0.post3 of the stubs has a few errors in these."""


def copy_stubs(folder: Path) -> None:
    """MicroPython's stubs out of site-packages, where mypy would take CPython's for `time`."""
    for name in ("micropython-stm32-stubs", "micropython-stdlib-stubs"):
        try:
            files = importlib.metadata.files(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"no {name} here: pip install micropython-stm32-stubs")
        for file in files or ():
            if file.suffix == ".pyi" or file.name == "VERSIONS":
                target = folder / str(file)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(Path(str(file.locate())).read_bytes())


def test_mypy_reads_the_app_as_micropython(tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    copy_stubs(stubs)
    page = tmp_path / "page.py"
    page.write_text("\n".join(statement for statement, _ in dialogue()), encoding="utf-8")
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config)]
    command += ["--custom-typeshed-dir", str(stubs), "--cache-dir", str(tmp_path / "cache")]
    command += [
        "--no-site-packages",
        "--explicit-package-bases",
        *sorted(str(path) for path in (*APP.glob("*.py"), page)),
    ]
    path = os.pathsep.join([str(APP / "typings"), str(APP), str(stubs)])
    run = subprocess.run(
        command,
        env={**os.environ, "MYPYPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def app_numbers() -> dict[str, int]:
    text = (APP / "codes.py").read_text(encoding="utf-8")
    return {name: int(value) for name, value in re.findall(r"^(\w+) = const\((\d+)\)$", text, re.MULTILINE)}


def test_the_apps_log_codes_have_words() -> None:
    numbers = app_numbers()
    for number, code in log_codes.CODES.items():
        assert numbers[code.name] == number, code.name


def test_the_apps_operations_and_statuses_are_the_links() -> None:
    numbers = app_numbers()
    for operation in link_messages.Operation:
        name = "REPL_OPERATION" if operation.name == "REPL" else operation.name
        assert numbers[name] == operation, name
    for status in link_messages.Status:
        assert numbers[status.name] == status, status.name


def test_every_log_code_is_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in APP.glob("*.py") if path.name != "codes.py")
    unused = {code.name for code in log_codes.CODES.values() if f"codes.{code.name}" not in text}
    assert not unused
