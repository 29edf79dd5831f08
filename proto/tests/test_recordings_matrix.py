"""What becomes of each form with each fault, as docs/recordings.md says it: no cell is silently wrong.

`python proto/tests/test_recordings_matrix.py` prints the table.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recordings_mutated import GIVEN, originals

from opq_proto.errors import RecordingError
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording

PAGE = Path(__file__).parents[2] / "docs" / "recordings.md"
FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "last byte missing": lambda whole: whole[:-1],
    "zeros at the head": lambda whole: bytes(16) + whole[16:],
    "head of a PDF": lambda whole: b"%PDF-1.7\n" + whole[9:],
    "100 bytes more": lambda whole: whole + b"\xfe" * 100,
    "64 bytes missing": lambda whole: whole[: len(whole) * 2 // 3] + whole[len(whole) * 2 // 3 + 64 :],
}
NOT_KNOWABLE = {
    ("csv", "cut in half"),
    ("csv", "last byte missing"),
    ("csv2", "last byte missing"),
    ("csv3", "cut in half"),
}
"""A CSV states no length, and its last row here has no line end anyway."""


def cell(form: str, fault: str, folder: Path) -> str:
    """`refused`, `same` samples, `said` in problems, `gap`, or `silent`: other samples and no word of it."""
    name, original, beside = originals()[form]

    def read(content: bytes) -> Recording:
        for file, each in {**beside, name: content}.items():
            (folder / file).write_bytes(each)
        return read_recording(folder / ("a.i16" if form == "facts" else name), GIVEN.get(form))

    whole = read(original)
    wanted_v = whole.volts(0, whole.samples)
    try:
        found = read(FAULTS[fault](original))
    except RecordingError:
        return "refused"
    if np.array_equal(found.volts(0, found.samples), wanted_v, equal_nan=True):
        return "same"
    if set(found.problems) - set(whole.problems):
        return "said"
    return "gap" if found.gaps != whole.gaps else "silent"


def row(form: str, folder: Path) -> str:
    cells = [
        "not knowable" if (form, fault) in NOT_KNOWABLE else cell(form, fault, folder) for fault in FAULTS
    ]
    return f"| {form} | {' | '.join(cells)} |"


@pytest.mark.parametrize("form", originals())
def test_the_page_says_what_becomes_of_each_fault(form: str, tmp_path: Path) -> None:
    found = row(form, tmp_path)
    assert "silent" not in found
    assert found in PAGE.read_text(encoding="utf-8").splitlines(), found


def main() -> None:
    print(f"| form | {' | '.join(FAULTS)} |")
    print("|---" * (1 + len(FAULTS)) + "|")
    for form in originals():
        with tempfile.TemporaryDirectory() as name:
            print(row(form, Path(name)))


if __name__ == "__main__":
    main()
