"""One address that does its worst to View: `python -m bench.harness.hostile_requests ATTACK PORT SECONDS`.

It sends requests by CONNECTIONS connections at once, as a proxy of this machine hands them on, reads each
answer to its end, and sends the next at once, whatever `Retry-After` says. It prints how many answers of each
status came. It is a program with the lowest priority, because an attacker does not use the CPU time of the
machine that is measured.
"""

import http.client
import json
import os
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlencode

ADDRESS = "203.0.113.9"
CONNECTIONS = 30
"""Connections of the one address; a browser opens six, and `limit_conn` of a proxy allows 100."""
Ask = Callable[[http.client.HTTPConnection, random.Random], int]


def read(connection: http.client.HTTPConnection, path: str, **headers: str) -> int:
    """The status of an answer that was read to its end."""
    connection.request("GET", path, headers={"X-Forwarded-For": ADDRESS, **headers})
    answer = connection.getresponse()
    while answer.read(65_536):
        pass
    return answer.status


def pdf(connection: http.client.HTTPConnection, chance: random.Random) -> int:
    week = f"2026-W{chance.randrange(10, 53)}"
    return read(connection, f"/api/v1/reports/week?format=pdf&place=all&week={week}")


def export(connection: http.client.HTTPConnection, chance: random.Random) -> int:
    boxes = [("box", str(1 + each)) for each in range(10)]
    query = urlencode([*boxes, ("from", "now-7d"), ("format", chance.choice(("csv", "json")))])
    return read(connection, f"/api/v1/exports/measurements?{query}")


def verdicts(connection: http.client.HTTPConnection, chance: random.Random) -> int:
    days = chance.randrange(200, 365)
    return read(connection, f"/past?box=1,2,3&show=verdicts&from=now-{days}d&standard=en50160")


def outlines(connection: http.client.HTTPConnection, chance: random.Random) -> int:
    at = f"{chance.uniform(-60, 60):.4f},{chance.uniform(-170, 170):.4f}"
    return read(
        connection, f"/map/outlines.json?{urlencode({'at': at, 'km': chance.randrange(2000, 15000)})}"
    )


def stream(connection: http.client.HTTPConnection, chance: random.Random) -> int:
    connection.request("GET", "/live?values=*", headers={"X-Forwarded-For": ADDRESS})
    answer = connection.getresponse()
    answer.read1(65_536)
    connection.close()  # and open the next one: a feed that stays open costs less
    return answer.status


def sign_in(connection: http.client.HTTPConnection, chance: random.Random) -> int:
    connection.request("GET", "/sign-in", headers={"X-Forwarded-For": ADDRESS})
    answer = connection.getresponse()
    page, cookie = answer.read().decode(), (answer.getheader("Set-Cookie") or "").partition(";")[0]
    token = re.search(r'name="form_token" value="([^"]*)"', page)
    if token is None:
        return answer.status
    fields = {
        "form_token": token[1],
        "email": f"{chance.random()}@example.org",
        "password": "a wrong one 1234",
    }
    headers = {
        "X-Forwarded-For": ADDRESS,
        "Cookie": cookie,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    connection.request("POST", "/sign-in", urlencode(fields), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def page(connection: http.client.HTTPConnection, chance: random.Random) -> int:
    return read(connection, f"/incidents?{urlencode({'from': f'now-{chance.randrange(1, 365)}d'})}")


ATTACKS: dict[str, Ask] = {
    "PDFs": pdf,
    "exports": export,
    "verdicts": verdicts,
    "outlines": outlines,
    "streams": stream,
    "sign-ins": sign_in,
    "lists": page,
}
"""What it requests -> one such request."""


def main(attack: str, port: int, seconds: float) -> None:
    os.nice(19)
    stop_s, found, lock = time.monotonic() + seconds, Counter[str](), threading.Lock()

    def send(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < stop_s:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)) as connection:
                try:
                    while time.monotonic() < stop_s:
                        status = str(ATTACKS[attack](connection, chance))
                        with lock:
                            found[status] += 1
                except (OSError, http.client.HTTPException) as error:
                    with lock:
                        found[type(error).__name__] += 1
                    time.sleep(0.05)

    threads = [threading.Thread(target=send, args=(number,), daemon=True) for number in range(CONNECTIONS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(max(0.0, stop_s - time.monotonic()))
    with lock:
        print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # answers that still come are not waited for


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
