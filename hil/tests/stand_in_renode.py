"""Stands in for Renode: its robot server's three methods, commands recorded, canned files at `Save`.

It shows how we talk to Renode and nothing of what Renode answers. OPQ_STAND_IN names a folder; a file
`refuses` in it holds a word: commands with that word fail.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

FOLDER = Path(os.environ["OPQ_STAND_IN"])
REPORT = {"end": "end", "virtual_ns": 1, "spi2": {"conversions": 12000}, "unmodelled": [], "violations": []}


def run_keyword(name: str, arguments: list[str]) -> dict[str, Any]:
    """ExecuteCommand alone."""
    text = arguments[0]
    with (FOLDER / "said.jsonl").open("a") as said:
        said.write(json.dumps([name, *arguments]) + "\n")
    refuses = FOLDER / "refuses"
    if refuses.exists() and refuses.read_text() in text:
        return {"status": "FAIL", "error": f"There was an error executing command '{text}'", "traceback": ""}
    if text.startswith("logFile @"):
        Path(text[9:]).write_text("[WARNING] sysbus: ReadByte from non existing peripheral at 0x40014000.\n")
    if "RunFor" in text:
        time.sleep(0.02)
    if found := re.fullmatch(r'sysbus\.world Save "(.*)"', text):
        place = Path(found[1])
        (place / "report.json").write_text(json.dumps(REPORT))
        (place / "uart1.log").write_text("44332 01020300\n")
        (place / "flash.bin").write_bytes(b"\xff" * 16)
    return {"status": "PASS", "return": "\n" if "Ended" in text else ""}


def main() -> None:
    if "--version" in sys.argv:
        print("Renode v0.0 (stand-in)")
        return
    port = int(sys.argv[sys.argv.index("--robot-server-port") + 1])
    server = SimpleXMLRPCServer(("127.0.0.1", port), logRequests=False, allow_none=True)
    server.register_function(lambda: ["ExecuteCommand"], "get_keyword_names")
    server.register_function(run_keyword, "run_keyword")
    server.register_function(lambda: True, "stop_remote_server")
    server.serve_forever()


if __name__ == "__main__":
    main()
