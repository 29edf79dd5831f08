"""`bench firmware`: the linker's map is parted by memory and module."""

from bench.firmware import bytes_by_module

LINKER_MAP = """
Discarded input sections

 .text.unused   0x00000000       0x10 /b/obj/acquire/ring.o

Linker script and memory map

 .text          0x08008200      0x100 /b/obj/py/vm.o
 .text.opq_clock_is_disciplined
                0x08008300       0x40 /b/obj/clock/clock.o
                0x08008300                opq_clock_is_disciplined
 .rodata        0x08008340       0x20 /usr/lib/libm.a(lib_a-sf_cos.o)
 .bss.ring      0x20000000     0x1000 /b/obj/acquire/ring.o
 .bss           0x10000000        0x8 /b/obj/uart.o
"""


def test_a_linkers_map_is_parted_by_module() -> None:
    assert bytes_by_module(LINKER_MAP) == {
        "flash": {"MicroPython": 256, "clock": 64, "C library": 32},
        "SRAM": {"acquire": 4096},
        "CCM": {"port and start": 8},
    }
