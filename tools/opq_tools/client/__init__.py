"""Python client of a View's `/api/v1`: typed, with and without asyncio. docs/api.md plots a dip in ten lines.

It needs httpx (`pip install 'opq-toolkit[client]'`), but neither cloud nor gateway code.
"""

from opq_tools.client.blocking import OpqClient
from opq_tools.client.calls import ApiRefusedError, ViewUnreachableError
from opq_tools.client.clients import AsyncOpqClient
from opq_tools.client.remote_records import (
    LiveNews,
    RemoteBox,
    RemoteDisturbance,
    RemoteEvent,
    RemoteFinding,
    RemoteIncident,
    RemoteInterval,
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
    "RemoteDisturbance",
    "RemoteEvent",
    "RemoteFinding",
    "RemoteIncident",
    "RemoteInterval",
    "RemoteMeasurement",
    "RemoteTrendRow",
    "RemoteWaveform",
    "ViewUnreachableError",
]
