"""USB-serial adapters that have the same name: of one maker and type, with one serial number or without any.

udev makes one link below /dev/serial/by-id for all of them, and it leads to whichever was plugged in last.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

SYS_TTY = Path("/sys/class/tty")


def equal_adapters(ports: Iterable[str], sys_tty: Path | None = None) -> Iterator[str]:
    """One sentence for each set of equal adapters, of which at least one is at one of `ports`."""
    devices: dict[tuple[str, ...], dict[Path, str]] = {}
    for tty in sorted((sys_tty or SYS_TTY).glob("*")):
        adapter = _adapter(tty.resolve())
        if adapter is not None:
            identity = tuple(_text(adapter / name) for name in ("idVendor", "idProduct", "serial"))
            devices.setdefault(identity, {}).setdefault(adapter, tty.name)
    used = {Path(port).resolve().name for port in ports if port.startswith("/")}
    for (*_, serial), names in devices.items():
        if len(names) > 1 and used & set(names.values()):
            listed = " and ".join(f"/dev/{name}" for name in names.values())
            which = f"have one serial number, {serial}" if serial else "have no serial number"
            yield (
                f"{listed}: adapters of one type that {which}; /dev/serial/by-id has one name for them, "
                "so name each port by /dev/serial/by-path, and keep the plugs where they are"
            )


def _adapter(place: Path) -> Path | None:
    """The USB device of a tty, which may have several ports; None: it is not on USB."""
    return next((folder for folder in place.parents if (folder / "idVendor").exists()), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
