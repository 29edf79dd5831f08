"""The style sheets of a theme that an account has chosen: the tokens of `view.css`, one fixed set.

`view.css` has each colour twice, light and dark, by what the system prefers; the file of a theme repeats one
set after it, read from there, so that each colour is defined in one place.
"""

import re
from pathlib import Path

from fastapi import HTTPException, Response

from opq_cloud.view.web.shares import PageRouter

SHEET = Path(__file__).parents[1] / "static" / "view.css"
THEME_NAMES = ("light", "dark")


def theme_sheet(name: str) -> str:
    """The rule `:root { … }` of one theme. Raises KeyError for another name."""
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", SHEET.read_text(encoding="utf-8"), re.S)[:2]
    tokens = {"light": light, "dark": dark}[name]
    colours = re.findall(r"--(?:[\w-]+: #[0-9a-f]{6}|white-picture: [^;]+);", tokens)
    return f":root {{ color-scheme: {name}; {' '.join(colours)} }}\n"


def theme_routes() -> PageRouter:
    """The routes `/theme/light.css` and `/theme/dark.css`."""
    sheets = {f"{name}.css": theme_sheet(name) for name in THEME_NAMES}

    def theme(file: str) -> Response:
        if file not in sheets:
            raise HTTPException(404, f"There is no theme {file}.")
        return Response(sheets[file], media_type="text/css")

    router = PageRouter(include_in_schema=False)
    router.add_api_route("/theme/{file}", theme)
    return router
