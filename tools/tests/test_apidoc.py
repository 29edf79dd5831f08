"""The API pages, in full; tools/test looks at imports and docstrings only, in seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "apidoc.py"


@pytest.mark.slow  # a minute of CPU; a module that cannot be documented fails tools/test without it
def test_a_page_of_each_module_is_built(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--without-source", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.rglob("*.html")}
    assert {Path("opq_proto/messages"), Path("opq_cloud/view/view_service"), Path("opq_tools/cli")} <= pages
