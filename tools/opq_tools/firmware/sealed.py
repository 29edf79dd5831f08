"""What must go on while flash is erased runs from RAM and touches nothing in flash: no call, no constant.

An erase stalls every fetch from flash for up to two seconds (RM0090 3.6.3). The interrupts of priority 0 to 2
and the erase's own wait would stand still with it if one instruction or constant of theirs lay there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from opq_tools.firmware.elf import ElfBinary, named

RAM = range(0x20000000, 0x20020000)
FLASH = range(0x08000000, 0x08100000)
ROOTS = (
    "TIM5_IRQHandler",
    "DMA1_Stream3_IRQHandler",
    "DMA2_Stream0_IRQHandler",
    "USART1_IRQHandler",
    "USART3_IRQHandler",
    "ADC_IRQHandler",
    "work",  # flash.c: starts an erase or a program and waits for its end
)


def reachable(
    binary: ElfBinary, root: str, pointers: Mapping[str, Sequence[str]], ends: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Every function that `root` may call, and who calls it, down to names that begin with one of `ends`.

    `pointers`: targets of indirect calls, by caller.
    """
    seen, waiting = set(), [(root, "the vector table")]
    while waiting:
        name, caller = waiting.pop()
        if name in seen or name not in binary.functions or (ends and name.startswith(ends)):
            continue
        seen.add(name)
        yield name, caller
        called = {*binary.functions[name].calls}
        called.update(target for told in pointers.get(name, ()) for target in named(binary, told))
        waiting += [(callee, name) for callee in sorted(called)]


def unnamed(
    binary: ElfBinary, roots: Iterable[str], pointers: Mapping[str, Sequence[str]], ends: tuple[str, ...] = ()
) -> list[str]:
    """One line for each function below `roots` that calls through a pointer whose targets nobody named."""
    found = {}
    for root in roots:
        for name, _ in reachable(binary, root, pointers, ends):
            if binary.functions[name].indirect and name.partition("@")[0] not in pointers:
                found[name] = f"{name} ({root}) calls through a pointer; name its targets in stack.toml"
    return list(found.values())


def leaks(binary: ElfBinary, pointers: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each way out of RAM; empty: sealed."""
    found = {}
    for root in ROOTS:
        if root not in binary.functions:
            continue
        for name, caller in reachable(binary, root, pointers):
            function = binary.functions[name]
            if function.address in FLASH:
                found[name] = f"{name} lies in flash and is called by {caller} ({root})"
                continue
            for address in sorted(function.data):
                if address in FLASH:
                    found[f"{name}+{address}"] = (
                        f"{name} ({root}) reads a constant in flash at 0x{address:08x}"
                    )
    return [*found.values(), *unnamed(binary, ROOTS, pointers)]
