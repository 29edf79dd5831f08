"""Ten thousand sign-ins at once against a View of its own process: answered or refused, counted, bounded.

Each comes by a connection of its own, from an address and with an e-mail of its own, with a form that counts;
passwords cost what they cost in production.
"""

import asyncio
import re
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from account_scene import PASSWORD, FormBrowser

from opq_cloud.store import open_store
from opq_cloud.view.web.passwords import hash_password
from opq_proto.kit.ports import PORTS

SOON_S = 120.0
SIGN_INS = 10_000
MEMORY_LIMIT_KB = 150_000
"""What a flood may add: two passwords of 19 MiB, 1,600 connections, SQLite's pages."""


@contextmanager
def _view(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`opq-cloud view`, and its address."""
    for offset in range(34_000, 42_000, 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORTS["view"] + offset)) != 0:
                break
    options = ("--data-dir", str(folder), "--port-offset", str(offset))
    process = subprocess.Popen(
        [sys.executable, "-m", "opq_cloud", "view", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process, f"http://127.0.0.1:{PORTS['view'] + offset}"
    finally:
        process.terminate()
        process.wait(240)


def _started(url: str) -> FormBrowser:
    """A browser with the form of `/sign-in`."""
    until_s = time.monotonic() + SOON_S
    while True:
        browser = FormBrowser(url)
        try:
            assert browser.get("/sign-in") == 200
            return browser
        except OSError:
            assert time.monotonic() < until_s, "View has not begun"
            time.sleep(0.1)


def _peak_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")))


def _counters(url: str) -> dict[str, float]:
    browser = FormBrowser(url)
    assert browser.get("/metrics") == 200
    return {name: float(value) for name, value in re.findall(r"^opq_view_(\w+) (\S+)$", browser.text, re.M)}


async def _try(port: int, seen: FormBrowser, number: int) -> str:
    """One sign-in by a connection of its own: the status, or `refused` where that was closed unanswered."""
    token = re.search(r'name="form_token" value="([^"]*)"', seen.text)
    assert token is not None
    body = urlencode({"form_token": token[1], "email": f"{number}@b.c", "password": "guess " * 3}).encode()
    lines = (
        "POST /sign-in HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Cookie: " + "; ".join(f"{name}={value}" for name, value in seen.cookies.items()),
        f"X-Forwarded-For: 2001:db8:{number % 65_536:x}::{number:x}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            answer = await reader.read(12)
        return answer[9:].decode() or "refused"
    except ConnectionError:
        return "refused"


@pytest.mark.slow
def test_a_sign_in_flood_leaves_others_served(
    tmp_path: Path,
) -> None:
    """Ten thousand sign-ins at once are refused; the next visitor is served."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, most), most))
    with closing(open_store(None, tmp_path)) as store:
        assert store.people.add_account("ada@example.org", "Ada", "admin", hash_password(PASSWORD))
    with _view(tmp_path) as (process, url):
        seen = _started(url)
        port, before_kb = int(url.rpartition(":")[2]), _peak_kb(process.pid)

        async def flood() -> list[str]:
            return await asyncio.gather(*(_try(port, seen, number) for number in range(SIGN_INS)))

        answers = Counter(asyncio.run(flood()))
        grown_kb, counted = _peak_kb(process.pid) - before_kb, _counters(url)
        print(f"{dict(answers)}; {grown_kb} kB more")
        assert sum(answers.values()) == SIGN_INS and set(answers) <= {"403", "503"}
        assert answers["503"] >= counted["sign_ins_refused_total"]  # the others: one connection too many
        assert grown_kb < MEMORY_LIMIT_KB
        assert FormBrowser(url).sign_in("ada@example.org") == 303
