"""The line that installs what a build needs, on Debian, Ubuntu, Fedora and macOS."""

import shutil

NAMES = {
    "bison": ("bison", "bison"),
    "flex": ("flex", "flex"),
    "gcc": ("gcc", ""),  # macOS: clang, of Xcode's command line tools
    "gcc-arm-none-eabi": ("arm-none-eabi-gcc-cs", "gcc-arm-embedded"),
    "libc6-dev": ("glibc-devel", ""),
    "libfdt-dev": ("libfdt-devel", "dtc"),
    "libglib2.0-dev": ("glib2-devel", "glib"),
    "libnewlib-arm-none-eabi": ("arm-none-eabi-newlib", ""),  # part of gcc-arm-embedded
    "libpixman-1-dev": ("pixman-devel", "pixman"),
    "make": ("make", "make"),
    "ninja-build": ("ninja-build", "ninja"),
    "pkg-config": ("pkgconf-pkg-config", "pkgconf"),
}
"""Debian's name -> Fedora's, Homebrew's."""


def install_line(*packages: str) -> str:
    """The command that installs these packages, given by Debian's names."""
    if shutil.which("apt-get") is None:
        for column, (program, line) in enumerate((("dnf", "sudo dnf install"), ("brew", "brew install"))):
            if shutil.which(program):
                return " ".join([line, *filter(None, (NAMES[name][column] for name in packages))])
    return " ".join(["sudo apt install", *packages])
