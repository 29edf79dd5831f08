"""The OpenAPI document of `/api/v1` against a real View: schemathesis makes up requests."""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import demo
import pytest

from opq_cloud.view.web.links import make_ticket

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
"""Not `positive_data_acceptance`: that `from` is before `to`, or a cursor ours, no schema says."""
CASES = 30
"""Per route and phase; about 1,100 requests in all."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="pip install schemathesis")
def test_no_request_ends_in_a_fault_of_ours(tmp_path: Path, without_rest_limits: None) -> None:
    (tmp_path / "schemathesis.toml").write_text(
        "[checks.negative_data_rejection]\nexpected-statuses = [400, 404, 405, 414, 429]\n"
    )
    running = demo.Scene(tmp_path / "store", poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    people = running.store.people
    ada = people.add_account("ada@example.org", "ada", "admin", "no-hash")
    assert ada is not None
    token = make_ticket(people, "token", 3600, account_id=ada.account_id, scopes=("read", "write"))
    with running:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from schemathesis.cli import schemathesis; schemathesis()",
                "run",
                f"{running.url}/api/v1/openapi.json",
                "--checks",
                ",".join(CHECKS),
                "--phases",
                "examples,coverage,fuzzing",
                "--max-examples",
                str(CASES),
                "--exclude-path",
                "/live",
                "--no-color",
                "-H",
                f"Authorization: Bearer {token}",
                "--seed",
                "1",
                "--continue-on-failure",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1700,
            check=False,
        )
        failed = running.view.counters.total("requests_failed")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert failed == 0
