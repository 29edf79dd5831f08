"""Stands in for dfu-util, openocd and pyocd: records its arguments and keeps a flash in a file.

It understands the commands that we give and no others; it says nothing of what the real programs do with
a chip. Like them it erases each sector that a file touches. The folder FOLDER holds `flash.bin`.
"""

import contextlib
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

FLASH = 0x0800_0000
FOLDER = Path()
SECTORS = (*(0x4000,) * 4, 0x10000, *(0x20000,) * 7) * 2
"""RM0090 tables 5 and 6."""
PAGE = {0xE0042000: 0x10076413, 0x1FFF7A10: 0x33323130, 0x1FFF7A14: 0x37363534, 0x1FFF7A18: 0x3B3A3938}


def facts() -> dict[str, str]:
    """What a test wants to be different."""
    path = FOLDER / "facts.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_protection() -> int:
    """nWRP and the bits above, as option bytes hold it: in a file once a program has changed it."""
    path = FOLDER / "write_protection"
    return int(path.read_text() if path.exists() else facts().get("write_protection", "0x0FFF"), 0)


def word(address: int) -> int:
    if address == 0x1FFF7A20:
        return int(facts().get("kib", "1024")) << 16 | 0xFFFF
    if address == 0x1FFFC000:  # RM0090 table 13: user options and RDP, and their complements
        return 0x5510_00EF | int(facts().get("rdp", "0xAA"), 0) << 8
    if address == 0x1FFFC008:
        return write_protection()
    if address == 0xE0042000 and "idcode" in facts():
        return int(facts()["idcode"], 0)
    return PAGE[address]


def save(address: int, count: int, file: str) -> None:
    if "unread" in facts():
        print(facts()["unread"])
        sys.exit(74)
    if Path(file).exists():
        sys.exit(f"{file}: File exists")
    data = (FOLDER / "flash.bin").read_bytes()
    Path(file).write_bytes(data[address - FLASH : address - FLASH + count])


def erase(address: int, count: int) -> None:
    if "unerased" in facts():
        print(facts()["unerased"])
        sys.exit(1)
    flash = bytearray((FOLDER / "flash.bin").read_bytes())
    for sector, size in enumerate(SECTORS):
        begin = sum(SECTORS[:sector])
        if not (begin < address - FLASH + count and address - FLASH < begin + size <= len(flash)):
            continue
        if sector < 12 and not write_protection() >> sector & 1:
            print("Error: stm32x device protected\nError: failed erasing sectors 0 to 1")  # openocd's words
            sys.exit(1)
        flash[begin : begin + size] = b"\xff" * size
    (FOLDER / "flash.bin").write_bytes(flash)


def program(address: int, file: str) -> None:
    """Clears bits only, as flash does."""
    if "fails" in facts():
        print(facts()["fails"])
        sys.exit(74)
    flash = bytearray((FOLDER / "flash.bin").read_bytes())
    data = Path(file).read_bytes()
    if "flips" in facts():
        data = bytes((data[0] ^ 1,)) + data[1:]
    for at, byte in enumerate(data, address - FLASH):
        flash[at] &= byte
    (FOLDER / "flash.bin").write_bytes(flash)


def erase_and_program(address: int, file: str) -> None:
    erase(address, Path(file).stat().st_size)
    program(address, file)


def dfu_util(arguments: list[str]) -> None:
    if "-l" in arguments:
        print("dfu-util 0.11\n")
        for serial in facts().get("serials", "305C3253").split():
            layout = facts().get("layout", "04*016Kg,01*064Kg,07*128Kg")
            found = f'Found DFU: [0483:df11] ver=2200, devnum=4, cfg=1, intf=0, path="1-1", serial="{serial}"'
            for alt, name in (
                (1, "Option Bytes  /0x1FFFC000/01*016 e"),
                (0, f"Internal Flash  /0x08000000/{layout}"),
            ):
                print(found.replace(", serial", f', alt={alt}, name="@{name}", serial'))
        return
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    where = options["-s"].split(":")
    if "-D" in options:
        erase_and_program(int(where[0], 0), options["-D"])
    elif options["-a"] == "1":  # AN3156; RM0090 table 13
        word = write_protection().to_bytes(2, "little")
        Path(options["-U"]).write_bytes(b"\xef\xaa" + b"\xff" * 6 + word + b"\xff" * 6)
    else:
        save(int(where[0], 0), int(where[1]), options["-U"])


