"""The golden vectors in MicroPython with the Box's C modules: its unix port on this PC, and the firmware
itself, at its prompt on the emulated board."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from golden_script import PRELUDE, Case, cases, collect, dialogue
from host_library import CMODULES, DEVICE
from prompt_on_qemu import REPL_PIN, played, typed

from opq_hil.backends.debian_source import cache_folder
from opq_hil.world.world import World
from opq_proto.errors import OpqError

UNIX = DEVICE / "port" / "unix"
MODULES = ("opq", "link", "dsp")
"""Those of `cmodules` that another port than ours builds."""


def micropython_of_the_box(cache: Path) -> Path:
    """The unix port with the Box's pure modules; built once per content of sources (13 s)."""
    from opq_tools.firmware import toolchain

    if shutil.which("cc") is None:
        pytest.skip("no C compiler here: apt install gcc libc6-dev")
    try:
        tools = toolchain.find_toolchain()
    except OpqError as problem:
        pytest.skip(str(problem))
    rooms = [CMODULES / name for name in (*MODULES, "acquire")]
    sources = [path for room in rooms for path in (*room.glob("*.[ch]"), *room.glob("micropython.mk"))]
    facts = hashlib.sha256(str(tools.micropython.path).encode())
    for path in sorted([*sources, *UNIX.iterdir()]):
        facts.update(path.name.encode() + path.read_bytes())
    folder = cache / f"micropython-unix-{facts.hexdigest()[:16]}"
    binary = folder / "build" / "micropython"
    if binary.exists():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    command = (
        tools.make,
        "-C",
        str(tools.micropython.path / "ports/unix"),
        "-j2",
        f"VARIANT_DIR={UNIX}",
        "VARIANT=opq",
        f"BUILD={folder / 'build'}",
        f"USER_C_MODULES={CMODULES}",
        "FROZEN_MANIFEST=",
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return binary


def judge(all_cases: list[Case]) -> None:
    wrong = []
    for case in all_cases:
        try:
            case.judge(case.printed)
        except (AssertionError, ValueError) as problem:
            wrong.append(f"{case.name}: {problem}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(600)
def test_the_unix_port_holds_every_golden_vector(tmp_path: Path) -> None:
    binary = micropython_of_the_box(cache_folder())
    all_cases = cases()
    script = tmp_path / "golden.py"
    script.write_text("\n".join([PRELUDE, *(line for case in all_cases for line in case.statements)]))
    done = subprocess.run(
        [binary, "-X", "heapsize=64m", script], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    collect(all_cases, done.stdout)
    judge(all_cases)


def test_the_pages_dialogue_is_what_the_prompt_answers(tmp_path: Path) -> None:
    said = dialogue()
    assert len([answer for _, answer in said if answer]) == 2
    script = tmp_path / "page.py"
    script.write_text("\n".join(f"print(repr({text}))" if answer else text for text, answer in said))
    binary = micropython_of_the_box(cache_folder())
    done = subprocess.run([binary, script], capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.splitlines() == [answer for _, answer in said if answer], done.stderr


STATEMENT_NS = 12_000_000
"""What the Box may take for one statement: a push of 200 samples is 3 ms of its processor."""


@pytest.mark.timeout(600)
def test_the_firmware_holds_golden_vectors(tmp_path: Path) -> None:
    all_cases = cases()
    statements = [PRELUDE, *(line for case in all_cases for line in case.statements)]
    messages, end_ns = typed([(statement, STATEMENT_NS) for statement in statements])
    world = World(
        end_ns=end_ns + 100_000_000,
        mains=None,
        gps=None,
        messages=tuple(messages),
        pins=((REPL_PIN, 0, False),),
    )
    _, lines = played(world, tmp_path, wall_limit_s=280)
    assert not [line for line in lines if "Error" in line]
    collect(all_cases, "\n".join(lines))
    judge(all_cases)
