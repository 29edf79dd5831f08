"""The page of all thresholds of the classification, made of the constants and their docstrings.

python proto/tests/threshold_table.py > docs/classes-thresholds.md
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = "proto/opq_measure/classification", "proto/opq_measure/events", "cloud/opq_cloud/mauka/analyses"
UNITS = {
    "S": "s",
    "MS": "ms",
    "NS": "ns",
    "HZ": "Hz",
    "V": "V",
    "PU": "of the fundamental",
    "PERCENT": "%",
    "SHARE": "share",
    "CYCLES": "cycles",
    "SAMPLES": "samples",
    "SIGMAS": "sigma",
    "HOPS": "hops",
    "POWER": "times, power",
    "PERIODS": "periods",
    "SWINGS": "swings",
}
HEAD = """# Thresholds of the classification

Written by `python proto/tests/threshold_table.py > docs/classes-thresholds.md`; a test compares the page with
the code. Limits that an operator sets are those of [the classes](./classes.md#the-classes), in the settings
[`analysis_settings`](./reference/settings-cloud.md#mauka). Without a unit it is a number or a ratio.
"""
COLUMNS = "| constant | value | unit | what it decides, and why | file |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Threshold:
    """One constant."""

    file: str
    name: str
    value: str
    about: str
    """What it decides, and why: its docstring."""

    @property
    def unit(self) -> str:
        if self.name.endswith("HALF_CYCLES"):
            return "half cycles"
        return UNITS.get(self.name.rpartition("_")[2], "")


def thresholds() -> Iterator[Threshold]:
    """Yields the numeric constants of the classification's modules, by file."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            for at, node in enumerate(body):
                if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                    continue
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                name = ast.unparse(target)
                if name.isupper() and _is_number(node.value):
                    after = body[at + 1] if at + 1 < len(body) else node
                    file = str(path.relative_to(ROOT / folder))
                    yield Threshold(file, name, ast.unparse(node.value), _text(after))


def _is_number(value: ast.expr) -> bool:
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    numbers = (ast.Constant, ast.BinOp, ast.UnaryOp)
    return all(isinstance(each, numbers) and not _is_text(each) for each in parts)


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and not isinstance(value.value, int | float)


def _text(node: ast.stmt) -> str:
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return " ".join(node.value.value.split()).replace("|", "\\|")
    return ""


def page() -> str:
    """The whole page."""
    rows = (
        f"| `{each.name}` | {each.value} | {each.unit} | {each.about} | `{each.file}` |"
        for each in thresholds()
    )
    return "\n".join((HEAD, COLUMNS, *rows)) + "\n"


if __name__ == "__main__":
    print(page(), end="")
