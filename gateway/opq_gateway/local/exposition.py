"""Prometheus' text format, 0.0.4: a few lines, where its client library brings a web server and TLS, 5 MB."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True, slots=True)
class Family:
    """Values of one name: by the value of their `label`, or one alone under "" where there is none."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    label: str
    values: Mapping[str, float]


def exposition(families: Iterable[Family]) -> bytes:
    """What is answered to a scrape."""
    return "".join(line for family in families for line in _lines(family)).encode()


def _lines(family: Family) -> Iterable[str]:
    name, label = family.name, family.label
    yield f"# HELP {name} {family.meaning.translate(HELP_ESCAPES)}\n# TYPE {name} {family.kind}\n"
    for key, value in family.values.items():
        of = f'{{{label}="{key.translate(LABEL_ESCAPES)}"}}' if label else ""
        yield f"{name}{of} {_number(value)}\n"


def _number(value: float) -> str:
    """As Go reads it.

    >>> [_number(float(text)) for text in ("1", "1e22", "-inf", "inf", "nan")]
    ['1.0', '1e+22', '-Inf', '+Inf', 'NaN']
    """
    text = repr(float(value))
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text, text)
