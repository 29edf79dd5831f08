"""`tools/run` on machines that lack things: Python itself, ensurepip, a current environment."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("sh", "dirname", "cksum", "rm", "mv", "cat", "uname")
"""All that the scripts use beside Python: no compiler, no make."""

NO_ENSUREPIP = """#!/bin/sh
# Debian's python3 without python3-venv: `python3 -m venv` fails unless told --without-pip.
case "$*" in
*--without-pip*) ;;
*"-m venv"*) echo "ensurepip is not available" >&2; exit 1 ;;
esac
exec {python} "$@"
"""
TOO_OLD = "#!/bin/sh\nexit 1\n"
PROBE = '. "$(dirname -- "$0")/setup.sh"\nmake_venv\n"$venv_python" -m pip --version\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts in their own folder, and a PATH beside it with little on it."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("run", "setup.sh"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools" / name)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'nothing'\nversion = '0'\n")
    for program in PROGRAMS:
        found = shutil.which(program)
        assert found, program
        (tmp_path / "bin" / program).symlink_to(found)
    return tmp_path


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(checkout: Path, script: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "OPQ_PYTHON"}
    environment["PATH"] = str(checkout / "bin")
    command = ["sh", str(checkout / "tools" / script)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_without_python_the_package_is_named(checkout: Path) -> None:
    put(checkout / "bin" / "python3", TOO_OLD)
    done = run(checkout, "run")
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr and "apt install python3" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_ensurepip_another_pip_is_found(checkout: Path) -> None:
    put(checkout / "bin" / "python3", NO_ENSUREPIP.format(python=sys.executable))
    put(checkout / "tools" / "probe", PROBE)
    done = run(checkout, "probe")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pip ")


def test_without_any_pip_the_fix_is_printed(checkout: Path) -> None:
    """Python has no ensurepip, and no other pip is there; the message has the command that installs one."""
    no_pip = NO_ENSUREPIP.replace("esac", '*"-m pip"*) exit 1 ;;\nesac')
    put(checkout / "bin" / "python3", no_pip.format(python=sys.executable))
    setup = (checkout / "tools" / "setup.sh").read_text()
    (checkout / "tools" / "setup.sh").write_text(setup.replace("/usr/share/python-wheels", "/nowhere"))
    put(checkout / "tools" / "probe", PROBE)
    done = run(checkout, "probe")
    assert done.returncode == 1
    assert "sudo apt install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("own", "status"), [("exit 0", 0), ("exit 1", 1)])
def test_the_distributions_python_has_one_version(own: str, status: int, checkout: Path) -> None:
    """It is the one in /usr/bin of the version that the PATH has; without it, or too old, none is named."""
    version = "python{}.{}".format(*sys.version_info)
    put(checkout / "bin" / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (checkout / "distribution").mkdir()
    put(checkout / "distribution" / version, f"#!/bin/sh\n{own}\n")
    put(checkout / "distribution" / "python3.99", "#!/bin/sh\nexit 0\n")
    setup = (checkout / "tools" / "setup.sh").read_text()
    (checkout / "tools" / "setup.sh").write_text(setup.replace("/usr/bin/", f"{checkout}/distribution/"))
    put(checkout / "tools" / "probe", '. "$(dirname -- "$0")/setup.sh"\ndistribution_python\n')
    done = run(checkout, "probe")
    assert (done.returncode, done.stdout) == (
        status,
        "" if status else f"{checkout}/distribution/{version}\n",
    )


def test_a_current_environment_is_kept(checkout: Path) -> None:
    put(checkout / "tools" / "probe", '. "$(dirname -- "$0")/setup.sh"\ninstall gateway\necho ready\n')
    (checkout / ".venv" / "bin").mkdir(parents=True)
    put(checkout / ".venv" / "bin" / "python", "#!/bin/sh\nexit 0\n")
    stamp = f"$(cksum <{checkout}/pyproject.toml) {checkout}|gateway,rules"
    subprocess.run(["sh", "-c", f'printf "%s\\n" "{stamp}" > {checkout}/.venv/opq-installed'], check=True)
    done = run(checkout, "probe")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


@pytest.mark.parametrize(
    ("words", "emulated"),
    [
        ("", False),
        ("--sim 2 --box /dev/ttyUSB0", False),
        ("--sim 2 --box qemu:1", True),
        ("--box=renode:1", True),
    ],
)
def test_an_emulated_box_needs_its_build_extras(checkout: Path, words: str, emulated: bool) -> None:
    (checkout / "tools" / "run").write_bytes((Path(__file__).parents[1] / "run").read_bytes())
    (checkout / "tools" / "setup.sh").write_text('install() { echo "$1"; exit 0; }\n')
    line = ["sh", "tools/run", *words.split()]
    done = subprocess.run(line, check=True, cwd=checkout, capture_output=True, text=True, timeout=240)
    assert ("firmware" in done.stdout.strip().split(",")) is emulated


@pytest.mark.parametrize("start", [("sh", "tools/setup.sh"), ("sh", "./setup.sh")])
def test_setup_by_hand_explains_itself(start: tuple[str, ...], checkout: Path) -> None:
    folder = checkout / "tools" if start[1].startswith("./") else checkout
    ended = subprocess.run(start, check=False, cwd=folder, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 2
    assert "tools/run" in ended.stderr and "tools/test" in ended.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("x = 1\n", 0, "All checks passed"),
        ("import os\n", 1, "F401"),
        ("x  =  1\n", 1, "would be reformatted"),
    ],
)
def test_lint_ends_with_1_on_wrong_style(text: str, code: int, said: str, checkout: Path) -> None:
    for name in ("lint", "plain_words.py"):
        shutil.copy(ROOT / "tools" / name, checkout / "tools" / name)
    subprocess.run(["git", "init", "-q", checkout], check=True)
    (checkout / "pyproject.toml").write_text("[tool.ruff]\nline-length = 110\n")
    (checkout / "tools" / "setup.sh").write_text(
        f'root={checkout}\nvenv_python={sys.executable}\ninstall() {{ :; }}\nsay() {{ echo "$*" >&2; }}\n'
    )
    (checkout / "x.py").write_text(text)
    ended = subprocess.run(
        ["sh", "tools/lint", "--fast"], check=False, cwd=checkout, capture_output=True, text=True, timeout=240
    )
    assert (ended.returncode, said in ended.stdout) == (code, True), ended.stdout + ended.stderr
