"""The parts of `up` that need no house: ports, children, configuration, Box ids."""

import contextlib
import io
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command_in_process import run_in_process

from opq_hil.backends.backend import BackendError
from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.keys.backend_keys import BackendKeyFolder
from opq_proto.keys.register import KeyRegister
from opq_tools.keys.keygen import box_ids
from opq_tools.shared.data_folder import InUseError, in_use_by_this
from opq_tools.up.access import view_url_of
from opq_tools.up.children import Child, ChildLine, LogFile, end_all
from opq_tools.up.plan import HardwareBox, UpPlan, hardware, merged, read_config
from opq_tools.up.port_claims import PORTS_OF_UP, claimed_ports, ports_of
from opq_tools.up.run import UpRun
from opq_tools.up.session import OPEN_NS, SETTLE_NS, UpSession
from opq_tools.up.stages import trouble
from opq_tools.up.up_command import command

BEFORE = (0, 50, 60, 896, 898, 900, 902)
"""Distances of the ports that a test takes, below `free`."""


def child(tmp_path: Path, code: str) -> tuple[Child, "queue.Queue[ChildLine]"]:
    lines: queue.Queue[ChildLine] = queue.Queue(100)
    return Child("it", [sys.executable, "-c", code], tmp_path / "it.log", lines), lines


def wait_for(condition: object, timeout_s: float = 240.0) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def free() -> int:
    """A free port, as are those BEFORE it.

    Below all that other tests use (free_ports.py): any process may have one of those above meanwhile.
    """
    start = 11_000 + os.getpid() * 7 % 900
    return next(port for port in range(start, 12_000) if are_free(port - before for before in BEFORE))


def are_free(ports: Iterable[int]) -> bool:
    with contextlib.ExitStack() as held:
        try:
            for port in ports:
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_a_busy_port_names_a_helping_command(free: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free))
        taken.listen()
        told = rf"port {free} \(view\) busy.*opq-tools up --free-ports"
        with pytest.raises(PortBusyError, match=told), claimed_ports({"view": free}, 0, "opq-tools up"):
            pass


def test_another_runs_unbound_ports_are_busy(free: int) -> None:
    """As offsets 4000 and 2000: events of one are the plug-in manager of the other."""
    first, second = {"events": free - 4, "view": free - 900}, {"plugin_manager": free - 2}
    with claimed_ports(first, 4, "up"):
        told = rf"port {free} \(plugin_manager\) busy"
        with pytest.raises(PortBusyError, match=told), claimed_ports(second, 2, "up"):
            pass
    with claimed_ports(
        second, 2, "up"
    ) as offset:  # a run that was refused holds nothing, one that ended neither
        assert offset == 2


def test_numbers_of_incidents_may_be_another_programs() -> None:
    """An original's service may have port 9777, beside ours at another address, or for both in a MongoDB."""

    def claims(**mauka: str) -> bool:
        return "incident_ids" in ports_of({"cloud": {"mauka": mauka}})

    assert ports_of({}) == PORTS_OF_UP and claims(incident_id_endpoint="tcp://127.0.0.1:9777")
    assert not claims(incident_id_endpoint="tcp://127.0.0.1:9800")
    assert "incident_ids" not in ports_of({"cloud": {"store": {"mongo_uri": "mongodb://db/opq"}}})


def test_free_ports_takes_the_first_free_offset(free: int) -> None:
    ports = {"view": free - 50, "events": free - 60}
    with claimed_ports(ports, 0, "up"), claimed_ports(ports, None, "up") as offset:
        assert offset >= 100 and offset % 100 == 0


def test_an_offset_and_free_ports_are_two_wishes(tmp_path: Path) -> None:
    told = CliRunner().invoke(command, ["--port-offset", "0", "--free-ports", "--data-dir", str(tmp_path)])
    assert told.exit_code == 2 and "--port-offset and --free-ports are both given; want one" in told.output


