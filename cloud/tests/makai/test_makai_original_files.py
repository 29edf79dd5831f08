"""The original's configuration where the original looks for it, and what is said of each of its keys."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner
from in_thread import in_thread
from waiting import wait_for

from opq_cloud.__main__ import cloud
from opq_cloud.core.original.keys import ADDRESSES, LIMITS_ELSEWHERE
from opq_cloud.core.original.original_settings import ConfigNotice, ConfigSource, read_config
from opq_cloud.core.original.places import original_sources
from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.makai_settings import DEFAULT_TRIGGERS
from opq_cloud.makai.brokers.broker_traffic import TrafficRecorder
from opq_cloud.serving import _opened_store
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.documents.retention import Ttls
from opq_proto.errors import ConfigError, StoreError
from opq_proto.keys.key_files import KeyFolder
from opq_tools.system.config_command import command as config_command

# docs/reference/opq-interop.md C.1 to C.3
BROKER = {"interface": "tcp://*:9880", "backend": "tcp://*:9881", "metric_update_sec": 10}
MAKAI = {
    "zmq_trigger_endpoint": "tcp://localhost:9881",
    "zmq_acquisition_endpoint": "tcp://localhost:9884",
    "zmq_data_endpoint": "tcp://localhost:9899",
    "zmq_event_endpoint": "tcp://*:10000",
    "zmq_event_id_endpoint": "tcp://*:10001",
    "plugins": [{"path": "/usr/local/lib/opq/plugins/libthreshold_trigger_plugin.so"}],
}
GUIDE = {  # the C++ generation's makai.conf
    "zmq_trigger_endpoint": "tcp://localhost:9881",
    "zmq_acquisition_endpoint": "tcp://localhost:9881",
    "mongo_uri": "mongodb://localhost:27017",
    "mongo_measurement_expiration_seconds": 86400,
    "mongo_trends_update_interval_seconds": 60,
    "plugins": [{"path": "/usr/lib/libketos_plugin.so", "script_path": "/etc/opq/main.ket"}],
}


def read(folder: Path, document: object, name: str = "makai.conf") -> tuple[CloudConfig, list[ConfigNotice]]:
    path = folder / name
    path.write_text(json.dumps(document))
    notices: list[ConfigNotice] = []
    return read_config([path], notify=notices.append), notices


def said(notices: list[ConfigNotice], key: str) -> str:
    return "; ".join(notice.text for notice in notices if notice.key == key)


def checked(*arguments: object) -> Any:
    return CliRunner().invoke(config_command, ["check", *map(str, arguments)])


def test_each_service_finds_its_file_of_the_guide(tmp_path: Path) -> None:
    files = {
        "triggering_broker.json": BROKER,
        "acquisition_broker_config.json": {"box_pub": "tcp://*:8194"},
        "makai.conf": MAKAI,
    }
    for name, document in files.items():
        (tmp_path / name).write_text(json.dumps(document))
    here = {"OPQ_CONFIG_FOLDER": str(tmp_path)}
    for command, name in (
        ("triggering-broker", "triggering_broker.json"),
        ("acquisition-broker", "acquisition_broker_config.json"),
        ("triggering-service", "makai.conf"),
        ("event-service", "makai.conf"),
    ):
        [source] = original_sources(command, here)
        assert (source.name, source.document) == (str(tmp_path / name), files[name])
    assert [Path(each.name).name for each in original_sources("all", here)] == list(files)
    assert original_sources("mauka", here) == []
    assert original_sources("all", {"OPQ_CONFIG_FOLDER": ""}) == []


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    """The variable holds the complete text."""
    (tmp_path / "makai.conf").write_text(json.dumps(MAKAI))
    variables = {
        "TRIGGERING_BROKER_SETTINGS": BROKER | {"backend": "tcp://*:5001"},
        "ACQUISITION_BROKER_SETTINGS": {"box_pub": "tcp://*:5002"},
        "MAKAI_SETTINGS": MAKAI | {"zmq_event_endpoint": "tcp://*:5003"},
        "MAUKA_SETTINGS": {"zmq.mauka.broker.sub.interface": "tcp://*:5004"},
        "HEALTH_SETTINGS": {"interval": 30, "services": [{"name": "makai", "url": "http://makai:8080"}]},
    }
    here = {name: json.dumps(document) for name, document in variables.items()}
    here["OPQ_CONFIG_FOLDER"] = str(tmp_path)
    sources = original_sources("all", here)
    assert [source.name for source in sources] == [f"${name}" for name in variables]
    config = read_config((), sources=sources, notify=lambda notice: None)
    assert config.triggering_broker.backend_endpoint == "tcp://*:5001"
    assert config.acquisition_broker.command_endpoint == "tcp://*:5002"
    assert config.event_service.event_endpoint == "tcp://*:5003"
    assert config.mauka.bus_sub_endpoint == "tcp://*:5004"
    assert config.health.interval_s == 30.0
    with pytest.raises(ConfigError, match=r"\$MAKAI_SETTINGS: is not JSON"):
        original_sources("all", {"MAKAI_SETTINGS": "{"})
    with pytest.raises(ConfigError, match="want a table of keys"):
        original_sources("all", {"MAKAI_SETTINGS": "[]"})


def test_a_service_takes_a_positional_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tb.json"
    path.write_text(json.dumps(BROKER | {"backend": 9881}))
    told = CliRunner().invoke(cloud, ["triggering-broker", str(path)])
    assert told.exit_code == 2 and "tb.json: 1 problem," in told.output and "backend is 9881" in told.output
    monkeypatch.setenv("TRIGGERING_BROKER_SETTINGS", "{")  # not read where a file is named
    assert "tb.json" in CliRunner().invoke(cloud, ["triggering-broker", str(path)]).output
    told = CliRunner().invoke(cloud, ["triggering-broker"])
    assert told.exit_code == 2 and "$TRIGGERING_BROKER_SETTINGS: is not JSON" in told.output


def test_the_guides_acquisition_endpoint_is_corrected(tmp_path: Path) -> None:
    """The notice names the script that starts it."""
    config, notices = read(tmp_path, GUIDE)
    assert config.triggering_service.request_endpoint == "tcp://localhost:9884"
    assert config.event_service.request_endpoint == "tcp://localhost:9884"
    assert "where Measurements are published" in said(notices, "zmq_acquisition_endpoint")
    assert "Scheme" in said(notices, "plugins[0]")
    assert tuple(each.name for each in config.triggering_service.plugins) == DEFAULT_TRIGGERS
    assert "missing" in said(notices, "zmq_data_endpoint")
    elsewhere = {"zmq_trigger_endpoint": "tcp://a:7000", "zmq_acquisition_endpoint": "tcp://b:9881"}
    config, notices = read(tmp_path, GUIDE | elsewhere)  # a broker that does listen there
    assert config.triggering_service.request_endpoint == "tcp://b:9881"


def test_the_correction_follows_the_brokers_own_files(tmp_path: Path) -> None:
    """The guide's form, and the swapped one, on ports that only the brokers' files name."""
    brokers = [
        ConfigSource("tb.json", BROKER | {"backend": "tcp://*:7881"}),
        ConfigSource("ab.json", {"backend_pull": "tcp://*:7884", "backend_pub": "tcp://*:7899"}),
    ]
    guide = GUIDE | {
        "zmq_trigger_endpoint": "tcp://localhost:7881",
        "zmq_acquisition_endpoint": "tcp://localhost:7881",
    }
    swapped = {
        "zmq_acquisition_endpoint": "tcp://localhost:7899",
        "zmq_data_endpoint": "tcp://localhost:7884",
    }
    endpoints = {"request_endpoint": "tcp://127.0.0.1:7884", "answer_endpoint": "tcp://127.0.0.1:7899"}
    ours = ConfigSource("cloud.toml", {"acquisition_broker": endpoints})
    path = tmp_path / "makai.conf"
    for document, beside in ((guide, brokers), (guide | swapped, brokers), (guide, [ours])):
        path.write_text(json.dumps(document))
        notices: list[ConfigNotice] = []
        config = read_config([path], notify=notices.append, brokers=beside)
        assert config.triggering_service.request_endpoint == "tcp://localhost:7884"
        assert config.event_service.request_endpoint == "tcp://localhost:7884"
        assert config.event_service.answer_endpoint == "tcp://localhost:7899"
        assert "commands go to 7884" in said(notices, "zmq_acquisition_endpoint")
    config, notices = read(
        tmp_path, guide
    )  # no file of a broker: the port cannot be known, and none is guessed
    assert config.triggering_service.request_endpoint == "tcp://localhost:7881"
    assert "name the acquisition broker's address" in said(notices, "zmq_acquisition_endpoint")
    notices = []
    path.write_text(json.dumps(MAKAI))
    read_config([path], notify=notices.append, brokers=brokers)
    assert "has port 7884 in its file (backend_pull)" in said(notices, "zmq_acquisition_endpoint")


def test_config_check_reads_the_brokers_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = GUIDE | {
        "zmq_trigger_endpoint": "tcp://localhost:7881",
        "zmq_acquisition_endpoint": "tcp://localhost:7881",
    }
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "makai.conf").write_text(json.dumps(guide))
    (here / "triggering_broker.json").write_text(json.dumps(BROKER | {"backend": "tcp://*:7881"}))
    (here / "acquisition_broker_config.json").write_text(json.dumps({"backend_pull": "tcp://*:7884"}))
    assert "commands go to 7884" in checked(here / "makai.conf").output
    assert "name the acquisition broker's address" in checked(there / "makai.conf").output
    monkeypatch.setenv("OPQ_CONFIG_FOLDER", str(here))
    assert "commands go to 7884" in checked(there / "makai.conf").output
    monkeypatch.setenv("OPQ_CONFIG_FOLDER", str(there))
    (there / "acquisition_broker_config.json").write_text("{")  # the broker's own start reports it
    assert "name the acquisition broker's address" in checked(there / "makai.conf").output


def test_every_original_key_is_obeyed_or_named(tmp_path: Path) -> None:
    shipped = MAKAI | {
        "mongo_trends_update_interval_seconds": 60,
        "event_request_expiration_window_ms": 1_800_000,
        "ttl_cache_ttl": 60,
        "plugins": [
            {"path": "libprint_plugin.so", "print": True},
            {"path": "libhealth_plugin.so", "address": "0.0.0.0:8080"},
            {"path": "libthreshold.so", "debug": True} | dict.fromkeys(LIMITS_ELSEWHERE, 0.05),
            {"path": "libnapali.so", "alpha": 0.25, "trigger_local": True, "thd_max": 0.07},
            {"path": "libours.so"},
        ],
        "zmq_acquisition_endpont": "tcp://x:1",
    }
    config, notices = read(tmp_path, shipped)
    threshold, napali = config.triggering_service.plugins
    assert (threshold.name, threshold.settings) == ("threshold", {})
    assert napali.settings == {"alpha": 0.25, "trigger_local": True, "thd_max": 0.07}
    assert "without effect" in said(notices, "event_request_expiration_window_ms")
    assert "without effect" in said(notices, "ttl_cache_ttl")
    assert "without effect" in said(notices, "plugins[0]")
    assert "makai_config" in said(notices, "plugins[2]") and "reference_voltage" in said(
        notices, "plugins[2]"
    )
    assert "there is no such plug-in" in said(notices, "plugins[4]")
    assert 'did you mean "zmq_acquisition_endpoint"?' in said(notices, "zmq_acquisition_endpont")
    assert not said(notices, "mongo_trends_update_interval_seconds")
    _, notices = read(tmp_path, shipped | {"mongo_trends_update_interval_seconds": 10})
    assert "10 s; here a trend is one minute long" in said(notices, "mongo_trends_update_interval_seconds")
    config, notices = read(tmp_path, BROKER | {"white_list": False, "pub_key": "x"}, "tb.json")
    assert config.triggering_broker.metrics_interval_s == 10.0
    assert "without effect" in said(notices, "white_list") and "without effect" in said(notices, "pub_key")
    with pytest.raises(ConfigError, match="metric_update_sec is '10'; want a number of seconds"):
        read(tmp_path, BROKER | {"metric_update_sec": "10"})


def test_the_ttl_goes_into_the_store(tmp_path: Path) -> None:
    """It states how long Measurements are kept."""
    config, notices = read(tmp_path, GUIDE | {"mongo_measurement_expiration_seconds": 7200})
    assert config.store.measurements_s == 7200 and not said(notices, "mongo_measurement_expiration_seconds")
    here = replace(config, store=replace(config.store, mongo_uri=None))
    store = _opened_store(here, tmp_path)
    before = Ttls()
    assert store.ttls() == replace(before, measurements=7200)
    store.close()
    store = _opened_store(CloudConfig(), tmp_path)  # another configuration leaves it
    assert store.ttls().measurements == 7200
    store.close()
    with pytest.raises(ConfigError, match="want 1 or more"):
        read(tmp_path, GUIDE | {"mongo_measurement_expiration_seconds": 0})


def test_a_file_without_triggers_is_reported(tmp_path: Path) -> None:
    config, notices = read(tmp_path, MAKAI | {"plugins": []})
    assert config.triggering_service.plugins == ()
    assert "no event is ever opened" in said(notices, "plugins")


def test_two_files_that_name_two_stores_are_reported(tmp_path: Path) -> None:
    paths = []
    for name, document in (
        ("tb.json", BROKER | {"mongo_host": "a"}),
        ("m.json", MAKAI | {"mongo_host": "b"}),
    ):
        paths.append(tmp_path / name)
        paths[-1].write_text(json.dumps(document))
    with structlog.testing.capture_logs() as lines:
        config = read_config(paths)
    assert config.store.mongo_uri == "mongodb://b:27017"
    assert [line["event"] for line in lines].count("config.store_differs") == 1


def test_a_notice_on_two_stores_holds_no_password(tmp_path: Path) -> None:
    paths = []
    for name, document in (
        ("tb.json", BROKER | {"mongo_uri": "mongodb://opq:secret-a@a:27017/opq"}),
        ("m.json", MAKAI | {"mongo_uri": "mongodb://opq:secret-b@b:27017/opq"}),
    ):
        paths.append(tmp_path / name)
        paths[-1].write_text(json.dumps(document))
    with structlog.testing.capture_logs() as lines:
        read_config(paths)
    told = [line["problem"] for line in lines if line["event"] == "config.store_differs"]
    assert len(told) == 1 and "//…@a:27017" in told[0] and "//…@b:27017" in told[0]
    assert "secret" not in str(lines)


def test_config_check_says_what_the_start_would_say(tmp_path: Path) -> None:
    path = tmp_path / "makai.conf"
    path.write_text(json.dumps(GUIDE))
    told = checked(path)
    assert told.exit_code == 0 and "fine (original makai)" in told.output
    assert "commands go to 9884" in told.output and "Scheme" in told.output
    path.write_text(
        json.dumps(
            MAKAI
            | {
                "zmq_acquisition_endpoint": "tcp://localhost:9899",
                "zmq_data_endpoint": "tcp://localhost:9884",
            }
        )
    )
    told = checked("--json", path)
    notes = {note["key"]: note["text"] for note in json.loads(told.stdout)["notes"]}
    assert "swapped" in notes["zmq_acquisition_endpoint"]
    broker = tmp_path / "triggering_broker.json"
    secret = tmp_path / "curve/private_keys/opqserver_secret"
    broker.write_text(json.dumps(BROKER | {"server_cert": str(secret)}))
    told = checked(broker)
    assert told.exit_code == 1 and "2 problems" in told.output
    assert str(secret) in told.output and "no Box would be admitted" in told.output
    KeyFolder(tmp_path / "curve").create(True, ["1"])
    assert checked(broker).exit_code == 0
    ours = tmp_path / "cloud.toml"
    ours.write_text('[[triggering_service.plugins]]\nname = "threshhold"\n')
    told = checked(ours)
    assert told.exit_code == 2 and 'did you mean "threshold"?' in told.output
    ours.write_text(f'[view.mail]\nserver = "127.0.0.1:25"\npassword_file = "{tmp_path}/none"\n')
    told = checked(ours)
    assert told.exit_code == 1 and f"{tmp_path}/none is not there, or may not be read" in told.output


def test_every_address_of_an_original_file_is_ours() -> None:
    for table in ADDRESSES.values():
        for ours in table.values():
            section, key = ours.split(".")
            assert hasattr(getattr(CloudConfig(), section), key)


def test_refused_traffic_is_in_the_next_row(tmp_path: Path) -> None:
    """The next row adds what the store refused."""
    store = open_store(None, tmp_path)
    refused = threading.Event()

    class Away:
        def put_traffic(self, row: object) -> None:
            refused.set()
            raise StoreError("away")

    stores: list[Any] = [Away()]
    shared = CloudContext(lambda: store)
    recorded = ServiceCounters()

    class Shared:
        @property
        def store(self) -> CloudStore:
            return stores[0]

    recorder = TrafficRecorder("b", "tb", recorded, {"bytes": "passed_bytes"}, 0.02, Shared())  # type: ignore[arg-type]
    with in_thread(recorder.run, until_ready=True):
        began_ms = time.time_ns() // 1_000_000
        recorded.add("passed_bytes", 700)
        assert refused.wait(240)
        stores[0] = store
        wait_for(lambda: store.traffic(0, 2**60))
        recorded.add("passed_bytes", 50)
        wait_for(lambda: sum(row.counts["bytes"] for row in store.traffic(0, 2**60)) >= 750)
        rows = store.traffic(0, 2**60)
    assert sum(row.counts["bytes"] for row in rows) == 750 and rows[0].name == "tb"
    assert rows[0].timestamp_ms >= began_ms and rows[0].interval_ms > 0
    shared.close()
    store.close()
