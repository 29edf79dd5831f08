"""What a message of a worker would become in the host's memory, looked at before it is unpacked.

One byte of MessagePack may be an empty list, which takes 64 in memory: 16 MiB of them would take a gigabyte.
"""

MOST_CONTAINERS = 500_000
"""Lists and maps in one message: a batch of 2,000 rows has 250 in each."""
MOST_VALUES = 4_000_000
"""Looked at where there may be more containers than that."""
_CONTAINERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
_OTHERS = bytes(set(range(256)) - set(_CONTAINERS))
_SIZES = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED_EXTENSIONS = {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
_EXTENSIONS = (0xC7, 0xC8, 0xC9)
_BEHIND = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def check(body: bytes) -> None:
    """Raises ValueError: more lists and maps than any message has."""
    if len(body) <= MOST_CONTAINERS or len(body.translate(None, _OTHERS)) <= MOST_CONTAINERS:
        return  # bytes that look like one are more than there are
    at = containers = values = 0
    end = len(body)
    while at < end:
        mark = body[at]
        at += 1
        values += 1
        if 0xA0 <= mark < 0xC0:
            at += mark & 0x1F
        elif 0x80 <= mark < 0xA0 or mark in _BEHIND:
            containers += 1
            at += _BEHIND.get(mark, 0)
        elif mark in _LENGTHS:
            width = _LENGTHS[mark]
            at += width + int.from_bytes(body[at : at + width], "big") + (mark in _EXTENSIONS)
        else:
            at += _SIZES.get(mark) or _FIXED_EXTENSIONS.get(mark, 0)
        if containers > MOST_CONTAINERS or values > MOST_VALUES:
            raise ValueError(f"a message of more than {MOST_CONTAINERS} lists and maps")
