"""The record of a crash in words: registers by name, the words of the stack, and where code was.

Words are in the order of opq_crash_t (device/port/crash.h) from `kind` on; the stack is after the registers.
"""

from opq_proto.link.messages import Crash

KINDS = {
    1: "processor fault",
    2: "the crystal or TCXO stopped",
    3: "the app ended",
    4: "an exception that nothing caught",
    5: "unexpected interrupt",
}
"""opq_crash_kind_t."""
REGISTERS = (
    *("kind", "count", "pc", "lr", "psr", "cfsr", "hfsr", "mmfar", "bfar"),
    *("r0", "r1", "r2", "r3", "r12", "sp"),
)


def crash_record(crash: Crash) -> dict[str, int | str]:
    """Returns the registers by name, and `stack`: its words from `sp` on, without zeros at the end.

    >>> crash_record(Crash((1, 2, 0x08021234)))
    {'kind': 'processor fault', 'count': 2, 'pc': '0x08021234', 'stack': ''}
    """
    named = dict(zip(REGISTERS, crash.words, strict=False))
    found: dict[str, int | str] = {name: f"0x{word:08X}" for name, word in named.items()}
    if "kind" in named:
        found["kind"] = KINDS.get(named["kind"], f"unknown ({named['kind']})")
    if "count" in named:
        found["count"] = named["count"]
    stack = list(crash.words[len(REGISTERS) :])
    while stack and stack[-1] == 0:
        stack.pop()
    return found | {"stack": " ".join(f"0x{word:08X}" for word in stack)}
