"""Our QEMU: the Debian source package plus the machine in `hil/qemu`, built once and kept.

    source package --copy without its firmware blobs--> cache/opq/qemu-build-…/{source, build}
    hil/qemu/*.c  --into hw/opq, one line more in two files--^      |
                                                                    +--> cache/opq/qemu-…/qemu-system-arm

The binary's folder is named after everything that went into it, so a change of ours builds it again (the
build tree stays) and nothing else does. A tree is used again only if its `configured` mark is there, which
is made after `configure` ended well; a binary is kept and used only if it has our machine.
`python -m opq_hil.backends.qemu_build` does it with progress.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.build_lock import locked
from opq_hil.backends.build_step import BuildError, NinjaProgress, Report, no_report, run_step
from opq_hil.backends.debian_source import SourceError, SourceTree, cache_folder, fetch
from opq_hil.backends.our_sources import our_source
from opq_hil.backends.own_source import own_source
from opq_hil.backends.packages import install_line
from opq_hil.backends.pinned import QEMU

VARIABLE = "OPQ_QEMU_SOURCE"
"""QEMU's own source, as a tarball, a checkout or a folder; without it, Debian's source package."""
MACHINE = "opqbox"
OUR_SOURCES = our_source("hil/qemu")
CONFIGURE = (
    "--target-list=arm-softmmu",
    "--without-default-features",
    "--without-default-devices",
    f"--with-devices-arm={MACHINE}",
    "--enable-tcg",
    "--enable-fdt=system",
    "--disable-debug-info",  # an eighth of the compiler's time; the kept binary is stripped
    "--disable-docs",
    "--disable-tools",
    "--disable-install-blobs",
)
PROGRAMS = {"cc": "gcc", "ninja": "ninja-build", "pkg-config": "pkg-config", "flex": "flex", "bison": "bison"}
LIBRARIES = {"glib-2.0": "libglib2.0-dev", "pixman-1": "libpixman-1-dev"}
HEADERS = {"libfdt.h": "libfdt-dev"}
"""Program, pkg-config name or header -> Debian package that contains it."""
PYTHON = ("meson>=1.5,<2", "pycotap>=1.1", "setuptools", "wheel", "distlib", "packaging")
CONFIGURED = "configured"
"""File of a build tree in which `configure` ended well; a tree without it is removed."""
CONFIGURE_LIMIT_S = 1200.0
"""Limit of configure, which takes 12 s on two cores; build_step.py extends it on a slower machine."""
NINJA_LIMIT_S = 3600.0
"""Limit of the build, which takes 3 min."""
PYTHON_LIMIT_S = 600.0
"""Limit of the Python environment, which takes 5 s."""
ANSWER_LIMIT_S = 120.0
"""Limit for a binary to name its machines; it needs 0.03 s."""
KEPT_BINARIES = 8
FAILED = 3
"""Exit code after a build that failed: a fault of ours; a missing tool is not a fault."""


class MissingToolError(BuildError):
    """A program or package that builds QEMU is not here."""


@dataclass(frozen=True, slots=True)
class QemuBinary:
    """A `qemu-system-arm` with our machine."""

    path: Path
    version: str


def find_qemu(report: Report = no_report) -> QemuBinary:
    """The binary that `OPQ_QEMU` names, used unchanged; else our QEMU, built first if needed.

    Raises:
        BuildError, SourceError: it is not available; the text says what to do.
    """
    given = os.environ.get("OPQ_QEMU")
    return _given(Path(given)) if given else make(report)


def make(report: Report = no_report, *, build: bool = True) -> QemuBinary:
    """Our QEMU from the cache or, with `build`, from source.

    Raises:
        BuildError, SourceError: it is not available.
    """
    cache = cache_folder()
    source = _source(cache, build)
    if source.note:
        report(source.note)
    binary = cache / f"qemu-{_key(source)}" / "qemu-system-arm"
    if not _has_machine(binary):
        if not build:
            raise BuildError("not built yet: python -m opq_hil.backends.qemu_build")
        _check_tools()
        waits = "another process builds QEMU in this cache; this one waits for it"
        with locked(cache / "qemu-build.lock", lambda: report(waits)):
            if not _has_machine(binary):
                _build(source, binary, report)
                _tidy(cache, source, binary)
    os.utime(binary.parent)
    version = source.version.split("%3a")[-1]
    return QemuBinary(binary, f"QEMU {version} with machine {MACHINE}, {binary.parent.name}")


def _has_machine(binary: Path) -> bool:
    """Whether there is such a binary, and it has our machine.

    Raises:
        BuildError: it does not answer, which on a busy machine is not a reason to build it again.
    """
    try:
        return binary.exists() and _names_machine(_answer(binary, "-machine", "help"))
    except subprocess.TimeoutExpired:
        raise BuildError(f"{binary} did not name its machines within {ANSWER_LIMIT_S:g} s") from None
    except (OSError, subprocess.SubprocessError):
        return False


def _names_machine(output: str) -> bool:
    return re.search(rf"^{MACHINE}\b", output, re.MULTILINE) is not None


def _answer(binary: Path, *arguments: str) -> str:
    return subprocess.run(
        (binary, *arguments), capture_output=True, text=True, timeout=ANSWER_LIMIT_S, check=True
    ).stdout


def _given(path: Path) -> QemuBinary:
    try:
        output, version = _answer(path, "-machine", "help"), _answer(path, "--version")
    except (OSError, subprocess.SubprocessError) as problem:
        raise BuildError(f"OPQ_QEMU={path} does not run: {problem}") from problem
    name = version.partition("\n")[0].replace(" emulator version", "")
    if not _names_machine(output):
        raise BuildError(f"OPQ_QEMU={path} is {name}, without our machine {MACHINE}")
    return QemuBinary(path, name)


def _source(cache: Path, build: bool) -> SourceTree:
    given = os.environ.get(VARIABLE)
    if given:
        return own_source(QEMU, Path(given), VARIABLE, qemu_version, cache)
    if not build and not (cache / "sources" / f"{QEMU.name}-{QEMU.suite}.json").exists():
        raise BuildError("the source package was never fetched: python -m opq_hil.backends.qemu_build")
    try:
        return fetch(QEMU.name, QEMU.suite)
    except SourceError as problem:
        raise SourceError(f"{problem}. QEMU's own source is used where {VARIABLE} names it") from None


def qemu_version(path: Path) -> str | None:
    """The version of a source tree, such as `10.0.3`; None: it is not a QEMU."""
    version = path / "VERSION"
    is_qemu = version.is_file() and (path / "configure").is_file() and (path / "hw").is_dir()
    return version.read_text().strip() if is_qemu else None


def _our_files() -> list[Path]:
    found = [path for path in sorted(OUR_SOURCES.iterdir()) if path.suffix in (".c", ".h", ".mak")]
    return [*found, OUR_SOURCES / "Kconfig", OUR_SOURCES / "meson.build"]


def _key(source: SourceTree) -> str:
    digest = hashlib.sha256(f"{source.sha256} {CONFIGURE}".encode())
    for path in _our_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _tree_name(source: SourceTree) -> str:
    """Folder of the build tree: configured once, so another configuration has another tree."""
    return f"qemu-build-{hashlib.sha256(f'{source.sha256} {CONFIGURE}'.encode()).hexdigest()[:16]}"


def _check_tools() -> None:
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if "pkg-config" not in missing:
        for library, package in LIBRARIES.items():
            if subprocess.run(("pkg-config", "--exists", library), check=False).returncode:
                missing.append(package)
    if "gcc" not in missing:
        for header, package in HEADERS.items():
            test = ("cc", "-fsyntax-only", "-x", "c", "-include", header, os.devnull)
            if subprocess.run(test, check=False, capture_output=True).returncode:
                missing.append(package)
    if missing:
        raise MissingToolError(f"programs for building QEMU are missing: {install_line(*missing)}")


def _build(source: SourceTree, binary: Path, report: Report) -> None:
    began = time.monotonic()
    tree = cache_folder() / _tree_name(source)
    work, build = tree / "source", tree / "build"
    if binary.exists():
        report(f"the kept QEMU is without machine {MACHINE}; it is built from the source again")
        shutil.rmtree(tree, ignore_errors=True)
    if _configured_in(tree) != str(work):
        report(f"QEMU {source.version.split('%3a')[-1]} from source, once: some minutes, 600 MB in {tree}")
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(source.path, work, symlinks=True, ignore=_blobs(source.path))
        _add_ours(work)
        build.mkdir()
        python = _python(tree / "python", report)
        report("configure")
        command = (str(work / "configure"), *CONFIGURE, f"--python={python}")
        _run(command, build, "configure of QEMU", CONFIGURE_LIMIT_S)
        (tree / CONFIGURED).write_text(str(work))
    _put_ours(work)
    report("ninja")
    _ninja(build, report)
    binary.parent.mkdir(parents=True, exist_ok=True)
    half = binary.with_suffix(f".{os.getpid()}")
    shutil.copy2(build / "qemu-system-arm", half)
    subprocess.run(("strip", half), check=False, capture_output=True)
    if not _has_machine(half):
        half.unlink()
        shutil.rmtree(tree, ignore_errors=True)
        raise BuildError(f"QEMU was built without machine {MACHINE}: {tree} is removed, try again")
    half.rename(binary)
    report(f"built in {time.monotonic() - began:.0f} s")


def _configured_in(tree: Path) -> str | None:
    """The folder whose source the tree compiles: a copied or moved tree still compiles the old one."""
    mark = tree / CONFIGURED
    return mark.read_text() if mark.exists() else None


def _blobs(top: Path) -> Callable[[str, list[str]], list[str]]:
    """Leaves out the firmware of machines that are not built (270 MB)."""
    return lambda folder, names: ["roms"] if Path(folder) == top and "roms" in names else []


def _add_ours(work: Path) -> None:
    """Adds our lines to QEMU's own files: two appended, and blobs of PC firmware are not unpacked."""
    with (work / "hw" / "Kconfig").open("a") as file:
        file.write("source opq/Kconfig\n")
    with (work / "hw" / "meson.build").open("a") as file:
        file.write("subdir('opq')\n")
    path = work / "pc-bios" / "meson.build"
    path.write_text(path.read_text().replace("if unpack_edk2_blobs\n", "if unpack_edk2_blobs and false\n", 1))
    (work / "roms").mkdir(exist_ok=True)
    _put_ours(work)


