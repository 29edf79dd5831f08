"""All routes of this room, over one reader: the application includes them in one line.

The file is short, because it only connects the others.
"""

from fastapi import APIRouter

from opq_cloud.core.settings.view import ViewSection
from opq_cloud.view.pages.account.account_context import PageMaker
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_pages import MapPages, MapStates
from opq_cloud.view.pages.map.shared_pages import SharedPages
from opq_cloud.view.pages.shown.context import ViewContext


def grid_reader(context: ViewContext) -> GridReader:
    """One reader for all maps of an application."""
    return GridReader(context, _config(context).map_radius_km)


def public_router(
    context: ViewContext, reader: GridReader, states: MapStates, render: PageMaker
) -> APIRouter:
    """The routes; `render` is `Pages.render`."""
    config = _config(context)
    router = APIRouter(include_in_schema=False)
    for made in (
        MapPages(context, reader, states, config, render),
        SharedPages(context, reader, config, render),
    ):
        router.include_router(made.router())
    return router


def _config(context: ViewContext) -> ViewSection:
    return ViewSection() if context.visitors is None else context.visitors.config
