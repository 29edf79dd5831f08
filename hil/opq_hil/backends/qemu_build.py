"""Our QEMU: the Debian source package plus the machine in `hil/qemu`, built once and kept.

    source package --copy without its firmware blobs--> cache/opq/qemu-build-…/{source, build}
    hil/qemu/*.c  --into hw/opq, one line more in two files--^      |
                                                                    +--> cache/opq/qemu-…/qemu-system-arm

The binary's folder is named after everything that went into it, so a change of ours builds it again (the
build tree stays) and nothing else does. `python -m opq_hil.backends.qemu_build` does it with progress.
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
from opq_hil.backends.debian_source import SourceError, SourceTree, cache_folder, fetch
from opq_proto.errors import OpqError

SUITE = "trixie"
"""Debian 13 has QEMU 10.0; bookworm's 7.2 lacks the parts that our machine needs."""
MACHINE = "opqbox"
OURS = Path(__file__).parents[2] / "qemu"
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
KEPT_BINARIES = 8
FAILED = 3
"""Exit code after a build that failed: a fault of ours, while a missing tool is none."""

Report = Callable[[str], None]


class BuildError(OpqError):
    """Our QEMU cannot be built here; the text says why and what to do."""


class MissingToolError(BuildError):
    """A program or package that builds QEMU is not here."""


@dataclass(frozen=True, slots=True)
class QemuBinary:
    """A `qemu-system-arm` with our machine."""

    path: Path
    version: str


def find_qemu(report: Report = lambda text: None) -> QemuBinary:
    """The binary that `OPQ_QEMU` names, used unchanged; else our QEMU, built first if needed.

    Raises:
        BuildError, SourceError: it is not available; the text says what to do.
    """
    given = os.environ.get("OPQ_QEMU")
    return _given(Path(given)) if given else make(report)


def make(report: Report = lambda text: None, *, build: bool = True) -> QemuBinary:
    """Our QEMU from the cache or, with `build`, from source.

    Raises:
        BuildError, SourceError: it is not available.
    """
    cache = cache_folder()
    source = fetch("qemu", SUITE) if build else _fetched_before(cache)
    if source.note:
        report(source.note)
    binary = cache / f"qemu-{_key(source)}" / "qemu-system-arm"
    if not binary.exists():
        if not build:
            raise BuildError("not built yet: python -m opq_hil.backends.qemu_build")
        _check_tools()
        with locked(cache / "qemu-build.lock"):
            if not binary.exists():
                _build(source, binary, report)
                _tidy(cache, source, binary)
    os.utime(binary.parent)
    version = source.version.split("%3a")[-1]
    return QemuBinary(binary, f"QEMU {version} with machine {MACHINE}, {binary.parent.name}")


def _given(path: Path) -> QemuBinary:
    try:
        output = subprocess.run(
            (path, "-M", "help"), capture_output=True, text=True, timeout=30, check=True
        ).stdout
        version = subprocess.run(
            (path, "--version"), capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as problem:
        raise BuildError(f"OPQ_QEMU={path} does not run: {problem}") from problem
    name = version.partition("\n")[0].replace(" emulator version", "")
    if not re.search(rf"^{MACHINE}\b", output, re.MULTILINE):
        raise BuildError(f"OPQ_QEMU={path} is {name}, without our machine {MACHINE}")
    return QemuBinary(path, name)


def _fetched_before(cache: Path) -> SourceTree:
    record = cache / "sources" / f"qemu-{SUITE}.json"
    if not record.exists():
        raise BuildError("the source package was never fetched: python -m opq_hil.backends.qemu_build")
    return fetch("qemu", SUITE)


def _our_files() -> list[Path]:
    found = [path for path in sorted(OURS.iterdir()) if path.suffix in (".c", ".h", ".mak")]
    return [*found, OURS / "Kconfig", OURS / "meson.build"]


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
        raise MissingToolError(
            f"programs for building QEMU are missing: sudo apt install {' '.join(missing)}"
        )


def _build(source: SourceTree, binary: Path, report: Report) -> None:
    began = time.monotonic()
    tree = cache_folder() / _tree_name(source)
    work, build = tree / "source", tree / "build"
    if not (build / "build.ninja").exists():
        report(f"QEMU {source.version.split('%3a')[-1]} from source, once: some minutes, 600 MB in {tree}")
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(source.path, work, symlinks=True, ignore=_blobs(source.path))
        _add_ours(work)
        build.mkdir()
        python = _python(tree / "python", report)
        report("configure")
        _run((str(work / "configure"), *CONFIGURE, f"--python={python}"), build, "configure")
    _put_ours(work)
    report("ninja")
    _ninja(build, report)
    binary.parent.mkdir(parents=True, exist_ok=True)
    half = binary.with_suffix(f".{os.getpid()}")
    shutil.copy2(build / "qemu-system-arm", half)
    subprocess.run(("strip", half), check=False)
    half.rename(binary)
    report(f"built in {time.monotonic() - began:.0f} s")


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
    targets.append((OURS / f"{MACHINE}.mak", work / "configs" / "devices" / "arm-softmmu" / f"{MACHINE}.mak"))
    for path, target in targets:
        if not target.exists() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target)


def _python(folder: Path, report: Report) -> Path:
    """A Python of our own with a meson that is new enough; installed packages are used."""
    python = folder / "bin" / "python3"
    report("meson")
    _run(
        (sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(folder)),
        folder.parent,
        "venv",
    )
    if _has_meson(python):
        return python
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *PYTHON)
    try:
        _run(pip, folder.parent, "pip install meson")
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
    log = build / "ninja.log"
    with (
        log.open("w") as log_file,
        subprocess.Popen(
            ("ninja", "-j", str(os.cpu_count() or 2), "qemu-system-arm"),
            cwd=build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process,
    ):  # fmt: skip
        reported_s = 0.0
        lines: list[str] = []
        for line in process.stdout or ():
            log_file.write(line)
            lines = [*lines[-400:], line]
            step = re.match(r"\[(\d+)/(\d+)\]", line)
            if step and time.monotonic() - reported_s > 10:
                reported_s = time.monotonic()
                report(f"  {step[1]} of {step[2]} files")
    if process.returncode:
        wrong = [line.strip() for line in lines if "error:" in line] or [
            lines[-1].strip() if lines else "no output"
        ]
        raise BuildError(f"QEMU does not build: {wrong[0]} (all of it: {log})")


def _run(command: tuple[str, ...], folder: Path, what: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=1200)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        wrong = (
            [line for line in lines if "ERROR" in line or line.startswith("error")]
            or lines[-1:]
            or ["no output"]
        )
        raise BuildError(f"{what} ended with {done.returncode}: {wrong[0]}")


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
    argparse.ArgumentParser(
        prog="python -m opq_hil.backends.qemu_build",
        description="Our QEMU: built once from Debian's source package (3 min), kept in the cache; its path.",
        epilog="Example: python -m opq_hil.backends.qemu_build",
    ).parse_args()
    try:
        built = make(lambda text: print(text, file=sys.stderr, flush=True))
    except (BuildError, SourceError) as problem:
        print(f"no QEMU of ours: {problem}", file=sys.stderr)
        return 1 if isinstance(problem, MissingToolError | SourceError) else FAILED
    print(built.version, file=sys.stderr)
    print(built.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
