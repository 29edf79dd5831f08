"""The deepest the stack can get, from the frames of each function and who calls whom.

Interrupts: each priority adds its deepest chain and the frame that the processor pushes; they all nest. Main
thread: MicroPython holds its own depth to a limit, below which main.c leaves STACK_RESERVE; in there must fit
all interrupts and the deepest chain of our own C that Python calls.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from opq_tools.firmware.elf import ElfBinary, named
from opq_tools.firmware.toolchain import FirmwareBuildError

EXCEPTION_FRAME_BYTES = 108
"""With the FPU's registers and the alignment word (PM0214 2.3.7, figure 12): 26 words and 4 bytes."""

UNBOUNDED = 1 << 20
"""A frame whose size is known at run time only: over any budget, if a chain of ours leads there."""

PRIORITIES: Mapping[int, tuple[str, ...]] = {
    0: ("TIM5_IRQHandler",),
    1: ("USART1_IRQHandler", "USART3_IRQHandler"),
    2: ("DMA2_Stream0_IRQHandler", "DMA1_Stream3_IRQHandler", "ADC_IRQHandler"),
    3: ("SysTick_Handler", "PVD_IRQHandler"),
    15: ("PendSV_Handler",),
}


@dataclass(frozen=True, slots=True)
class Depth:
    """The deepest chain below one function."""

    bytes: int
    chain: tuple[str, ...]


class Depths:
    """Deepest chains, each computed once. `frames` (from -fstack-usage) win over what the code shows."""

    def __init__(
        self,
        binary: ElfBinary,
        frames: Mapping[str, int],
        pointers: Mapping[str, Sequence[str]],
        ends: Iterable[str] = (),
    ) -> None:
        self._binary, self._frames, self._pointers = binary, frames, pointers
        self._ends = tuple(ends)
        self._known: dict[str, Depth] = {}

    def below(self, name: str, above: tuple[str, ...] = ()) -> Depth:
        """Raises: BuildError when the chain closes on itself: no bound can be given."""
        if name in above:
            raise FirmwareBuildError(f"stack: {' > '.join((*above[above.index(name) :], name))} is recursive")
        if name in self._known or name not in self._binary.functions:
            return self._known.get(name, Depth(0, ()))
        function = self._binary.functions[name]
        own = max(self._frames.get(name, 0), function.frame_bytes)
        told = self._pointers.get(name.partition("@")[0], ())
        callees = {*function.calls, *(callee for target in told for callee in named(self._binary, target))}
        deepest = Depth(0, ())
        for callee in sorted(callees):
            if not callee.startswith(self._ends) or not self._ends:
                deepest = max(deepest, self.below(callee, (*above, name)), key=lambda depth: depth.bytes)
        self._known[name] = Depth(own + deepest.bytes, (name, *deepest.chain))
        return self._known[name]


def frames_of(text: Iterable[str]) -> dict[str, int]:
    """Frame bytes per function from .su files; two static ones of a name: the larger."""
    found: dict[str, int] = {}
    for line in text:
        place, count, kind = line.rstrip("\n").split("\t")
        name = place.rsplit(":", 1)[1]
        bounded = "dynamic" not in kind or "bounded" in kind
        found[name] = max(found.get(name, 0), int(count) if bounded else UNBOUNDED)
    return found


def interrupts(depths: Depths) -> dict[int, Depth]:
    """Per priority the deepest chain of its handlers, the processor's frame included."""
    found = {}
    for priority, handlers in PRIORITIES.items():
        deepest = max((depths.below(handler) for handler in handlers), key=lambda depth: depth.bytes)
        found[priority] = Depth(deepest.bytes + EXCEPTION_FRAME_BYTES, deepest.chain)
    return found
