"""HTTP is requested by `opq_proto.kit.http_client`, so each wait has an end and no redirect is followed."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("proto/opq_*", "gateway/opq_*", "cloud/opq_cloud", "hil/opq_*", "tools/opq_tools")
OTHERS = {
    "proto/opq_proto/kit/http_client.py": "the client itself",
    "gateway/opq_plugins/package/fetch.py": "checks each address, each redirect and the time of the whole",
    "gateway/opq_gateway/update/repository.py": "python-tuf reads in pieces; a slow server is cut off",
    "cloud/opq_cloud/notifications/webhook_channel.py": "connects to checked addresses only",
    "hil/opq_hil/backends/renode_archive.py": "releases of GitHub are redirects; the file has a pinned sum",
    "hil/opq_hil/backends/renode.py": "XML-RPC over the socket of a Renode that it has started",
    "tools/opq_tools/up/live_lines.py": "a stream without end, of the View that it has started",
}


def test_http_is_requested_by_one_careful_client() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for pattern in SHIPPED
        for folder in ROOT.glob(pattern)
        for path in folder.rglob("*.py")
        if re.search(r"urllib\.request\.|HTTPS?Connection\b|urlopen", path.read_text(encoding="utf-8"))
    }
    assert found == set(OTHERS)
