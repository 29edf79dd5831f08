"""A property that is a template, such as `topic: "boxes/{{.box}}"`: rendered from what is sent."""

from collections.abc import Callable
from typing import Any

from opq_rules.sinking.template import compiled


def per_row(text: str) -> Callable[[Any], str]:
    """`text`, or what its template gives for the row (of several: the first).

    Raises ValueError: the template does not parse.
    """
    if "{{" not in text and "{%" not in text:
        return lambda data: text
    render = compiled(text)
    return lambda data: render(data[0] if isinstance(data, list) and data else data)
