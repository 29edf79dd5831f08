"""All routes of this room, over one reader: the application includes them in one line.

Short, and of no page's file: it is where they meet.
"""

from fastapi import APIRouter

from opq_cloud.config import ViewSection
from opq_cloud.view.accounts.account_context import PageMaker
from opq_cloud.view.context import ViewContext
from opq_cloud.view.public.grid_reader import GridReader
from opq_cloud.view.public.map_pages import MapPages
from opq_cloud.view.public.shared_pages import SharedPages


def public_router(context: ViewContext, render: PageMaker) -> APIRouter:
    """`render` is `Pages.render`."""
    config = ViewSection() if context.visitors is None else context.visitors.config
    reader = GridReader(context, config.map_radius_km)
    router = APIRouter(include_in_schema=False)
    for made in (
        MapPages(context, reader, config, render),
        SharedPages(context, reader, config, render),
    ):
        router.include_router(made.router())
    return router
