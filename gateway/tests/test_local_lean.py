"""What libraries import for nothing stays out of the service's process, and works for whoever needs it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_for

from opq_gateway.lean import LATE, _late
from opq_gateway.local.metrics import Family, exposition, process
from opq_hil.box.box import Box
from opq_hil.box.host import BoxHost
from opq_proto.keys import KeyFolder

SERVICE = """
import json, sys
from pathlib import Path
from threading import Event, Thread
import opq_gateway.__main__
from opq_gateway.lean import lean
lean()
from opq_gateway.gateway import Gateway
from opq_gateway.setup.saved import load_saved
stop = Event()
service = Thread(target=Gateway(load_saved(Path(sys.argv[1]), None, 0)).run, args=(stop,))
service.start()
sys.stdin.readline()
heavy = ["rich", "asyncio.events", "_ssl", "_hashlib", "html.entities", "prometheus_client", "_lzma"]
heavy += ["google.protobuf.text_format", "numpy.ma", "difflib"]
heavy += ["opq_gateway.ring.codec", "opq_measure.synchrophasor"]
found = [name for name in heavy if sys.modules.get(name) is not None]
found += [line.split()[-1] for line in open("/proc/self/maps") if "libcrypto" in line]
stop.set()
service.join()
import asyncio, html, secrets, ssl
from opq_gateway.mqtt.mqtt import MqttPublisher
from google.protobuf.internal import python_message
async def escaped():
    return html.escape("<")
used = [asyncio.run(escaped()), len(secrets.token_hex(6)), ssl.create_default_context().check_hostname]
used += [python_message.__name__, sys.modules["asyncio"].__name__]
print(json.dumps([found, *used]))
"""


def test_a_gateway_that_measures_holds_none_of_it_and_it_is_there_when_used(
    tmp_path: Path, makai: Any, keys: KeyFolder
) -> None:
    config = tmp_path / "gateway.toml"
    addresses = "".join(f'{name} = "{address}"\n' for name, address in makai.endpoints.items())
    with BoxHost([Box("1")]) as host:
        box = f'[[box]]\nid = "1"\nport = "{host.ports["1"]}"\n'
        top = f'data_dir = "{tmp_path}"\nhealth_endpoint = "127.0.0.1:0"\n'
        config.write_text(f"{top}{box}[uplink]\n{addresses}")
        with subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYDANTIC_DISABLE_PLUGINS": "__all__"},
        ) as service:
            try:
                wait_for(lambda: makai.measurements or service.poll() is not None)
                answer, _ = service.communicate("\n", timeout=120)
            finally:
                service.kill()
    assert service.returncode == 0
    found, *used = json.loads(answer.splitlines()[-1])
    assert found == []
    assert used == ["&lt;", 12, True, "google.protobuf.internal.python_message", "asyncio"]


def test_a_module_that_stands_in_is_taken_by_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "wave"  # of the standard library; nothing here imports it
    monkeypatch.setitem(sys.modules, name, _late(name))
    import wave

    assert not hasattr(wave, "__file__") and sys.modules[name] is wave  # looked at, not used
    together, found = Barrier(8), list[object]()

    def take() -> None:
        together.wait(60)
        found.append(wave.open)

    threads = [Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8 and len(set(map(id, found))) == 1
    assert sys.modules[name].__file__ is not None
    with pytest.raises(AttributeError):
        _ = wave.nothing_of_this_name


def test_all_that_is_late_is_there() -> None:
    assert [name for name in LATE if find_spec(name) is None] == []


values = st.floats(allow_nan=False) | st.integers(0, 2**60)
families = st.builds(
    Family,
    st.from_regex(r"[a-z][a-z_]{0,20}[a-z]_total", fullmatch=True),
    st.just("counter"),
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), max_size=40),
    st.sampled_from(("box_id", "thread")),
    st.dictionaries(
        st.text(
            st.characters(
                exclude_categories=("Cs",), exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
            )
        ),
        values,
        min_size=1,
        max_size=4,
    ),
)


@given(st.lists(families, max_size=3, unique_by=lambda family: family.name))
def test_prometheus_reads_what_is_written(told: list[Family]) -> None:
    assert _read(exposition(told)) == {
        (family.name, ((family.label, key),)): float(value)
        for family in told
        for key, value in family.values.items()
    }


def test_the_process_tells_of_itself() -> None:
    found = _read(exposition(process()))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert found["process_resident_memory_bytes", ()] == pytest.approx(4096 * pages, rel=0.2)
    assert 0 < found["process_open_fds", ()] <= found["process_max_fds", ()]
    assert found["process_cpu_seconds_total", ()] > 0 and found["process_start_time_seconds", ()] > 1e9


def _read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    samples: Iterable = (
        each for family in text_string_to_metric_families(text.decode()) for each in family.samples
    )
    return {(sample.name, tuple(sample.labels.items())): sample.value for sample in samples}
