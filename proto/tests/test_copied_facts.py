"""Facts that C and Python both need: the copies say the same.

The firmware can import nothing of ours, so that each of these stands in a header, too. The layout of frames
and images is held by the vectors in proto/golden; here are the numbers that no vector shows.
"""

import re
from pathlib import Path

import pytest

from opq_proto.firmware import image as image
from opq_proto.link import frames as link
from opq_proto.link import messages as messages

DEVICE = Path(__file__).resolve().parents[2] / "device"
FACTS = {
    "cmodules/link/link.h": {"OPQ_LINK_BAUD": messages.LINK_BAUD, "OPQ_LINK_MAX_FRAME": link.MAX_FRAME},
    "cmodules/link/messages.h": {
        "OPQ_PROTOCOL": messages.PROTOCOL,
        "OPQ_FLAG_CLIPPED": messages.FLAG_CLIPPED,
        "OPQ_FLAG_OVERRUN_BEFORE": messages.FLAG_OVERRUN_BEFORE,
        "OPQ_FLAG_RESENT": messages.FLAG_RESENT,
        **{f"OPQ_OPERATION_{each.name}": int(each) for each in messages.Operation},
        **{f"OPQ_STATUS_{each.name}": int(each) for each in messages.Status},
    },
    "cmodules/update/image.h": {
        "OPQ_IMAGE_HEADER_BYTES": image.HEADER_BYTES,
        "OPQ_IMAGE_SIGNED_BYTES": image.SIGNED_BYTES,
        "OPQ_IMAGE_HARDWARE_BYTES": image.HARDWARE_BYTES,
        "OPQ_IMAGE_LABEL_BYTES": image.LABEL_BYTES,
        "OPQ_SLOT_BYTES": image.SLOT_BYTES,
        "OPQ_SLOT_STATUS_BYTES": image.STATUS_BYTES,
        "OPQ_SLOT_A_ADDRESS": image.Slot.A.address,
        "OPQ_SLOT_B_ADDRESS": image.Slot.B.address,
    },
}
"""Header below `device`, name in C, value in Python."""


@pytest.mark.parametrize("header", FACTS)
def test_c_and_python_hold_the_same_numbers(header: str) -> None:
    text = (DEVICE / header).read_text(encoding="utf-8")
    found = {}
    for name in FACTS[header]:
        said = re.search(rf"\b{name}\b\s*(?:=\s*|UINT32_C\()(0x[0-9A-Fa-f]+|\d+)", text)
        found[name] = int(said[1], 0) if said else None
    assert found == FACTS[header]
