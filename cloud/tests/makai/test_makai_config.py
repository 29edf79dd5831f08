"""The original's JSON files as they are, our TOML, port offsets, and every problem at once."""

import json
from pathlib import Path

import pytest
import structlog

from opq_cloud.core.original.original_settings import read_config
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_cloud.core.settings.endpoint_ports import port_of, with_port_offset
from opq_cloud.mauka.running.known.analysis_entries import analysis_entries
from opq_cloud.mauka.running.known.built_in_analyses import built_in, load_analyses
from opq_proto.errors import ConfigError

# docs/reference/opq-interop.md C.1 - C.3
TRIGGERING = {
    "server_cert": "/etc/opq/curve/private_keys/opqserver_secret",
    "interface": "tcp://*:9880",
    "backend": "tcp://*:9881",
    "metric_update_sec": 10,
    "mongo_host": "localhost",
    "mongo_port": 27017,
}
ACQUISITION = {
    "server_cert": "/etc/opq/curve/private_keys/opqserver_secret",
    "box_pub": "tcp://*:8194",
    "box_pull": "tcp://*:8196",
    "backend_pull": "tcp://*:9884",
    "backend_pub": "tcp://*:9899",
    "mongo_host": "localhost",
    "mongo_port": 27017,
    "metric_update_sec": 10,
}
MAKAI = {
    "zmq_trigger_endpoint": "tcp://localhost:9881",
    "zmq_acquisition_endpoint": "tcp://localhost:9884",
    "zmq_data_endpoint": "tcp://localhost:9899",
    "zmq_event_endpoint": "tcp://*:10000",
    "zmq_event_id_endpoint": "tcp://*:10001",
    "mongo_host": "mongo",
    "mongo_port": 27018,
    "mongo_trends_update_interval_seconds": 60,
    "event_request_expiration_window_ms": 1800000,
    "identity": "my_makai",
    "plugins": [
        {"path": "/usr/lib/libthreshold_trigger_plugin.so", "debug": False},
        {"path": "/usr/lib/libprint.so", "print": True},
        {"path": "/usr/lib/libhealth.so", "address": "0.0.0.0:8080"},
    ],
}


def written(folder: Path, **documents: object) -> list[Path]:
    paths = []
    for name, document in documents.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(document))
        paths.append(path)
    return paths


def test_the_originals_files_are_read_unchanged(tmp_path: Path) -> None:
    paths = written(tmp_path, triggering=TRIGGERING, acquisition=ACQUISITION, makai=MAKAI)
    with structlog.testing.capture_logs() as lines:
        config = read_config(paths)
    assert config.triggering_broker.box_endpoint == "tcp://*:9880"
    assert config.triggering_broker.backend_endpoint == "tcp://*:9881"
    assert config.acquisition_broker.command_endpoint == "tcp://*:8194"
    assert config.acquisition_broker.response_endpoint == "tcp://*:8196"
    assert config.acquisition_broker.request_endpoint == "tcp://*:9884"
    assert config.acquisition_broker.answer_endpoint == "tcp://*:9899"
    assert config.triggering_service.measurement_endpoint == "tcp://localhost:9881"
    assert config.triggering_service.request_endpoint == "tcp://localhost:9884"
    assert config.event_service.request_endpoint == "tcp://localhost:9884"
    assert config.event_service.answer_endpoint == "tcp://localhost:9899"
    assert config.event_service.event_endpoint == "tcp://*:10000"
    assert config.store.mongo_uri == "mongodb://mongo:27018"
    assert config.triggering_service.identity == "my-makai"  # "_" would part it (A.6)
    assert [plugin.name for plugin in config.triggering_service.plugins] == ["threshold"]
    assert config.triggering_service.health_endpoint == "0.0.0.0:8080"
    assert any(line["event"] == "config.plugin_ignored" and "print" in line["path"] for line in lines)
    keys = CloudKeys(config.keys, tmp_path)
    assert str(keys.server_secret) == "/etc/opq/curve/private_keys/opqserver_secret"
    assert str(keys.public_keys) == "/etc/opq/curve/public_keys"


def test_swapped_ports_are_corrected_with_a_notice(tmp_path: Path) -> None:
    """The swapped ports that the original ships are diagnosed and put right."""
    swapped = MAKAI | {
        "zmq_acquisition_endpoint": "tcp://localhost:9899",
        "zmq_data_endpoint": "tcp://localhost:9884",
    }
    with structlog.testing.capture_logs() as lines:
        config = read_config(written(tmp_path, makai=swapped))
    assert config.triggering_service.request_endpoint == "tcp://localhost:9884"
    assert config.event_service.answer_endpoint == "tcp://localhost:9899"
    (line,) = [line for line in lines if line["event"] == "config.corrected"]
    assert "swapped" in line["problem"]


