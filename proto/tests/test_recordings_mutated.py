"""A broken file is one line or a recording, never a traceback, and never slow."""

from pathlib import Path

import pytest
from recordings_mutated import GIVEN, originals, outcomes

from opq_recordings.reading import read_recording

FORMATS = tuple(originals())
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # figures beyond all numbers


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_that_is_mutated_is_right(form: str, tmp_path: Path) -> None:
    name, original, beside = originals()[form]
    for file, content in {name: original, **beside}.items():
        (tmp_path / file).write_bytes(content)
    found = read_recording(tmp_path / ("a.i16" if form == "facts" else name), GIVEN.get(form))
    assert found.samples >= 40 and found.rate_hz == pytest.approx(1600)


@pytest.mark.parametrize("form", FORMATS)
def test_a_mutated_file_is_refused_or_read(form: str, tmp_path: Path) -> None:
    found = {outcome for _, outcome in outcomes(form, tmp_path, 0, 150)}
    assert found <= {"read", "refused"}
    assert "refused" in found


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_many_mutated_files_are_refused_or_read(form: str, tmp_path: Path) -> None:
    assert {outcome for _, outcome in outcomes(form, tmp_path, 150, 100_000)} <= {"read", "refused"}
