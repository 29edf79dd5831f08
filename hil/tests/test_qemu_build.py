"""The build of our QEMU, from a small tree whose `configure` we write: what goes wrong does not stay."""

import itertools
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from house_under_test import until

from opq_hil.backends import qemu_build
from opq_hil.backends.build_step import BuildError
from opq_hil.backends.debian_source import SourceError
from opq_hil.backends.qemu_build import VARIABLE, make

pytestmark = [
    pytest.mark.skipif(shutil.which("ninja") is None, reason="no ninja: sudo apt install ninja-build"),
]

CONFIGURE = """\
#!/bin/sh
# As QEMU's: a build.ninja stands long before everything in it is decided.
echo x >> "$COUNT/configures"
cat > build.ninja <<'END'
rule make
  command = sleep 0.3; cp machines $out && chmod +x $out
build qemu-system-arm: make machines
END
printf '#!/bin/sh\\necho "none  empty machine"\\n' > machines
if [ -e "$COUNT/slow" ]; then
  sleep 600 &
  echo "checking for a compiler"
  echo $! > "$COUNT/child"
  wait
fi
[ -e "$COUNT/without" ] || echo 'echo "opqbox  OPQ Box"' >> machines
"""

BUILD = """
import sys, pathlib
from opq_hil.backends import qemu_build
qemu_build._check_tools = lambda: None
qemu_build._has_meson = lambda python: True
print(qemu_build.make(lambda text: print(text, file=sys.stderr, flush=True)).path)
"""
"""A process that builds; the tree needs neither glib nor meson."""
CHECKS_A_TURN = 3
"""Most comparisons of a time with its limit after each reading of a program's output."""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with the files that our build changes, in its own cache."""
    source = tmp_path / "qemu"
    for folder in ("hw", "pc-bios", "configs/devices/arm-softmmu"):
        (source / folder).mkdir(parents=True)
    for name in ("hw/Kconfig", "hw/meson.build", "pc-bios/meson.build"):
        (source / name).write_text("")
    (source / "VERSION").write_text("10.0.99\n")
    (source / "configure").write_text(CONFIGURE)
    (source / "configure").chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(source))
    monkeypatch.setenv("COUNT", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(qemu_build, "_check_tools", lambda: None)
    monkeypatch.setattr(qemu_build, "_has_meson", lambda python: True)
    return tmp_path


def configures(tree: Path) -> int:
    return (tree / "configures").read_text().count("x")


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def limit_after(path: Path) -> float:
    """A limit that comes after a file has its text and what was printed before is read; no machine is too
    slow for it."""
    later_checks = itertools.count()

    class Limit(float):
        def __mul__(self, factor: float) -> float:
            written = path.exists() and bool(path.read_text().strip())
            return 0.0 if written and next(later_checks) > CHECKS_A_TURN else math.inf

    return Limit()


def test_a_cut_configure_is_repeated(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "slow").touch()
    why = r"configure of QEMU took longer than .* ended; .*checking for a comp"
    with monkeypatch.context() as cut, pytest.raises(BuildError, match=why):
        cut.setattr(qemu_build, "CONFIGURE_LIMIT_S", limit_after(tree / "child"))
        make()
    (build,) = (tree / "cache/opq").glob("qemu-build-*/build")
    assert (
        build / "build.ninja"
    ).exists()  # the poison: ninja would build a QEMU of the machine `none` alone
    child = int((tree / "child").read_text())
    until(lambda: not is_alive(child), 60, "what configure started has ended")
    (tree / "slow").unlink()
    assert "opqbox" in subprocess.run((make().path,), capture_output=True, text=True, check=True).stdout
    assert configures(tree) == 2


def test_a_kept_foreign_binary_is_rebuilt(tree: Path) -> None:
    binary = make().path
    binary.write_text('#!/bin/sh\necho "none  empty machine"\n')
    reported: list[str] = []
    assert make(reported.append).path == binary
    assert "opqbox" in binary.read_text()
    assert any("without machine opqbox" in text for text in reported)
    assert configures(tree) == 2
    make(reported.append)
    assert configures(tree) == 2


def test_a_build_without_our_machine_is_dropped(tree: Path) -> None:
    (tree / "without").touch()
    with pytest.raises(BuildError, match="built without machine opqbox"):
        make()
    assert not list((tree / "cache/opq").glob("qemu-*/qemu-system-arm"))
    (tree / "without").unlink()
    assert "opqbox" in make().path.read_text()


def test_a_busy_machine_does_not_lose_its_binary(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = make().path
    binary.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(qemu_build, "ANSWER_LIMIT_S", 0.5)
    with pytest.raises(BuildError, match=r"did not name its machines within 0\.5 s"):
        make()
    assert binary.exists() and configures(tree) == 1


def test_three_builds_at_once_are_one(tree: Path) -> None:
    """Three builds at once in one cache beside a busy loop are one."""
    busy = subprocess.Popen((sys.executable, "-c", "while True: pass"))
    command = (sys.executable, "-c", BUILD)
    builds = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    try:
        ended = [build.communicate(timeout=600) for build in builds]
    finally:
        for process in (busy, *builds):
            process.kill()
            process.wait()
    assert [build.returncode for build in builds] == [0, 0, 0], ended
    (path,) = {Path(output.strip()) for output, _ in ended}
    assert "opqbox" in path.read_text()
    assert configures(tree) == 1
    assert sum("this one waits for it" in errors for _, errors in ended) <= 2


def test_a_build_that_was_killed_is_begun_again(tree: Path) -> None:
    (tree / "slow").touch()
    build = subprocess.Popen((sys.executable, "-c", BUILD), stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 600
    while not (tree / "child").exists() or not (tree / "child").read_text().strip():
        assert time.monotonic() < limit and build.poll() is None
        time.sleep(0.05)
    build.kill()
    build.wait()
    (tree / "slow").unlink()
    assert "opqbox" in make().path.read_text()


def test_a_copied_cache_compiles_its_own_source(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make().path
    (copy,) = (tree / "cache/opq").glob("qemu-build-*")
    shutil.copytree(tree / "cache", tree / "copied", symlinks=True)
    shutil.rmtree(tree / "copied/opq" / first.parent.name)  # as after a change of our files
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree / "copied"))
    assert make().path == tree / "copied" / first.relative_to(tree / "cache")
    assert configures(tree) == 2, "configure had written the folder of the first cache into its build"
    mark = tree / "copied/opq" / copy.name / qemu_build.CONFIGURED
    assert mark.read_text() == str(mark.parent / "source")


def test_what_is_left_is_reported_without_a_terminal(tree: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-c", BUILD), capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert re.search(r"^configure$", done.stderr, re.MULTILINE)
    assert re.search(r"^built in \d+ s$", done.stderr, re.MULTILINE)


def test_a_wrong_qemu_source_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "qemu" / "VERSION").write_text("9.2.0\n")
    with pytest.raises(SourceError, match=r"qemu 9\.2\.0; want 10\.0\.x"):
        make()
    monkeypatch.setenv(VARIABLE, str(tree / "cache"))
    with pytest.raises(SourceError, match="no source of qemu"):
        make()
