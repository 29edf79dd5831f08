"""The workflow for forks: every job that plays scenarios can, and one that played none is not green."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from opq_hil.backends import packages, pinned, qemu_build
from opq_hil.suites.catalogue import SCENARIOS
from opq_tools.firmware import toolchain

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / ".github/workflows/hil.yml").read_text()
WORKFLOW: dict[str, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
RECORDED = {"dip", "live_gateway"}
"""Scenarios with the recorded dip, which a machine may not have."""
PLAYS = re.compile(r"hil run|tools/test|renode_robot")


def commands(job: dict[str, Any]) -> str:
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


def used(job: dict[str, Any]) -> list[str]:
    return [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step]


PLAYING = {name: job for name, job in JOBS.items() if PLAYS.search(commands(job))}


def test_the_jobs_that_play_are_these() -> None:
    assert set(PLAYING) == {"scenarios", "tests", "nightly", "renode"}


@pytest.mark.parametrize("name", [name for name in JOBS if name != "renode"])
def test_what_needs_debians_source_packages_runs_in_debian(name: str) -> None:
    """`debian_source.mirror()` refuses elsewhere, and each test of the binary would be skipped."""
    assert JOBS[name]["container"] == "debian:trixie"
    assert "apt-get install --yes --no-install-recommends $PACKAGES" in commands(JOBS[name])


def test_the_packages_are_those_that_the_builds_name() -> None:
    listed = set(WORKFLOW["env"]["PACKAGES"].split())
    needed = {*qemu_build.PROGRAMS.values(), *qemu_build.LIBRARIES.values(), *qemu_build.HEADERS.values()}
    needed |= {*toolchain.PACKAGES, "dpkg-dev", "git", "python3-venv", "ca-certificates"}
    assert needed <= listed
    assert listed - needed <= {*packages.NAMES, "python3"}


@pytest.mark.parametrize("name", PLAYING)
def test_firmware_and_emulator_are_built_once(name: str) -> None:
    job = PLAYING[name]
    assert job["needs"] == "firmware"
    assert "actions/download-artifact" in used(job)
    assert "opq-tools firmware" not in commands(job) and "qemu_build" not in commands(job)
    first = commands(JOBS["firmware"])
    assert "firmware build" in first and "opq_hil.backends.qemu_build" in first
    for variable in ("OPQ_QEMU", "OPQ_FIRMWARE_DIR", "OPQ_FIRMWARE_KEY"):
        assert f"{variable}=$PWD/build/" in first
    if name != "renode":
        assert 'build/environment >> "$GITHUB_ENV"' in commands(job)


@pytest.mark.parametrize("name", PLAYING)
def test_a_green_job_ran_the_firmware(name: str) -> None:
    lines = [line for line in commands(PLAYING[name]).splitlines() if PLAYS.search(line)]
    without_recordings = {key for key, each in SCENARIOS.items() if not each.soak and key not in RECORDED}
    for line in lines:
        if "hil run" in line:
            (least,) = re.findall(r"--at-least (\d+)", line)
            assert 0.9 * len(without_recordings) <= int(least) <= len(without_recordings)
        elif "tools/test" in line:
            assert line.endswith("--hil-required")
        else:
            assert "renode_robot" in line  # ends with 1 where a test failed, with 3 without Renode


def test_micropythons_port_is_built_as_documented() -> None:
    page = (ROOT / "device/README.md").read_text()
    job = commands(JOBS["micropython-stm32"])
    [board] = set(re.findall(r"BOARD=(\w+)", job))
    assert set(re.findall(r"ports/stm32 BOARD=(\w+)", page)) == {board}
    for text in (page, job):
        assert set(re.findall(r"--branch (\S+)", text)) == set(pinned.MICROPYTHON.commits.values())
    modules = {path.parent.name for path in (ROOT / "device/cmodules").glob("*/micropython.mk")}
    everywhere = {name for name in modules if not mk(name).startswith("ifdef OPQ_PORT")}
    assert everywhere == {"opq", "dsp", "link"}
    assert set(re.findall(r"grep opq_(\w+)_module", job)) == everywhere - {"opq"}


def mk(name: str) -> str:
    return (ROOT / "device/cmodules" / name / "micropython.mk").read_text()


def test_every_room_is_tested_by_a_job() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/tests") if path.is_dir()}
    assert set(JOBS["tests"]["strategy"]["matrix"]["room"]) == rooms


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if "tools/test" in commands(job)])
def test_git_lists_a_runners_checkout(name: str) -> None:
    """In a container the tests are root and the files are not: git refuses, and test_documents.py skips."""
    lines = commands(JOBS[name]).splitlines()
    [allowed] = [number for number, line in enumerate(lines) if 'safe.directory "$PWD"' in line]
    assert allowed < min(number for number, line in enumerate(lines) if "tools/test" in line)


def test_both_emulators_come_to_the_same() -> None:
    """On one firmware: the compiler there is not that of hil/digests, so neither is its firmware."""
    [kept] = re.findall(r"hil digests --firmware build/firmware --keep (\S+)", commands(JOBS["firmware"]))
    shared = [step["with"]["path"] for step in JOBS["firmware"]["steps"] if "upload" in step.get("uses", "")]
    assert kept in shared[0].split()
    compared = commands(JOBS["renode"])
    assert f"hil digests --backend renode --firmware build/firmware --against {kept} --keep" in compared
    assert compared.index("renode_robot") < compared.index("hil digests")  # which makes renode-results


def test_the_job_renode_is_required() -> None:
    """It has no condition, a red one is red, and our command fetches the archive by its checksum."""
    assert "if" not in JOBS["renode"] and "continue-on-error" not in JOBS["renode"]
    assert "opq-tools hil renode --fetch" in commands(JOBS["renode"])
    assert "github.com/renode" not in TEXT  # where it comes from stands in hil/renode.lock alone
