"""`opq-tools open`: an address where something answers, documentation where it came along."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from threading import Thread

from command_in_process import run_in_process
from free_ports import free_offset

from opq_proto.kit.ports import PORTS


def test_an_address_is_shown_where_something_answers(tmp_path: Path) -> None:
    offset = free_offset()
    done = run_in_process("open", "--print", "--port-offset", str(offset))
    assert done.returncode == 1 and "start a system with `opq-tools up`" in done.stderr
    server = ThreadingHTTPServer(("127.0.0.1", PORTS["view"] + offset), BaseHTTPRequestHandler)  # answers 501
    thread = Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "config").mkdir()
    (tmp_path / "config/cloud.toml").write_text('[view]\npublic_url = "https://pq.example.org/opq/"\n')
    try:
        done = run_in_process("open", "api", "--json", "--port-offset", str(offset))
        where = ("--port-offset", str(offset), "--data-dir", str(tmp_path))
        stated = [run_in_process("open", each, "--print", *where).stdout for each in ("page", "api")]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    address = f"http://127.0.0.1:{PORTS['view'] + offset}/api/v1/docs"
    assert json.loads(done.stdout) == {"address": address}
    assert stated == ["https://pq.example.org/opq/\n", "https://pq.example.org/opq/api/v1/docs\n"]


def test_docs_are_those_that_came_with_the_installation() -> None:
    done = run_in_process("open", "docs", "--print")
    there = resources.files("opq_tools").joinpath("site", "index.html")
    if there.is_file():
        assert done.stdout.strip() == Path(str(there)).as_uri()
    else:
        assert done.returncode == 1 and "without the documentation; it is in docs/" in done.stderr


def test_alerts_and_dashboard_are_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "monitoring"
    done = run_in_process("open", "grafana", "--write", str(folder), "--port-offset", "100", "--json")
    said = json.loads(done.stdout)
    assert said["written"] == [str(folder / "alerts.yml"), str(folder / "opq.json")]
    assert said["scraped"] == ["127.0.0.1:9011", "127.0.0.1:8988", "127.0.0.1:9013"]
    assert "OpqBoxSilent" in (folder / "alerts.yml").read_text()
    assert json.loads((folder / "opq.json").read_text())["uid"] == "opq"
    done = run_in_process("open", "grafana", "--write", str(folder))
    assert done.returncode == 1 and "alerts.yml and " in done.stderr and "would be overwritten" in done.stderr
    done = run_in_process("open", "page", "--write", str(tmp_path))
    assert done.returncode == 2 and "--write belongs to grafana" in done.stderr
