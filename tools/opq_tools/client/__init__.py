"""A View's `/api/v1` for Python: typed, with and without asyncio. docs/api.md has ten lines to a plotted dip.

It needs httpx (`pip install 'opq-toolkit[client]'`), no cloud and no gateway.
"""

from opq_tools.client.calls import ApiRefusedError, ViewUnreachableError
from opq_tools.client.clients import AsyncOpqClient, OpqClient
from opq_tools.client.remote_records import (
    LiveNews,
    RemoteBox,
    RemoteEvent,
    RemoteFinding,
    RemoteIncident,
    RemoteMeasurement,
    RemoteTrendRow,
    RemoteWaveform,
)

__all__ = [
    "ApiRefusedError",
    "AsyncOpqClient",
    "LiveNews",
    "OpqClient",
    "RemoteBox",
    "RemoteEvent",
    "RemoteFinding",
    "RemoteIncident",
    "RemoteMeasurement",
    "RemoteTrendRow",
    "RemoteWaveform",
    "ViewUnreachableError",
]