def test_the_originals_health_file_names_whom_to_ask(tmp_path: Path) -> None:
    original = {
        "interval": 20,
        "mongo_host": "mongo",
        "mongo_port": 27017,
        "mongo_service_checker_addr": "0.0.0.0:28420",
        "services": [
            {"name": "mongo", "url": "http://localhost:28420"},
            {"name": "makai", "url": "http://makai:8080"},
        ],
    }
    config = read_config(written(tmp_path, health=original))
    assert config.health.interval_s == 20.0
    assert [(each.name, each.url) for each in config.health.services] == [("makai", "http://makai:8080")]


def test_the_originals_mauka_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = {  # docs/reference/opq-interop.md C.4
        "mauka.debug": True,
        "zmq.event.interface": "tcp://makai:10000",
        "zmq.mauka.broker.pub.interface": "tcp://*:9883",
        "zmq.mauka.broker.sub.interface": "tcp://*:9882",
        "mongo.host": "?MONGO_HOST",
        "mongo.port": "!MONGO_PORT",
        "mongo.db": "?MONGO_DB",
        "plugins.base.heartbeatIntervalS": 60,
        "plugins.StatusPlugin.port": 8911,
        "plugins.ThdPlugin.threshold.percent": 5.0,
        "plugins.FrequencyVariationPlugin.frequency.variation.threshold.low": 59.7,
        "plugins.FrequencyVariationPlugin.frequency.variation.threshold.high": 60.25,
        "plugins.TransientPlugin.noise.floor": 12.0,
        "zmq.trigger.interface": "tcp://makai:9884",
        "zmq.data.interface": "tcp://makai:9899",
        "zmq.event_id.interface": "tcp://makai:10001",
        "zmq.incident_id_provider.rep.interface": "tcp://*:9777",
    }
    monkeypatch.setenv("MONGO_HOST", "mongo")
    monkeypatch.setenv("MONGO_PORT", "27018")
    monkeypatch.delenv("MONGO_DB", raising=False)
    paths = written(tmp_path, mauka=original)
    with structlog.testing.capture_logs() as lines:
        config = read_config(paths)
    assert config.mauka.event_endpoint == "tcp://makai:10000"
    assert (config.mauka.bus_sub_endpoint, config.mauka.bus_pub_endpoint) == ("tcp://*:9882", "tcp://*:9883")
    assert config.mauka.incident_id_endpoint == "tcp://*:9777"
    assert config.store.mongo_uri == "mongodb://mongo:27018/opq"
    assert config.mauka.heartbeat_s == 60.0
    asked = config.mauka.request_endpoint, config.mauka.answer_endpoint, config.mauka.event_id_endpoint
    assert asked == ("tcp://makai:9884", "tcp://makai:9899", "tcp://makai:10001")
    assert config.mauka.analysis_settings == {
        "frequency_deviation": {"deviation_percent": 0.5, "low_hz": 59.7, "high_hz": 60.25},
        "harmonics": {"thd_percent": 5.0},
        "transient": {"least_peak_percent": pytest.approx(7.071068), "noise_floor_v": 12.0},
    }
    assert not [line for line in lines if line["event"] == "config.without_effect" and "Thd" in line["key"]]
    entries = analysis_entries(config.mauka, built_in())
    assert {name for name, _ in entries} == built_in(), "all run, three of them with these settings"
    loaded = {one.name: one.config for one in load_analyses(entries)}
    assert loaded["harmonics"].thd_percent == 5.0
    assert config.mauka.health_endpoint == "127.0.0.1:8911"
    (line,) = [line for line in lines if line["event"] == "config.variable_missing"]
    assert line["variable"] == "MONGO_DB"
    monkeypatch.setenv("MONGO_PORT", "many")
    with pytest.raises(
        ConfigError, match=r"mauka.json: mongo.port: MONGO_PORT is 'many'; want a whole number"
    ):
        read_config(paths)


def test_embedded_puts_the_originals_mongodb_aside(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, makai=MAKAI), embedded=tmp_path / "here")
    assert (config.store.mongo_uri, config.store.data_dir) == (None, tmp_path / "here")


def test_client_certs_names_the_folder_of_the_admitted(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, triggering=TRIGGERING | {"client_certs": "/keys/boxes"}))
    assert str(CloudKeys(config.keys, tmp_path).public_keys) == "/keys/boxes"


def test_an_address_that_is_not_text_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"interface is 9880; want an address"):
        read_config(written(tmp_path, triggering=TRIGGERING | {"interface": 9880}))


