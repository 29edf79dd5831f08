"""Every register that the firmware touches is in the Renode files and in the QEMU machine."""

import re

import pytest

from opq_hil.backends import registers
from opq_hil.backends.registers import ChipRegister, RegisterBlock


def test_every_used_register_exists() -> None:
    assert registers.missing() == []


def test_the_table_is_up_to_date() -> None:
    """Rows, not the lists of files: another file that uses a known register is not a reason to fail."""

    def rows(text: str) -> list[tuple[str, ...]]:
        found = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
        return [tuple(cell.strip(" |") for at, cell in enumerate(row) if at != 4) for row in found]

    text = registers.TABLE.read_text()
    assert rows(text) == rows(registers.table()), "run: python -m opq_hil.backends.registers"


def test_offsets_equal_the_headers() -> None:
    checked = 0
    for header in registers.HEADERS:
        for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", header.read_text(), re.DOTALL):
            for member, offset in re.findall(r"(\w+)(?:\[\d+\])?;\s*// (0x[0-9A-F]+)", body):
                assert registers.structs()[name][member][0] == int(offset, 16), f"{name}.{member}"
                checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    ("block", "member", "index", "inner", "address"),
    [
        ("RCC", "CSR", "", "", 0x4002_3874),
        ("TIM5", "CCR2", "", "", 0x4000_0C38),
        ("ADC1", "JDR", "0", "", 0x4001_203C),
        ("ADC_COMMON", "CCR", "", "", 0x4001_2304),
        ("DMA1", "S", "3", "PAR", 0x4002_6060),
        ("DMA2", "S", "0", "CR", 0x4002_6410),
        ("SCB", "SHP", "10", "", 0xE000_ED22),
        ("CoreDebug", "DEMCR", "", "", 0xE000_EDFC),
    ],
)
def test_addresses_are_those_of_the_manuals(
    block: str, member: str, index: str, inner: str, address: int
) -> None:
    found = list(registers._registers(registers.blocks()[block], member, index, inner, ""))
    assert [register.address for register in found] == [address]


def test_uses_are_found_however_they_are_written() -> None:
    text = """
        TIM5->SR = 0; x = ADC1->JDR[1]; DMA2->S[0].NDTR = 3;
        volatile opq_usart_t *line = USART2; line->BRR = 1; // TIM4->CNT in a comment does not count
    """
    found = {(each.block, each.name) for each in registers._used_in(registers._without_comments(text))}
    wanted = {("TIM5", "SR"), ("ADC1", "JDR[1]"), ("DMA2", "S0NDTR"), ("USART2", "BRR")}
    assert found == wanted


def test_a_register_that_no_model_has_is_reported() -> None:
    foreign = ChipRegister("TIM9", "CR1", 0x4001_4000, 0x4001_4000)
    assert registers.renode().has(foreign) == "" and registers.qemu().has(foreign) == ""
    assert registers.renode().has(ChipRegister("RCC", "CR", 0x4002_3800, 0x4002_3800)) == "yes"


def test_every_block_is_in_both_emulators() -> None:
    """At its base address: a block without a model would show only when its first register is used."""
    lacking = [
        f"{block.name} in {where}"
        for block in registers.blocks().values()
        for where, models in (("renode", registers.renode()), ("qemu", registers.qemu()))
        if not models.has(ChipRegister(block.name, "", block.base, block.base))
    ]
    assert lacking == []
    assert isinstance(registers.blocks()["RCC"], RegisterBlock)