def _put_ours(work: Path) -> None:
    """Copies changed files only, so that ninja compiles just those; removes files that we no longer have."""
    folder = work / "hw" / "opq"
    folder.mkdir(exist_ok=True)
    wanted = {path.name: path for path in _our_files() if path.suffix != ".mak"}
    for old in folder.iterdir():
        if old.name not in wanted:
            old.unlink()
    targets = [(path, folder / name) for name, path in wanted.items()]
    targets.append(
        (OUR_SOURCES / f"{MACHINE}.mak", work / "configs" / "devices" / "arm-softmmu" / f"{MACHINE}.mak")
    )
    for path, target in targets:
        if not target.exists() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target)


def _python(folder: Path, report: Report) -> Path:
    """Our own Python with a meson that is new enough; installed packages are used."""
    python = folder / "bin" / "python3"
    report("meson")
    _run(
        (sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(folder)),
        folder.parent,
        "venv",
        PYTHON_LIMIT_S,
    )
    if _has_meson(python):
        return python
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *PYTHON)
    try:
        _run(pip, folder.parent, "pip install meson", PYTHON_LIMIT_S)
    except BuildError as problem:
        raise MissingToolError(
            f"{problem}; QEMU needs meson 1.5 or newer, from PyPI or from the system"
        ) from None
    return python


