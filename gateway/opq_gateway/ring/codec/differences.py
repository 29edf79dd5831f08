"""Differences: samples without mains, as what is left of them by a polynomial of few terms.

    body = order u8 (0 to 2), base i32, then one run (`entropy.py`): the order-th differences of value - base
                                                                                           little endian
The converter's own noise has order 0, what drifts 1, what is smooth 2.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec.entropy import Coded
from opq_gateway.ring.codec.entropy import decode as decode_runs
from opq_gateway.ring.codec.entropy import encode as encode_runs

Integers = NDArray[np.int64]

_HEAD: Final = struct.Struct("<Bi")
MOST_ORDER: Final = 2


def encode(values: Integers) -> bytes:
    """(n,) whole numbers in the range of int16, n at least 1."""
    base = int(np.median(values))
    runs = [np.diff(values - base, n=order, prepend=[0] * order) for order in range(MOST_ORDER + 1)]
    order = min(
        range(MOST_ORDER + 1), key=lambda k: float(np.median(np.abs(runs[k])) + 0.1 * np.abs(runs[k]).mean())
    )
    return _HEAD.pack(order, base) + encode_runs([_wrapped(runs[order])], [0])


def decode(body: bytes, samples: int) -> Integers:
    """The values of `encode`.

    Raises:
        ValueError: damaged.
    """
    if len(body) < _HEAD.size:
        raise ValueError("chunk is damaged: its head is torn")
    order, base = _HEAD.unpack_from(body)
    ((values,),) = decode_runs([Coded(body[_HEAD.size :], [0], samples)])
    if len(values) != samples or order > MOST_ORDER:
        raise ValueError("chunk is damaged: its run does not fit its head")
    for _ in range(order):
        values = np.cumsum(values)
    return _wrapped(values + base)


def _wrapped(values: Integers) -> Integers:
    """Modulo 2**16 into int16's range."""
    return values.astype(np.int16).astype(np.int64)
