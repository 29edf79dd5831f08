"""docs/hil-in-your-repository.md: firmware, emulator and tests from a wheel, in an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from opq_hil.backends import our_sources, packages, qemu_build
from opq_hil.backends.backend import Backend
from opq_hil.backends.firmware import FLASH_FILE, REPORT_FILE, Firmware, FirmwareError, read_firmware
from opq_hil.suites.catalogue import SCENARIOS
from opq_proto.keys.signing import development_key, firmware_public_key, new_key
from opq_tools.firmware import toolchain
from opq_tools.firmware.sources import ROOMS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/hil-in-your-repository.md").read_text(encoding="utf-8")
README = (ROOT / "hil/README.md").read_text(encoding="utf-8")
WHEEL: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
    "targets"
]["wheel"]
DATA = "opq_hil/sources/"
PLAY_LIMIT_S = 600.0
"""Ends what hangs; the commands take seconds."""


def block(page: str, language: str) -> str:
    """The only block of a page in a language."""
    [text] = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(text)


def data_of_the_wheel() -> Iterator[tuple[Path, str]]:
    """Each file of the clone that the wheel has as data of opq_hil, with its path in the wheel."""
    for source, target in WHEEL["force-include"].items():
        if target.startswith(DATA):
            top = ROOT / source
            files = top.rglob("*") if top.is_dir() else [top]
            for path in files:
                if path.is_file() and "__pycache__" not in path.parts:
                    yield path, target if top.is_file() else f"{target}/{path.relative_to(top).as_posix()}"


def test_the_wheel_has_all_sources_at_their_places() -> None:
    assert Path(our_sources.__file__).parents[2] / DATA == our_sources.WHEEL_DATA
    data = {target.removeprefix(DATA): path for path, target in data_of_the_wheel()}
    assert all(path == ROOT / name for name, path in data.items())  # the tree of the clone
    named = set()
    for folder in ("hil/opq_hil", "tools/opq_tools"):
        for path in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"our_source\(\"([^\"]+)\"\)", path.read_text(encoding="utf-8")))
    assert {"device", "hil/qemu", "hil/renode/box.resc", "hil/renode/robot", "hil/renode.lock"} <= named
    needed = {Path("hil/digests/qemu.json"), *(Path("device") / room for room in ROOMS)}
    for name in {*needed, *map(Path, named - {"device"})}:
        files = [name, *(path.relative_to(ROOT) for path in (ROOT / name).rglob("*"))]
        wanted = {
            path.as_posix() for path in files if (ROOT / path).is_file() and "__pycache__" not in path.parts
        }
        assert wanted and wanted <= set(data), name
    assert not [name for name in data if "tests" in Path(name).parts or "analogue" in Path(name).parts]
    assert WHEEL["exclude"] == ["hil/opq_sim/faults"]


WORKFLOW: Mapping[str, Any] = yaml.safe_load(block(PAGE, "yaml"))
STEPS = WORKFLOW["jobs"]["hil"]["steps"]
ACTION = yaml.safe_load((ROOT / ".github/actions/hil/action.yml").read_text(encoding="utf-8"))


def test_the_workflow_calls_the_action_of_this_repository() -> None:
    [used] = [step["uses"] for step in STEPS if "opq-toolkit" in step.get("uses", "")]
    assert used == "OWNER/opq-toolkit/.github/actions/hil@main"
    assert ACTION["runs"]["using"] == "composite"
    installs, toolkit = (step["run"] for step in ACTION["runs"]["steps"][:2])
    needed = {*qemu_build.PROGRAMS.values(), *qemu_build.LIBRARIES.values(), *qemu_build.HEADERS.values()}
    needed |= {*toolchain.PACKAGES, "dpkg-dev", "python3-venv"}
    assert (
        needed
        <= set(installs.split())
        <= {
            *needed,
            *packages.NAMES,
            *installs.split()[:6],
            "git",
            "python3",
            "ca-certificates",
            "--no-install-recommends",
            "install",
        }
    )
    assert "'.[firmware,hil]' pytest" in toolkit and '"$GITHUB_ACTION_PATH/../../.."' in toolkit
    assert WORKFLOW["jobs"]["hil"]["container"] == "debian:trixie"  # whose source packages are built


def test_the_workflow_is_red_where_nothing_is_played() -> None:
    lines = [step["run"] for step in STEPS if "run" in step]
    [played] = [line.split() for line in lines if "hil run" in line]
    names = [word for word in played if word in SCENARIOS]
    assert names and played[played.index("--at-least") + 1] == str(len(names))
    assert any(line.startswith("pytest ") and "--hil-required" in line for line in lines)
    typed = block(PAGE, "sh")
    for line in lines:
        assert line.split(" --out")[0].split(" --hil-keep")[0] in typed


def copied_build(firmware: Firmware, folder: Path) -> Path:
    """A copy of a build, without objects, where `opq-tools firmware build` in `folder` would put it."""
    made = firmware.image.flash.parent
    copy = folder / our_sources.BUILT / made.name
    shutil.copytree(made, copy, ignore=shutil.ignore_patterns("obj"))
    return copy


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with opq_hil as the wheel has it."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "hil/opq_hil", site / "opq_hil", ignore=shutil.ignore_patterns("__pycache__"))
    for path, target in data_of_the_wheel():
        (site / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, site / target)
    return site


def without_ours(**more: str) -> dict[str, str]:
    """The environment without what names firmware or key."""
    ours = ("OPQ_FIRMWARE_DIR", "OPQ_FIRMWARE_KEY", "PYTEST_ADDOPTS")
    return {name: value for name, value in os.environ.items() if name not in ours} | more


def test_examples_run_in_an_empty_folder(
    hil_backend: Backend, hil_firmware: Mapping[str, Firmware], installed: Path, tmp_path: Path
) -> None:
    build = copied_build(hil_firmware["opqbox"], tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_box.py").write_text(block(PAGE, "python"), encoding="utf-8")
    (tmp_path / "tests/test_readme.py").write_text(block(README, "python"), encoding="utf-8")
    environment = without_ours(PYTHONPATH=str(installed))
    asked = "from opq_hil.backends import our_sources as o; print(o.clone(), o.our_source('device'))"
    told = subprocess.run(
        (sys.executable, "-c", asked),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["None", str(installed / DATA / "device")]
    find = (
        "from opq_tools.hil.built_firmware import chosen_firmware as c; "
        "print(c(None, ('opqbox',), print)['opqbox'].image.flash)"
    )
    told = subprocess.run(
        (sys.executable, "-c", find),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-1] == str(build / FLASH_FILE)  # the same sources: it is not built again
    words = (
        "-m",
        "pytest",
        "-p",
        "opq_hil.plugin",
        "-q",
        "-p",
        "no:cacheprovider",
        "--hil-required",
        "tests",
    )
    done = subprocess.run(
        (sys.executable, *words),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PLAY_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


def built(folder: Path, fingerprint: str) -> Path:
    board = folder / "opqbox"
    board.mkdir(parents=True)
    (board / FLASH_FILE).write_bytes(b"")
    (board / REPORT_FILE).write_text(json.dumps({"images": {"key_fingerprint": fingerprint}}))
    return folder


def test_a_build_finds_the_key_that_signed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for variable in ("OPQ_FIRMWARE_DIR", "OPQ_FIRMWARE_KEY"):
        monkeypatch.delenv(variable, raising=False)
    assert read_firmware(built(tmp_path / "early", "00" * 8))["opqbox"].key is None  # no key was made by that
    assert not (tmp_path / "data").exists()
    key = development_key(tmp_path / "data/opq")
    other = tmp_path / "other.pem"
    new_key(other)
    ours = built(tmp_path / "ours", firmware_public_key(key).fingerprint)
    theirs = built(tmp_path / "theirs", firmware_public_key(other).fingerprint)
    assert read_firmware(ours)["opqbox"].key == key
    assert read_firmware(theirs)["opqbox"].key is None
    monkeypatch.setenv("OPQ_FIRMWARE_KEY", str(other))
    assert read_firmware(theirs)["opqbox"].key == other


def test_firmware_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPQ_FIRMWARE_DIR", raising=False)
    monkeypatch.setattr(our_sources, "CLONE", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FirmwareError, match="opq-tools firmware build"):
        read_firmware()
    built(tmp_path / "build/firmware", "00" * 8)
    assert read_firmware()["opqbox"].image.flash == tmp_path / "build/firmware/opqbox" / FLASH_FILE


@pytest.mark.slow  # minutes: a wheel, an environment, a firmware from nothing, three scenarios
@pytest.mark.timeout(3600)
def test_the_pages_lines_run_from_the_wheel(hil_backend: Backend, tmp_path: Path) -> None:
    """Third-party packages are this environment's; each line of ours comes from the wheel."""
    made = subprocess.run(
        (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no wheel without the package index: {made.stderr.strip().splitlines()[-1:]}")
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {target for _, target in data_of_the_wheel()} <= names
    assert not [name for name in names if name.startswith("opq_sim/faults/")]
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    [site] = environment.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    # a path in a .pth file is searched after the folder of that file, and its own .pth files are not read
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (environment / "bin/opq-tools").write_text(
        f"#!{environment}/bin/python\nimport sys\nfrom opq_tools.cli import main\nsys.exit(main())\n"
    )
    (environment / "bin/pytest").write_text(f'#!/bin/sh\nexec {environment}/bin/python -m pytest "$@"\n')
    for name in ("opq-tools", "pytest"):
        (environment / "bin" / name).chmod(0o755)
    folder = tmp_path / "empty"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests/test_box.py").write_text(block(PAGE, "python"), encoding="utf-8")
    where = without_ours(PATH=f"{environment}/bin:{os.environ['PATH']}", PYTHONPATH="")
    before = {path for path in site.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}
    for line in (step["run"] for step in STEPS if "run" in step):
        done = subprocess.run(
            line, shell=True, cwd=folder, env=where, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        print(line, done.stderr.strip().splitlines()[-1:], sep="\n")
    after = {path for path in site.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}
    assert after == before  # nothing is written where the toolkit is installed
