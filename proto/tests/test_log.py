"""Logs: what a line carries, levels, and that a broken stderr costs lines and nothing else."""

import json
import os
import pty
import subprocess
import sys
import textwrap
import time
from typing import Any


def run(code: str, close_stderr: bool = False, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=None if close_stderr else subprocess.PIPE,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **environ},
        preexec_fn=(lambda: os.close(2)) if close_stderr else None,
    )


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_piped_line_is_json() -> None:
    """With service, level, time and monotonic nanoseconds."""
    before = time.monotonic_ns()
    done = run(
        """
        from opq_proto.kit import log
        log.configure("gateway")
        log.get(box_id="1").info("box.hello", hardware="rev B", key=b"abc")
        """
    )
    [line] = lines(done.stderr)
    assert line["event"] == "box.hello"
    assert (line["service"], line["level"], line["box_id"], line["hardware"]) == (
        "gateway",
        "info",
        "1",
        "rev B",
    )
    assert line["key"] == "abc"
    assert line["t"].endswith("Z")
    assert before < line["monotonic_ns"] < time.monotonic_ns()
    assert done.stdout == ""


def test_a_command_without_configure_logs_on_stderr() -> None:
    """Its stdout is its answer."""
    done = run(
        """
        from opq_proto.kit import log
        log.get(service="store").warning("incident_index.failed", error="closed")
        print("{}")
        """
    )
    assert done.stdout == "{}\n" and "incident_index.failed" in done.stderr


def test_the_environment_sets_the_log_level() -> None:
    code = """
        from opq_proto.kit import log
        log.configure("x")
        for level in ("debug", "info", "warning", "error"):
            getattr(log.get(), level)("a.b")
        """
    told = {
        level: len(lines(run(code, OPQ_LOG=level).stderr))
        for level in ("debug", "error", "Info ", "loud", "")
    }
    assert told == {"debug": 4, "error": 1, "Info ": 3, "loud": 3, "": 3}


def test_a_loggers_own_service_wins() -> None:
    done = run(
        """
        from opq_proto.kit import log
        log.configure("all")
        log.get(service="mauka").warning("incident.stored", incident_id=1)
        """
    )
    assert lines(done.stderr)[0]["service"] == "mauka"


def test_an_exception_is_one_line_with_its_traceback() -> None:
    done = run(
        """
        from opq_proto.kit import log
        log.configure("x")
        try:
            1 / 0
        except ZeroDivisionError:
            log.get().exception("runner.failed")
        """
    )
    [line] = lines(done.stderr)
    assert "ZeroDivisionError" in line["exception"]
    assert line["level"] == "error"


def test_warnings_of_libraries_are_lines_of_ours() -> None:
    done = run(
        """
        import logging
        from opq_proto.kit import log
        log.configure("x")
        log.configure("y")
        logging.getLogger("uvicorn").warning("port %d", 8888)
        logging.getLogger("uvicorn").info("no")
        """
    )
    [line] = lines(done.stderr)
    assert (line["event"], line["library"], line["said"]) == ("library.complained", "uvicorn", "port 8888")


def test_a_library_that_complains_often_is_one_line() -> None:
    """Each request of a stranger makes uvicorn complain, with a traceback if the peer is gone."""
    done = run(
        """
        import logging
        from opq_proto.kit import log
        log.configure("x")
        for n in range(1_000):
            logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
            logging.getLogger("uvicorn.error").warning("port %d", n)
            try:
                raise (ValueError, KeyError)[n % 2]
            except Exception:
                logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        """
    )
    said = [line["said"] for line in lines(done.stderr)]
    assert said == ["Invalid HTTP request received.", "port 0", *2 * ["Exception in ASGI application"]]


def test_a_gone_reader_keeps_exit_code_0() -> None:
    """It costs lines only."""
    code = """
        import sys
        from opq_proto.kit import log
        log.configure("x")
        for n in range(100):
            log.get().info("a.b", n=n, filler="x" * 1000)
        print("done", flush=True)
        """
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=writing,
        timeout=240,
        check=False,
    )
    os.close(writing)
    assert done.stdout == b"done\n"
    assert done.returncode == 0


def test_a_closed_stderr_is_no_reason_to_fail() -> None:
    done = run(
        """
        from opq_proto.kit import log
        log.configure("x")
        log.get().error("a.b")
        print("done")
        """,
        close_stderr=True,
    )
    assert (done.stdout, done.returncode) == ("done\n", 0)


def test_lines_of_many_threads_stay_whole() -> None:
    done = run(
        """
        import threading
        from opq_proto.kit import log
        log.configure("x")
        def speak(who):
            for n in range(300):
                log.get(who=who).info("a.b", n=n, filler="y" * 300)
        threads = [threading.Thread(target=speak, args=(who,)) for who in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    told = sorted((line["who"], line["n"]) for line in lines(done.stderr))
    assert told == [(who, n) for who in range(4) for n in range(300)]


def test_on_a_terminal_lines_are_for_people() -> None:
    master, slave = pty.openpty()
    code = "from opq_proto.kit import log; log.configure('x'); log.get().info('box.hello', box_id='1')"
    subprocess.run([sys.executable, "-c", code], stderr=slave, timeout=240, check=True)
    os.close(slave)
    text = os.read(master, 4096).decode()
    os.close(master)
    assert "box.hello" in text
    assert "monotonic_ns" not in text
    assert not text.startswith("{")


def test_a_terminal_traceback_shows_no_locals() -> None:
    master, slave = pty.openpty()
    code = """
from opq_proto.kit import log
log.configure("x")
def work(secret):
    return 1 / 0
try:
    work("private " * 2 + "key")
except ZeroDivisionError:
    log.get().exception("thread.failed")
"""
    subprocess.run([sys.executable, "-c", code], stderr=slave, timeout=240, check=True)
    os.close(slave)
    text = os.read(master, 65_536).decode()
    os.close(master)
    assert "ZeroDivisionError" in text and "private private key" not in text