def _has_meson(python: Path) -> bool:
    test = (
        "import sys, mesonbuild.coredata as c; sys.exit(tuple(map(int, c.version.split('.')[:2])) < (1, 5))"
    )
    return subprocess.run((python, "-c", test), check=False, capture_output=True).returncode == 0


def _ninja(build: Path, report: Report) -> None:
    log, progress = build / "ninja.log", NinjaProgress(report)
    command = ("ninja", "-j", str(os.cpu_count() or 2), "qemu-system-arm")
    with log.open("w") as log_file:

        def accept_line(line: str) -> None:
            log_file.write(f"{line}\n")
            progress.accept_line(line)

        code, lines = run_step(
            command, build, "ninja, which builds QEMU,", limit_s=NINJA_LIMIT_S, on_line=accept_line
        )
    if code:
        wrong = [line.strip() for line in lines if "error:" in line] or lines[-1:] or ["no output"]
        raise BuildError(f"QEMU does not build: {wrong[0].strip()} (all of it: {log})")


def _run(command: tuple[str, ...], folder: Path, what: str, limit_s: float) -> None:
    code, lines = run_step(command, folder, what, limit_s=limit_s)
    if code:
        said = [line.strip() for line in lines if line.strip()]
        wrong = [line for line in said if "ERROR" in line or line.startswith("error")] or said[-1:]
        raise BuildError(f"{what} ended with {code}: {wrong[0] if wrong else 'no output'}")


def _tidy(cache: Path, source: SourceTree, binary: Path) -> None:
    """Removes older trees and all but the last few binaries."""
    for old in cache.glob("qemu-build-*"):
        if old.is_dir() and old.name != _tree_name(source):
            shutil.rmtree(old, ignore_errors=True)
    binaries = [
        path for path in cache.glob("qemu-*") if (path / "qemu-system-arm").exists() and path != binary.parent
    ]
    for path in sorted(binaries, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_BINARIES - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def main() -> int:
    """Builds with progress; prints the path.

    Returns 1 where it cannot be built (a tool or the source is not here), and FAILED where a build failed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m opq_hil.backends.qemu_build",
        description="Our QEMU: built once from Debian's source package (3 min), kept in the cache; its path.",
        epilog="Example: python -m opq_hil.backends.qemu_build",
    )
    parser.add_argument(
        "--qemu-source",
        metavar="PATH",
        help=f"QEMU's own source instead: {QEMU.series}.x as tarball, checkout or folder [${VARIABLE}]",
    )
    given = parser.parse_args().qemu_source
    if given:
        os.environ[VARIABLE] = given
    try:
        built = find_qemu(lambda text: print(text, file=sys.stderr, flush=True))
    except (BuildError, SourceError) as problem:
        print(f"no QEMU of ours: {problem}", file=sys.stderr)
        return 1 if isinstance(problem, MissingToolError | SourceError) else FAILED
    print(built.version, file=sys.stderr)
    print(built.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
