"""dataTemplate, and properties such as `topic: "boxes/{{.box}}"`, as functions of rows.

Jinja2 is loaded with the first template: it takes 8 MB, and most rules have none.
"""

from collections.abc import Callable


def compiled_template(text: str) -> Callable[[object], str]:
    """The template as a function of rows, or of one row. Raises ValueError: it does not parse."""
    from opq_rules.delivery.template_sandbox import sandboxed

    return sandboxed(text)


def per_row(text: str) -> Callable[[object], str]:
    """A property as a function of rows. Raises ValueError: it does not parse."""
    if "{{" not in text and "{%" not in text:
        return lambda data: text
    render = compiled_template(text)
    return lambda data: render(data[0] if isinstance(data, list) and data else data)
