"""What tools/lint says about sentences: a short list of forms for which CONTRIBUTING.md has a plain one.

`python tools/plain_words.py [PATH]...` prints each place, of all files of git or of these, and what to say
instead. A room may have as many as MOST says; the numbers only get smaller.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORMS = (
    (
        re.compile(
            r"(?<!there )(?<!There )\b(?:is|are|was|were) no "
            r"(?!longer|more|less|fewer|other|later|earlier)(?=[A-Za-z])"
        ),
        "is not a X; has no X",
    ),
    (re.compile(r"(?<!there )(?<!There )\b(?:is|are|was|were) none\b"), "name what does not exist"),
    (re.compile(r"\b[Nn]obody\b"), "name who does not, or say not"),
    (re.compile(r"\banew\b"), "again"),
    (re.compile(r"\b(?:whence|wherefrom|thereof)\b"), "where from; of it"),
    (re.compile(r"\btells\b"), "reports, logs, notifies"),
    (re.compile(r"` do(?:es)? not exist yet\b"), "say what exists; this line outlives the day"),
)
"""Form -> what to say. Only what a pattern finds with few false alarms is here."""
MOST = {"hil": 4}
"""Room -> how many places are left."""
LEFT_OUT = ("docs/history/", "tools/plain_words.py", "tools/tests/test_plain_words.py", "CONTRIBUTING.md")
"""A log of the past, and the files that list the forms."""
SUFFIXES = {".py", ".md", ".html"}


def places(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, form and what to say instead, in the sentences of a file: of code, its texts and comments."""
    text = path.read_text(encoding="utf-8")
    if not any(form.search(text) for form, _ in FORMS):
        return
    if path.suffix == ".py":
        kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        parts = [(token.start[0], token.string) for token in tokens if token.type in kinds]
    else:
        parts = [(1, re.sub(r"{[{%].*?[}%]}", lambda code: " " * len(code[0]), text))]
    for first, part in parts:
        for form, instead in FORMS:
            for found in form.finditer(part):
                yield first + part.count("\n", 0, found.start()), found[0], instead


def room_of(name: str) -> str:
    """The top folder of a file; "" for the top folder itself."""
    return name.partition("/")[0] if "/" in name else ""


def listed() -> list[str]:
    """The files of git that people write."""
    done = subprocess.run(("git", "ls-files"), cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        name
        for name in done.stdout.splitlines()
        if Path(name).suffix in SUFFIXES and not name.startswith(LEFT_OUT) and (ROOT / name).is_file()
    ]


def main(arguments: list[str]) -> int:
    """Prints places of the given files, or rooms that have too many; 1 if there are any."""
    if arguments:
        found = [(name, *place) for name in arguments for place in places(Path(name))]
        for name, line, form, instead in found:
            print(f"{name}:{line}: {form!r}; say: {instead}")
        return 1 if found else 0
    counts = Counter(room_of(name) for name in listed() for _ in places(ROOT / name))
    above = {room: count for room, count in counts.items() if count > MOST.get(room, 0)}
    for room, count in above.items():
        print(
            f"{room or 'the top folder'}: {count} places are not plain; {MOST.get(room, 0)} are allowed there"
        )
    if above:
        print("see them with: python tools/plain_words.py FILE...")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
