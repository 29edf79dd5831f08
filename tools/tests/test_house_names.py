"""Names of tests and of files.

A test's name is its subject and its claim in at most eight words; the rest is its docstring.
"""

import re
from collections.abc import Iterator

from contract_snapshot import ROOT

MOST_WORDS = 8
"""`a_sag` has two; the docstring says under which conditions, and what follows."""
ROOMS = ("cloud", "device", "gateway", "hil", "proto", "tools")
NAME = re.compile(r"^ *(?:async )?def test_(\w+)", re.MULTILINE)


def too_long(text: str) -> Iterator[tuple[int, str]]:
    """Yields line and name of each test with more words than a name may have."""
    for found in NAME.finditer(text):
        if found[1].count("_") >= MOST_WORDS:
            yield text.count("\n", 0, found.start()) + 1, f"test_{found[1]}"


def test_names_are_counted_by_words() -> None:
    nine = "def test_an_open_sag_of_a_box_is_returned_open() -> None: ..."
    assert list(too_long(f"x = 1\n{nine}\n")) == [(2, "test_an_open_sag_of_a_box_is_returned_open")]
    assert list(too_long(f"class Sags:\n    {nine}\n    async {nine}\n"))[-1][0] == 3
    assert list(too_long(nine.replace("_of_a_box", ""))) == []


def test_a_tests_name_has_few_words() -> None:
    files = [path for room in ROOMS for path in (ROOT / room).glob("**/tests/**/*.py")]
    assert len(files) > 700
    long = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files
        for line, name in too_long(path.read_text(encoding="utf-8"))
    ]
    assert long == [], (
        f"Names of tests have more than {MOST_WORDS} words after `test_`; "
        "say subject and claim, and the rest in a docstring:\n" + "\n".join(long)
    )


def test_a_file_name_repeats_at_most_twice() -> None:
    """A file is found by its name. Python and pytest name some; fakes have the names of the firmware's
    modules."""
    places: dict[str, list[str]] = {}
    for room in ROOMS:
        for path in (ROOT / room).glob("**/*.py"):
            inside = path.relative_to(ROOT)
            if "fakes" not in inside.parts and not path.name.startswith(("__", "conftest")):
                places.setdefault(path.name, []).append(str(inside))
    assert len(places) > 1500
    assert {name: found for name, found in places.items() if len(found) > 2} == {}