def test_a_childs_json_lines_become_facts(tmp_path: Path) -> None:
    code = (
        'import sys; print(\'{"event": "a.b", "n": 1}\', file=sys.stderr); print(\'plain\', file=sys.stderr)'
    )
    it, lines = child(tmp_path, code)
    it.start()
    assert lines.get(timeout=240).facts == {"event": "a.b", "n": 1}
    assert lines.get(timeout=240).facts == {"text": "plain"}
    end_all([it])
    assert (tmp_path / "it.log").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("", "http://127.0.0.1:8988"),
        ("*:8889", "http://127.0.0.1:8889"),
        ("[::]:8888", "http://127.0.0.1:8988"),
        ("[::1]:8889", "http://[::1]:8889"),
        ("192.0.2.7:8888", "http://192.0.2.7:8988"),
    ],
)
def test_the_page_is_where_view_listens(tmp_path: Path, endpoint: str, url: str) -> None:
    """By the configuration of View; the default port moves with --port-offset."""
    (tmp_path / "config").mkdir()
    text = f'[view]\nhttp_endpoint = "{endpoint}"\n' if endpoint else ""
    (tmp_path / "config" / "cloud.toml").write_text(text)
    assert view_url_of(UpPlan(tmp_path, 100, None, (), {}, trace=False)) == url


def test_a_killed_childs_links_are_removed(tmp_path: Path) -> None:
    port = tmp_path / "box1"
    lines: queue.Queue[ChildLine] = queue.Queue(9)
    it = Child(
        "it", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "it.log", lines, [port]
    )
    it.start()
    port.symlink_to("/dev/null")
    assert it.tick() is None and port.is_symlink()
    assert it.pid
    os.kill(it.pid, signal.SIGKILL)
    assert wait_for(lambda: it.tick() or not port.is_symlink())
    assert not port.is_symlink() and it.restarts == 0
    end_all([it])


def test_a_new_gateway_finds_no_old_link(tmp_path: Path) -> None:
    boxes = (HardwareBox("7", "qemu:7", "qemu"), HardwareBox("8", "/dev/null"))
    plan = UpPlan(tmp_path, 0, None, boxes, {}, False)
    assert plan.links("boxes") == plan.links("gateway") == plan.links("box8") == ()
    (port,) = plan.links("box7")
    port.parent.mkdir()
    port.symlink_to("/dev/null")
    session = UpSession(plan, "http://127.0.0.1:1")
    session.children = [each for each in session.children if each.name == "box7"]
    session.start()  # which starts no Box yet
    session.stop()
    assert not port.is_symlink()


def test_lines_that_nobody_takes_are_counted(tmp_path: Path) -> None:
    lines: queue.Queue[ChildLine] = queue.Queue(2)
    code = "import sys; [print(n, file=sys.stderr) for n in range(5)]"
    it = Child("it", [sys.executable, "-c", code], tmp_path / "it.log", lines)
    it.start()
    assert wait_for(lambda: it.lost_lines == 3)
    end_all([it])
    assert (tmp_path / "it.log").read_text().count("\n") == 5


def test_a_killed_child_starts_again(tmp_path: Path) -> None:
    it, _ = child(tmp_path, "import time; time.sleep(60)")
    it.start()
    first = it.pid
    assert first
    os.kill(first, signal.SIGKILL)
    said: list[str] = []

    def back() -> bool:
        news = it.tick()
        if news:
            said.append(news)
        return it.restarts == 1

    assert wait_for(back)
    assert it.pid != first and "SIGKILL" in said[0]
    end_all([it])
    assert it.ended() is not None


def test_a_child_says_why_it_ended(tmp_path: Path) -> None:
    it, _ = child(tmp_path, "import sys; print('gateway: no key for Box 1', file=sys.stderr); sys.exit(1)")
    it.start()
    assert wait_for(lambda: it.ended() == 1)
    assert it.last_words() == "gateway: no key for Box 1"
    assert "exit code 1); it says: gateway: no key for Box 1; it starts again" in (it.tick() or "")
    end_all([it])


