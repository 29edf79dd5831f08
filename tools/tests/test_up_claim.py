"""A Box is claimed in a real house: its gateway shows a code, View takes it, the gateway judges it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser_program import browser_program
from house_under_test import house, until

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
CHROMIUM = browser_program()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install chromium"),
]
PASSWORD = "a horse in a battery"


def gateway(offset: int, *arguments: str) -> str:
    command = [sys.executable, "-m", "opq_gateway", *arguments, "--port-offset", str(offset)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_gateways_code_claims_its_box(tmp_path: Path) -> None:
    with house(tmp_path, "--sim", "1") as up, sync_api.sync_playwright() as playwright:
        link = up.wait_for("first administrator:").rpartition(" ")[2]
        up.wait_for("the page is up")
        until(lambda: "Box 1: well" in gateway(up.offset, "status"), 30, "the Box is heard and connected")
        code = json.loads(gateway(up.offset, "claim-code", "1", "--json"))["code"]
        assert f"claim code of Box 1: {code}" in gateway(up.offset, "status")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(240_000)
        page.goto(link)
        page.fill("#email", "ada@example.org")
        page.fill("#name", "Ada")
        page.fill("#password", PASSWORD)
        page.fill("#password_again", PASSWORD)
        page.get_by_role("button", name="Make the account").click()
        page.get_by_role("button", name="Sign out").wait_for()
        for typed, where in (("AAAA-AAAA", "/account/boxes$"), (code.lower(), "/boxes/1/settings")):
            page.goto(f"{up.view}/account/boxes")
            page.fill("#box_id", "1")
            page.fill("#proof", typed)
            page.get_by_role("button", name="Claim it").click()
            page.wait_for_url(re.compile(where))
            if typed != code.lower():
                page.get_by_text("The code does not fit").wait_for()
        page.goto(f"{up.view}/account/boxes")
        page.get_by_role("link", name="Box 1", exact=True).wait_for()
        assert "no claim code is open" in gateway(up.offset, "status"), "it counts once"
        browser.close()
