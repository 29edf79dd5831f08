"""`opq-tools plugin`: what `new` writes works at once, in the real worker and by its own test."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import opq_plugins.sdk
from opq_plugins.package.packing import signature_bytes
from opq_proto.signing import firmware_public_key, new_key
from opq_tools.plugin import command

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, [str(each) for each in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 1, str(done.exception)
    return done.exit_code, done.output


@pytest.mark.parametrize("kind", ["sink", "source", "function", "trigger", "analysis"])
def test_a_new_plugin_passes_its_tests_and_packs_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "mine"
    code, said = run("new", kind, "mine", folder)
    assert code == 0 and str(folder / "plugin.json") in said
    folders = {"trigger": {"triggers"}, "analysis": {"analyses"}}.get(kind, {"sources", "sinks", "functions"})
    assert folders | {"tests", "Dockerfile", "samples.json"} <= {p.name for p in folder.iterdir()}
    code, said = run("test", folder, "--json", "--seconds", 60)
    told = json.loads(said)
    assert (
        code == 0 and told["good"] and told["results"]["mine 1.0.0"] == "ok" and len(told["results"]) > 1
    ), said
    assert "system calls" in told["protections"]
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")]
    done = subprocess.run(own, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout
    for out in ("a.zip", "b.zip"):
        assert run("pack", folder, "--out", tmp_path / out)[0] == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    code, said = run("test", tmp_path / "a.zip", "--seconds", 60)
    assert code == 0 and "mine 1.0.0: ok" in said


def test_new_does_not_write_over_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = run("new", "sink", "mine", tmp_path)
    assert code == 1 and "not empty" in said and [p.name for p in tmp_path.iterdir()] == ["file"]
    assert "want letters" in run("new", "sink", "../x", tmp_path / "n")[1]


def test_what_does_not_go_as_the_samples_say_is_exit_code_1(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    run("new", "function", "mine", folder)
    (folder / "samples.json").write_text('{"functions": {"mine": {"cases": [{"args": [1], "want": 3}]}}}')
    code, said = run("test", folder)
    assert code == 1 and "gave 2; want 3" in said
    (folder / "functions" / "mine.py").write_text("1 / 0")
    code, said = run("test", folder)
    assert code == 1 and "ZeroDivisionError" in said


def test_a_trigger_or_analysis_that_judges_otherwise_is_told(tmp_path: Path) -> None:
    for kind, folder_of, old, new in (
        ("trigger", "triggers", '"decides": true', '"decides": false'),
        ("analysis", "analyses", '"finds": 1', '"finds": 2'),
    ):
        folder = tmp_path / f"a-{kind}"
        run("new", kind, "mine", folder)
        samples = folder / "samples.json"
        samples.write_text(samples.read_text().replace(old, new))
        code, said = run("test", folder)
        assert code == 1 and "want" in said and "60.0 V is below 96.0 V" in said, said
        (folder / folder_of / "mine.py").write_text("x = 1")
        code, said = run("test", folder)
        assert code == 1 and f"a {kind} plug-in has one" in said


@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("trigger", "loud", "triggers/loud.py"),
        ("analysis", "peak", "analyses/peak.py"),
    ],
)
def test_the_guide_s_triggers_and_analyses_pass_its_samples(
    tmp_path: Path, kind: str, name: str, file: str
) -> None:
    guide = (EXAMPLES.parent / "plugins.md").read_text(encoding="utf-8")
    run("new", kind, name, tmp_path)
    (code,) = re.findall(rf'```python\n("""{name}:.*?)```', guide, re.DOTALL)
    (tmp_path / file).write_text(code)
    (samples,) = (
        each for each in re.findall(r"```json\n(.*?)```", guide, re.DOTALL) if f'"{name}": {{' in each
    )
    (tmp_path / "samples.json").write_text(samples)
    status, said = run("test", tmp_path)
    assert status == 0 and f"{kind} {name} refuses" in said and said.count(f"{kind} {name}, ") > 1, said


def test_pack_signs_the_manifest(tmp_path: Path) -> None:
    public = new_key(tmp_path / "key.pem")
    run("new", "sink", "mine", tmp_path / "mine")
    code, _ = run("pack", tmp_path / "mine", "--out", tmp_path / "m.zip", "--sign", tmp_path / "key.pem")
    assert code == 0
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        manifest, signature = archive.read("plugin.json"), archive.read("plugin.json.sig")
    raw = signature_bytes(signature)
    assert raw is not None and firmware_public_key(public).is_signed(raw, manifest)
    assert set(json.loads(manifest)["sha256"]) >= {"sinks/mine.py", "sinks/mine.json"}


def test_the_mysql_example_is_as_the_guide_says() -> None:
    code, said = run("test", EXAMPLES / "mysql-sink")
    assert code == 0 and "mysql 1.0.0: ok" in said and "refuses" in said, said


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler")
def test_the_example_in_c_builds_and_passes(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / "clip-c", tmp_path / "clip")
    header = Path(opq_plugins.sdk.__file__).parent
    subprocess.run(["make", f"INCLUDE={header}"], cwd=folder, check=True, timeout=120)
    code, said = run("test", folder)
    assert code == 0 and said.count("function clip") == 4, said


def test_each_command_says_how_by_an_example() -> None:
    for name in ("new", "test", "pack"):
        code, said = run(name, "--help")
        assert code == 0 and "Example:" in said and "opq-tools plugin " + name in said
