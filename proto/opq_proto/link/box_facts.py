"""What a Box reports of its option bytes, revision, label of seconds and user's program, in words.

Names are those of opq_fact_t (device/cmodules/link/messages.h, without OPQ_FACT_), in the order of the wire:
new ones are added at the end, none is removed.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from opq_proto.link.log_codes import PROGRAM_STATES
from opq_proto.link.messages import BoxFacts

BROWN_OUT_LEVELS = {0: "off", 1: "2.10 V", 2: "2.40 V", 3: "2.70 V"}
"""RM0090 3.9.10 and DS8626 table 24: the typical falling threshold."""
REVISIONS = {0x1000: "A", 0x1001: "Z", 0x1003: "Y", 0x1007: "1"}
"""REV_ID of an STM32F405 (RM0090 38.6.1)."""
LABELS = {0: "nothing yet", 1: "NMEA", 2: "UBX", 3: "UBX that confirms UTC"}


def _word(words: Mapping[int, str]) -> Callable[[int], str]:
    return lambda number: words.get(number, f"unknown ({number})")


def sectors_text(mask: int) -> str:
    """Returns the protected sectors as text.

    >>> sectors_text(0b11)
    'sectors 0, 1'
    """
    found = [str(sector) for sector in range(32) if mask >> sector & 1]
    return f"sectors {', '.join(found)}" if found else "none"


FACTS: Mapping[str, Callable[[int], str]] = MappingProxyType(
    {
        "brown_out_level": _word(BROWN_OUT_LEVELS),
        "protected_sectors": sectors_text,
        "chip_revision": lambda number: REVISIONS.get(number, f"0x{number:04X}"),
        "time_label": _word(LABELS),
        "program": _word(PROGRAM_STATES),
        "program_crc32": lambda number: f"{number:08x}",
    }
)
"""Name of each fact, and what puts its number into words."""


def box_facts(facts: BoxFacts | None) -> dict[str, str]:
    """Returns name -> words, without what the Box has not reported.

    >>> box_facts(BoxFacts((3, 3)))
    {'brown_out_level': '2.70 V', 'protected_sectors': 'sectors 0, 1'}
    """
    if facts is None:
        return {}
    return {name: word(number) for (name, word), number in zip(FACTS.items(), facts.numbers, strict=False)}