def test_a_childs_several_reasons_are_all_read(tmp_path: Path) -> None:
    said = r"""print('{"event": "x"}\ntwo problems\n  first\n  second', file=sys.stderr)"""
    it, _ = child(tmp_path, f"import sys; {said}; sys.exit(2)")
    it.start()
    assert wait_for(lambda: it.ended() == 2)
    assert it.last_words() == "two problems\n  first\n  second"
    end_all([it])


def test_a_traceback_is_reported_by_its_end(tmp_path: Path) -> None:
    it, _ = child(tmp_path, "1 / 0")
    it.start()
    assert wait_for(lambda: it.ended() == 1)
    assert it.last_words() == "ZeroDivisionError: division by zero"
    end_all([it])


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    code = f"""
import queue, sys, time
from pathlib import Path
from opq_tools.up.children import Child
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
it = Child("it", sleep, Path({str(tmp_path / "it.log")!r}), queue.Queue(9))
it.start()
print(it.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    time.sleep(0.3)  # the tether holds before the command runs
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        assert wait_for(lambda: not alive(pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_overlaid_configuration_keeps_other_keys() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 9}}) == {"a": {"b": 1, "c": 9}, "d": 3}


@pytest.mark.parametrize(
    "text",
    [
        "view = 1",
        "[gatway]\n",
        "not toml",
        pytest.param("a = " + "9" * 5000, id="a number of 5,000 digits"),
        pytest.param("a = " + "[" * 5000 + "]" * 5000, id="5,000 lists in each other"),
    ],
)
def test_a_config_file_with_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "up.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"up\.toml"):
        read_config(path)


def test_up_refuses_a_section_without_effect(tmp_path: Path) -> None:
    path = tmp_path / "up.toml"
    path.write_text('[gateway.rules.plugins]\nnetwork = ["tcp:3306"]\n[cloud.view.mail]\nuser = "ann"\n')
    plan = UpPlan(tmp_path / "D", 0, None, hardware(["/dev/ttyACM0"], ()), read_config(path), False)
    plan.prepare()
    with pytest.raises(ConfigError) as refused:
        plan.check()
    first, *lines = str(refused.value).splitlines()
    assert first == "--config: 2 problems, nothing was started"
    assert [line.split()[0] for line in lines] == ["gateway.rules.plugins", "cloud.view.mail"]
    path.write_text('[gateway.rules]\nenabled = true\n[gateway.rules.plugins]\nnetwork = ["tcp:3306"]\n')
    replace(plan, config=read_config(path)).prepare()
    plan.check()


def test_boxes_without_id_get_free_ones() -> None:
    found = hardware(["/dev/serial/by-id/a", "7=socket://host:1", "/dev/x=y"], taken=["1"])
    assert [(box.box_id, box.port) for box in found] == [
        ("2", "/dev/serial/by-id/a"),
        ("7", "socket://host:1"),
        ("3", "/dev/x=y"),
    ]


@pytest.mark.parametrize("emulator", ["qemu", "renode"])
def test_an_emulated_box_has_its_named_id(tmp_path: Path, emulator: str) -> None:
    """The id after the colon, on our own port."""
    (box,) = hardware([f"{emulator}:7"], taken=["1"])
    assert (box.box_id, box.emulator, box.emulated) == ("7", emulator, True)
    plan = UpPlan(tmp_path, 0, None, (box,), {}, trace=False, flash=tmp_path / "flash.bin")
    assert [(found.box_id, found.port) for found in plan.boxes] == [("7", str(tmp_path / "ports" / "box7"))]
    command = plan.commands()["box7"]
    assert command[1:3] == ["-m", "opq_hil.backends.emulated"]
    assert {f"--port={tmp_path / 'ports' / 'box7'}", f"--backend={emulator}"} < set(command)


def test_a_lasting_incident_is_reported_at_its_end(tmp_path: Path) -> None:
    """The page showed it while it lasted; `up` prints it when it has its end."""
    session = UpSession(UpPlan(tmp_path, 0, None, (), {}, trace=False), "http://127.0.0.1:1")
    facts = {"box_id": "1", "event_id": 7, "event_ids": [7], "incident_id": 3, "monotonic_ns": 5}
    for event in ("trigger.decided", "incident.stored"):
        session.lines.put(ChildLine("cloud", {**facts, "event": event}))
    session._from_page("incident", {"id": 3, "end_ms": None}, 10)
    while session.next_line(0):
        pass
    assert session.seen(3, 10 + SETTLE_NS + 1) is None
    assert session.seen(3, 10 + OPEN_NS + 1) is not None  # as it is
    session._from_page("incident", {"id": 3, "end_ms": 99}, 20)
    session.next_line(0)
    found = session.seen(3, 10 + SETTLE_NS + 1)
    assert found is not None and found.incident["end_ms"] == 99 and found.moments_ns[-1] == 10


@pytest.mark.parametrize(("emulator", "warns"), [("qemu", False), ("renode", True)])
def test_the_first_line_says_who_can_reach_renode(tmp_path: Path, emulator: str, warns: bool) -> None:
    plan = UpPlan(tmp_path, 0, None, hardware([f"{emulator}:1", f"{emulator}:2"], ()), {}, trace=False)
    text = io.StringIO()
    UpRun(plan, "http://127.0.0.1:1", None, text)._announce()
    first = text.getvalue().splitlines()[0]
    assert first.startswith("Box 1: its firmware in an emulator, a dip after")
    assert first.count("robot server listens on all addresses of this machine") == warns


def test_an_absent_renode_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENODE", str(tmp_path / "none"))
    words = ["--box", "renode:1", "--data-dir", str(tmp_path / "up"), "--free-ports"]
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, BackendError)
    assert str(done.exception).startswith("backend renode cannot run here: no Renode here (RENODE, or")


def test_a_scenario_sets_its_own_repetitions() -> None:
    (option,) = (each for each in command.params if each.name == "replay_every_s")
    assert option.default is None


@pytest.mark.parametrize("url", ["qemu:1", "renode:1", "1=/dev/a", "1=socket://host:4001"])
def test_the_offered_id_can_be_used(url: str) -> None:
    taken = ["1", "2", "9"]
    with pytest.raises(ConfigError) as refused:
        hardware([url], taken)
    offered = str(refused.value).rpartition("--box ")[2]
    (box,) = hardware([offered], taken)
    assert box.box_id == "3" and box.emulator == (url.partition(":")[0] if url[0] != "1" else "")


@pytest.mark.parametrize(
    "url", ["qemu:1", "qemu:", "renode:0", "3=renode:3", "x=/dev/a", "0=/dev/a", "1=/dev/a", "3="]
)
def test_an_impossible_box_is_one_line(url: str) -> None:
    with pytest.raises(ConfigError, match=f"^--box .*{url}"):
        hardware([url], taken=["1"])


def test_box_ids_are_listed_in_order_and_once() -> None:
    assert box_ids("1,2,5-7,2") == ("1", "2", "5", "6", "7")


@pytest.mark.parametrize("text", ["a", "0", "3-1", "1-", "-1", "1-999999999", "2147483648"])
def test_a_senseless_list_of_ids_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        box_ids(text)


def test_a_log_rotates_while_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log" / "box.log", limit_bytes=1000)
    for number in range(300):
        log.write(b"%09d\n" % number)
    log.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "log").iterdir()}
    assert set(sizes) == {"box.log", "box.old"} and max(sizes.values()) <= 1000
    assert (tmp_path / "log" / "box.log").read_bytes().endswith(b"%09d\n" % 299)


def test_an_unwritable_log_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "log").touch()  # where its folder should be
    log = LogFile(tmp_path / "log" / "box.log")
    assert not log.write(b"lost\n")
    (tmp_path / "log").unlink()
    assert log.write(b"kept\n")
    log.close()
    assert (tmp_path / "log" / "box.log").read_bytes() == b"kept\n"


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"event": "ring.failed", "box_id": "1", "reason": "disk full"}, "Box 1: ring.failed: disk full"),
        ({"event": "store.failing", "error": "no space", "count": 3}, "store.failing: no space"),
        ({"event": "service.crashed", "exception": "Traceback\n  x\nE: why"}, "service.crashed: E: why"),
        ({"event": "box.foreign", "found_box_id": 7}, "box.foreign: found_box_id 7"),
        ({"event": "it.ended"}, "it.ended"),
    ],
)
def test_trouble_is_one_line_with_reason(facts: dict[str, object], line: str) -> None:
    assert trouble(facts) == line


def test_a_folder_name_beyond_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InUseError, match="not UTF-8"), in_use_by_this(tmp_path / "caf\udce9"):
        pass


def test_a_link_to_nothing_is_no_data_folder(tmp_path: Path) -> None:
    """As that to a disk that is not mounted: the sentence names both."""
    link = tmp_path / "D"
    link.symlink_to("mounted")
    says = "D is a link to mounted, which is not there; mount its disk, or make that folder"
    with pytest.raises(InUseError, match=says), in_use_by_this(link):
        pass
    for words in (("boxes", "set", "4", "--name", "x"), ("up",)):
        done = run_in_process(*words, "--data-dir", str(link))
        assert done.returncode == 2 and says in " ".join(done.stderr.split()), done.stderr
    (tmp_path / "mounted").mkdir()
    with in_use_by_this(link):
        pass


def test_a_revoked_box_stays_revoked(tmp_path: Path) -> None:
    plan = UpPlan(
        tmp_path, 0, None, (HardwareBox("1", "/dev/a"), HardwareBox("2", "/dev/b")), {}, trace=False
    )
    plan.prepare()
    assert plan.revoked == ()
    plan.keys.box_public("2").unlink()
    plan.prepare()
    assert plan.revoked == (tmp_path / "curve" / "public_keys" / "opqbox2.key",)


def test_a_deleted_box_stays_out(tmp_path: Path) -> None:
    """Until a command adds it; what was admitted before it is as it was."""
    hardware = HardwareBox("1", "/dev/a"), HardwareBox("2", "/dev/b")
    plan = UpPlan(tmp_path, 0, None, hardware, {}, trace=False)
    plan.prepare()
    register = KeyRegister(plan.keys)
    register.revoke("2")
    register.forget("2")
    plan.prepare()
    assert plan.deleted == ("2",) and [box.box_id for box in plan.boxes] == ["1"] and plan.revoked == ()
    assert '"2"' not in (tmp_path / "config" / "gateway.toml").read_text()
    assert not plan.keys.box_secret("2").exists() and not plan.keys.box_public("2").exists()
    register.revoke("1")
    register.forget("1")
    with pytest.raises(
        ConfigError, match=r"Box 1,2 was deleted, and there is no other; opq-tools keys add 1,2"
    ):
        plan.prepare()
    register.add("2")
    plan.keys.create(server=False, box_ids=["1"])
    plan.prepare()
    assert plan.deleted == () and [box.box_id for box in plan.boxes] == ["1", "2"]
    assert not list(plan.keys.revoked_keys.iterdir())


def test_a_deleted_emulated_box_is_not_started(tmp_path: Path) -> None:
    hardware = HardwareBox("1", "", "qemu"), HardwareBox("2", "", "qemu")
    plan = UpPlan(tmp_path, 0, None, hardware, {}, trace=False)
    plan.prepare()
    assert {"box1", "box2"} < set(plan.commands())
    register = KeyRegister(plan.keys)
    register.revoke("2")
    register.forget("2")
    assert "box1" in plan.commands() and "box2" not in plan.commands()
    assert plan.add_again("2") == f"opq-tools keys add 2 --data-dir {tmp_path}"


def test_service_keys_are_made_where_wanted(tmp_path: Path) -> None:
    wanted = {"cloud": {"backend_keys": {"enabled": True, "name": "house"}}}
    for config, names in (({}, []), (wanted, ["house"])):
        UpPlan(tmp_path, 0, None, (HardwareBox("1", "/dev/a"),), config, trace=False).prepare()
        found = BackendKeyFolder(tmp_path / "backend")
        assert list(found.known_boxes()) == names
        assert found.server_secret.exists() == bool(names)