def openocd(arguments: list[str]) -> None:
    """Like openocd it prints the result of a command by `echo [command]` only, and knows the one command for
    a serial that its version and its driver have.
    """
    for script in (each for each in arguments[:-1] if each.startswith("set chosen")):
        names = re.findall(r"\{([^{}]*)\}", script.partition("foreach each {")[2].partition("}} ")[0] + "}")
        if (knows := facts().get("serial_command", "adapter serial")) not in names:
            sys.exit(re.findall(r"error \{(.*?)\}", script)[0])
        (FOLDER / "serial").write_text(f"{knows} {re.findall(r'list {(.*?)}', script)[0]}")
    for command in arguments[-1].split("; "):
        echoed = re.fullmatch(r"echo \[(.*)\]", command)
        result = openocd_result(echoed[1] if echoed else command)
        if echoed:
            print(result)


def openocd_result(command: str) -> str:
    if found := re.fullmatch(r"mdw (\S+) (\d+)", command):
        words = [word(int(found[1], 0) + 4 * at) for at in range(int(found[2]))]
        return f"{found[1].lower()}: " + " ".join(f"{each:08x}" for each in words) + " "
    if found := re.fullmatch(r"dump_image \{(.*)\} (\S+) (\d+)", command):
        save(int(found[2], 0), int(found[3]), found[1])
    elif found := re.fullmatch(r"flash erase_address pad (\S+) (\d+)", command):
        erase(int(found[1], 0), int(found[2]))
    elif found := re.fullmatch(r"flash write_image \{(.*)\} (\S+) bin", command):
        program(int(found[2], 0), found[1])
    elif found := re.fullmatch(r"flash protect 0 (\d+) (\d+) off", command):
        if "lifting" in facts():
            sys.exit(facts()["lifting"] or 0)
        lifted = sum(1 << sector for sector in range(int(found[1]), int(found[2]) + 1))
        (FOLDER / "write_protection").write_text(hex(write_protection() | lifted))
    elif command not in ("init", "reset halt", "reset run", "shutdown"):
        sys.exit(f"invalid command name {command!r}")
    return ""


def pyocd(arguments: list[str]) -> None:
    if arguments[0] == "flash":
        erase_and_program(int(arguments[arguments.index("-a") + 1], 0), arguments[-1])
        return
    for command in arguments[4:]:
        if found := re.fullmatch(r"read32 (\S+) (\d+)", command):
            words = [word(int(found[1], 0) + 4 * at) for at in range(int(found[2]) // 4)]
            text = " ".join(f"{each:08x}" for each in words)
            print(f"{int(found[1], 0):08x}:  {text:<36}  |....|")
        elif found := re.fullmatch(r"savemem (\S+) (\d+) (\S+)", command):
            save(int(found[1], 0), int(found[2]), found[3])


def run(command: Sequence[str], doing: str) -> tuple[int, str]:
    """What `run_until_silent` does with one of the programs, in this process."""
    name = Path(command[0]).name
    with (FOLDER / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([name, *command[1:]]) + "\n")
    output, code = io.StringIO(), 0
    with contextlib.redirect_stdout(output):
        try:
            {"dfu-util": dfu_util, "openocd": openocd, "pyocd": pyocd}[name](list(command[1:]))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
            print("" if isinstance(ended.code, int) else ended.code)
    return code, output.getvalue()
