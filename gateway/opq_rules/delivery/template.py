"""dataTemplate, and properties such as `topic: "boxes/{{.box}}"`, as functions of rows."""

from collections.abc import Callable

from opq_rules.delivery.template_sandbox import sandboxed


def compiled_template(text: str) -> Callable[[object], str]:
    """The template as a function of rows, or of one row. Raises ValueError: it does not parse."""
    return sandboxed(text)


def per_row(text: str) -> Callable[[object], str]:
    """A property as a function of rows. Raises ValueError: it does not parse."""
    if "{{" not in text and "{%" not in text:
        return lambda data: text
    render = compiled_template(text)
    return lambda data: render(data[0] if isinstance(data, list) and data else data)
