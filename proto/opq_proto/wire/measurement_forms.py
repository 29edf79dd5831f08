"""Reads only a few fields of single regular Measurements, where arrays (`measurement_batch`) would not pay.

Messages of Boxes differ only in numbers. The first message of a shape is read field by field and stored as
one long whole number, with a mask of the bits that may differ. A message that fits has each field once, at
the same place as the first.
"""

from dataclasses import dataclass

from opq_proto.wire.measurement_batch import LENGTHS, LONGEST_BYTES, SHAPES_OF_LENGTH, regular_fields
from opq_proto.wire.measurement_columns import METRIC_NAMES
from opq_proto.wire.packed_counts import varint

_RMS = 3 * METRIC_NAMES.index("rms")
_BOX, _SEQUENCE, _BACKFILLED = 1, 1004, 1005
BOXES = 100_000
"""Boxes whose id is cached as bytes."""


@dataclass(frozen=True, slots=True)
class Form:
    """The places of the fields in a shape."""

    mask: int
    want: int
    box: slice
    sequence: slice
    """Empty where it has none."""
    backfilled: int
    """Offset; -1 where it has none."""
    rms: int
    """Offset of the least rms."""


class MeasurementForms:
    """Remembers the shapes it has seen. Used by one thread."""

    def __init__(self) -> None:
        self._forms: dict[int, list[Form]] = {}
        self._ids: dict[int, bytes] = {}

    def form(self, body: bytes) -> Form | None:
        """Returns the shape of a message; None where it is not regular."""
        bits = int.from_bytes(body, "little")
        forms = self._forms.get(len(body), ())
        for form in forms:
            if bits & form.mask == form.want:
                return form
        return self._learned(body, bits) if len(forms) < SHAPES_OF_LENGTH else None

    def read(self, number: int, body: bytes, form: Form) -> tuple[int, bool] | None:
        """Returns a message's sequence (-1 for none), and whether it was sent later, or again.

        None where it is not from the Box `number`. `form` is the message's shape.
        """
        own = self._ids.get(number)
        if own is None:
            if len(self._ids) >= BOXES:
                self._ids.clear()
            own = self._ids[number] = varint(number)
        if body[form.box] != own:
            return None
        numbered = body[form.sequence]
        sequence = _folded(int.from_bytes(numbered, "little")) if numbered else -1
        return sequence, form.backfilled >= 0 and body[form.backfilled] != 0

    def _learned(self, body: bytes, bits: int) -> Form | None:
        fields = regular_fields(body) if len(body) <= LONGEST_BYTES else None
        if fields is None:
            return None
        mask, varints, floats = fields
        if len(self._forms) >= LENGTHS and len(body) not in self._forms:
            self._forms.clear()
        kept = int.from_bytes(mask, "little")
        box, box_bytes = varints[_BOX]
        offset, size = varints.get(_SEQUENCE, (0, 0))
        sequence = slice(offset, offset + size)
        late = varints.get(_BACKFILLED, (-1, 0))[0]
        form = Form(kept, bits & kept, slice(box, box + box_bytes), sequence, late, floats[_RMS])
        self._forms.setdefault(len(body), []).append(form)
        return form


def _folded(bits: int) -> int:
    """Returns the number of a varint of up to nine bytes: joins its groups of seven bits pair by pair."""
    bits = bits & 0x7F007F007F007F007F | (bits & 0x007F007F007F007F00) >> 1
    bits = bits & 0x7F00003FFF00003FFF | (bits & 0x003FFF00003FFF0000) >> 2
    return bits & 0xFFFFFFF | (bits & 0xFFFFFFF00000000) >> 4 | (bits & 0x7F0000000000000000) >> 8