def test_all_problems_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(
        "[triggering_broker]\nbox_endpont = 'x'\ntrace = 1\n"
        "[[triggering_service.plugins]]\nnam = 'threshold'\n[event_service]\nanswer_timeout_s = -1\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_config([path])
    text = str(caught.value)
    assert "cloud.toml: 5 problems, nothing was started" in text
    assert 'did you mean "box_endpoint"?' in text
    assert "triggering_service.plugins[0].name" in text
    assert "answer_timeout_s" in text


def test_an_address_without_a_port_is_reported(tmp_path: Path) -> None:
    """An address without a port is reported before anything starts."""
    path = tmp_path / "cloud.toml"
    path.write_text(
        '[view]\nhttp_endpoint = "nowhere"\n'
        '[mauka]\nbus_pub_endpoint = "ipc:///run/bus"\nbus_sub_endpoint = "tcp://*:*"\n'
        '[event_service]\nrequest_endpoint = "tcp://b:9884"\nanswer_endpoint = "tcp://b:x"\n'
        '[triggering_service.triggers.mine]\nown_endpoint = "anything"\n'
    )
    with pytest.raises(ConfigError) as refused:
        read_config([path])
    lines = str(refused.value).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "event_service.answer_endpoint",
        "view.http_endpoint",
    ]
    assert lines[-1].endswith("is 'nowhere'; want host:port, e.g. 127.0.0.1:8888 or [::1]:8888")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("triggering_broker.box_endpoint", "127.0.0.1:9880"),
        ("triggering_broker.box_endpoint", "http://127.0.0.1:9880"),
        ("triggering_broker.box_endpoint", "udp://127.0.0.1:9880"),
        ("triggering_broker.box_endpoint", "tcp://127.0.0.1:9880/"),
        ("triggering_broker.box_endpoint", "tcp://:9880"),
        ("triggering_broker.backend_endpoint", "ipc://"),
        ("mauka.incident_id_endpoint", "127.0.0.1:9777"),
        ("triggering_broker.box_endpoint", "tcp://127.0.0.1:٩٨٨٠"),
    ],
)
def test_services_need_an_address_of_zeromq(tmp_path: Path, key: str, value: str) -> None:
    path, (section, name) = tmp_path / "cloud.toml", key.split(".")
    path.write_text(f'[{section}]\n{name} = "{value}"\n')
    with pytest.raises(ConfigError) as refused:
        read_config([path])
    said = " ".join(str(refused.value).splitlines()[1].split())
    assert said.startswith(f"{key} is {value!r}; want tcp://host:port or ipc://name, e.g. ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("view.http_endpoint", "ftp://127.0.0.1:8888"),
        ("view.http_endpoint", "127.0.0.1:8888/opq"),
        ("health.gateway_endpoint", "::1:8913"),
        ("view.mail.server", "smtp://mail.example.org:25"),
        ("view.mail.server", "mail.example.org:99999"),
        ("notifications.mqtt.host", "mqtt://broker"),
        ("notifications.mqtt.host", "broker:1883"),
        ("health.ping_url", "https://"),
    ],
)
def test_another_form_of_address_is_refused(tmp_path: Path, key: str, value: str) -> None:
    path, (section, _, name) = tmp_path / "cloud.toml", key.rpartition(".")
    path.write_text(f'[{section}]\n{name} = "{value}"\n')
    with pytest.raises(ConfigError, match=rf"{key} +is {value!r}; want (host:port, e.g.|text such as) "):
        read_config([path])


@pytest.mark.parametrize("host", ["broker", "192.0.2.7", "::1", "2001:db8::7", "::ffff:192.0.2.7"])
def test_hosts_of_each_family_are_right(tmp_path: Path, host: str) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(f'[notifications.mqtt]\nhost = "{host}"\n')
    assert read_config([path]).notifications.mqtt.host == host


def test_a_plug_ins_settings_come_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(
        "[[triggering_service.plugins]]\nname = 'threshold'\n"
        "[triggering_service.plugins.settings]\ndip_percent = 95.0\n"
    )
    (plugin,) = read_config([path]).triggering_service.plugins
    assert (plugin.name, plugin.settings) == ("threshold", {"dip_percent": 95.0})


def test_an_offset_moves_only_default_ports(tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(
        "[triggering_broker]\nbox_endpoint = 'tcp://*:9880'\nbackend_endpoint = 'tcp://127.0.0.1:5000'\n"
    )
    before = read_config([path])
    after = with_port_offset(before, 100)
    assert after.triggering_broker.box_endpoint == "tcp://*:9980"
    assert after.triggering_broker.backend_endpoint == "tcp://127.0.0.1:5000"
    assert after.health.whole_endpoint == "127.0.0.1:9011"
    path.write_text("[notifications]\nwatched_endpoint = '127.0.0.1:8912'\n")
    apart = with_port_offset(read_config([path]), 100)
    assert apart.notifications.watched_endpoint == "127.0.0.1:9012", "of ours, though its default is 8911"
    moved = with_port_offset(CloudConfig(), 100)
    for name in ("triggering_broker", "acquisition_broker", "triggering_service", "event_service", "mauka"):
        for key, value in vars_of(getattr(CloudConfig(), name)).items():
            port = port_of(value)
            assert port_of(vars_of(getattr(moved, name))[key]) == (port if port is None else port + 100)


def vars_of(section: object) -> dict[str, str]:
    return {
        key: getattr(section, key)
        for key in section.__dataclass_fields__  # type: ignore[attr-defined]
        if key.endswith("_endpoint")
    }


def test_an_offset_beyond_the_port_range_is_reported() -> None:
    with pytest.raises(ConfigError, match="port"):
        with_port_offset(CloudConfig(), 60_000)
