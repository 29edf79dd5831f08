"""The pin tables of WIRING.md are the boards' own."""

from dataclasses import asdict
from pathlib import Path

import pytest

from opq_hil.backends.boards import BOARDS

DEVICE = Path(__file__).resolve().parent.parent
WORDS = {
    "LINK_TX": "link TX",
    "LINK_RX": "link TX",
    "GPS_TX": "GPS TX",
    "GPS_RX": "GPS TX",
    "PPS": "PPS",
    "MAINS": "mains",
    "SUPPLY": "supply",
    "BATTERY": "battery",
    "CNV": "CNV",
    "SCK": "SCK",
    "SDO": "SDO",
    "LED_STATUS": "LED status",
    "LED_TIME": "LED status",
    "LED_FAULT": "LED status",
    "RECOVERY": "recovery",
    "REPL": "REPL",
}


@pytest.mark.parametrize(
    ("board", "column"), [("opqbox", 0), ("pyboard_f405", 3), ("disco_f407", 0), ("nucleo_f429zi", 3)]
)
def test_the_pin_table_has_every_pin(board: str, column: int) -> None:
    pins = {name.upper(): pin for name, pin in asdict(BOARDS[board].pins).items() if pin}
    assert set(pins) <= set(WORDS)
    text = (DEVICE / "WIRING.md").read_text(encoding="utf-8")
    [block] = [block for block in text.split("\n\n") if f"| {board} | pin |" in block]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if "|" in line
    ]
    table = {row[column]: row[column + 1].split(", ") for row in rows if len(row) == 6 and row[0] != "---"}
    shown = {pin for name, there in table.items() if name != board for pin in there if pin.startswith("P")}
    for name, pin in pins.items():
        [row] = [there for title, there in table.items() if title.startswith(WORDS[name])]
        assert pin in row, name
    assert shown == set(pins.values())
