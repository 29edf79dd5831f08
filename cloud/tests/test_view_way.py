"""The way of a request through a running View is the one in docs/ways.md, without a step back."""

import re
import time
import urllib.request
from pathlib import Path

import demo
from way_tracer import WayTracer

import opq_cloud

CLOUD = Path(opq_cloud.__file__).parent
PAGE = CLOUD.parents[1] / "docs" / "ways.md"
SECTION = re.compile(r"## A request through View\n(.*)", re.DOTALL)
STAY = re.compile(r"^\d+\. `cloud/opq_cloud/([\w/]+\.py)` `(?:\w+\.)?(\w+)`", re.MULTILINE)


def test_a_request_passes_each_file_once(tmp_path: Path) -> None:
    """A request passes each file of the page once and in this order."""
    section = SECTION.search(PAGE.read_text())
    assert section is not None
    stays = STAY.findall(section[1])
    assert 5 <= len(stays) <= 12 and len({file for file, _ in stays}) == len(stays)
    trace = WayTracer(CLOUD, only=stays)
    running = demo.Scene(tmp_path, poll_s=5.0)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with trace, running:
        trace.clear()
        with urllib.request.urlopen(f"{running.url}/boxes/1", timeout=240) as answer:
            assert answer.status == 200 and b"Box 1" in answer.read()
        passed = list(trace.calls)
    assert passed == stays


def test_the_request_itself_goes_through_two_files(tmp_path: Path) -> None:
    """Host and origin, the visitor; a page then gets only the values of its address."""
    trace = WayTracer(CLOUD, lambda value: isinstance(value, dict) and value.get("path") == "/boxes/1")
    running = demo.Scene(tmp_path, poll_s=5.0)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with trace, running:
        urllib.request.urlopen(f"{running.url}/boxes/1", timeout=240).close()
        stays, returns = trace.stays, trace.returns
    assert stays == ["view/web/web_guard.py", "view/web/gate.py"]
    assert returns == 0
