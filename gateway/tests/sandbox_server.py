"""A rule engine as the gateway's unit runs it, and a plug-in in it that runs each text it is given.

python sandbox_server.py FACTS

FACTS is JSON: "data", "uid" (None: this user), "unit" (the text of a unit; "": no filter), "policy" (of
PluginRules), "names" (the plug-ins to install; the last one is asked). The first line on stdout is about the
installations, each further one answers a line of stdin.
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import unit_filter
from plugin_zips import FUNCTION, Whose, plugin_zip, stored

from opq_plugins.policy_section import PluginRules
from opq_plugins.sandbox.protection import CAPABILITY_HEADER, LIBC, readable_by
from opq_plugins.sdk import RowError
from opq_proto.kit import log
from opq_rules.api.rules_config import Config
from opq_rules.api.rules_service import RulesService
from opq_rules.api.service_routes import health_of
from opq_rules.errors import RuleError

CODE = """
import ctypes, os, signal, socket, subprocess

LIBC = ctypes.CDLL(None, use_errno=True)


def libc(name, *args):
    if getattr(LIBC, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)


def run(text):
    names = dict(globals())
    try:
        return eval(text, names)
    except SyntaxError:
        exec(text, names)
        return names.get("out")
""" + FUNCTION.replace("return args[0] * 2", "return run(args[0])")
READ_CLOSED = 2
"""CAP_DAC_READ_SEARCH."""


def become(uid: int) -> None:
    """As User= does. Where the interpreter is below a closed /root, this user may read that too."""
    closed = not all(readable_by(uid, Path(each).resolve()) for each in (sys.base_prefix, __file__))
    LIBC.prctl(8, int(closed), 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    bits = 1 << READ_CLOSED if closed else 0
    assert not LIBC.capset(CAPABILITY_HEADER, struct.pack("=6I", bits, bits, bits, 0, 0, 0))
    if closed:
        assert not LIBC.prctl(47, 2, READ_CLOSED, 0, 0)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE


def main() -> None:
    facts = json.loads(sys.argv[1])
    calls = unit_filter.allowed_calls(facts["unit"]) if facts["unit"] else set()
    if facts["uid"] is not None:
        become(facts["uid"])
    os.umask(0o022)
    log.configure("rules", "error")  # stdout has the answers
    assert not LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if facts["unit"]:
        unit_filter.apply(facts["unit"], calls)
    policy = PluginRules(function_s=60.0, **facts["policy"])
    service = RulesService(Config(data_dir=Path(facts["data"]), endpoint="127.0.0.1:0", plugins=policy))
    service.start()
    function: Any = None
    plugins, refused = service.plugins, {}
    for name in facts["names"]:
        url = stored(plugins.uploads, plugin_zip(name, kind="function", code=CODE), f"{name}.zip")
        try:
            if name not in plugins.list("function"):
                plugins.create("function", name, url)
            made = plugins.function(name)
            function = made() if made is not None else None
        except RuleError as error:
            refused[name] = str(error)
    answer: dict[str, object] = {"port": service.port, "pid": os.getpid(), "refused": refused}
    answer |= {"count": plugins.unconfined_refused, "health": health_of(service.engine, plugins.unconfined)}
    if name in plugins.list("function"):
        answer["status"] = plugins.status(name)
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        assert function is not None
        try:
            print(json.dumps(["gave", function.exec([json.loads(line)], Whose())]), flush=True)
        except RowError as error:
            print(json.dumps(["refused", str(error)]), flush=True)
    service.stop()


if __name__ == "__main__":
    main()
