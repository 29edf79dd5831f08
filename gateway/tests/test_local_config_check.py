"""`opq-tools config check`: gateway, cloud and original files; all problems at once, exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from opq_gateway.__main__ import main
from opq_plugins.sandbox import landlock
from opq_proto.keys.key_files import KeyFolder
from opq_tools.system.config_command import command


def check(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["check", *map(str, arguments)])


def gateway_file(folder: Path, more: str = "") -> Path:
    path = folder / "gateway.toml"
    path.write_text(f'data_dir = "{folder}"\n[[box]]\nid = "1"\nport = "socket://box:7"\n{more}')
    return path


@pytest.fixture
def curve(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "curve")
    folder.create(True, ["1"])
    return folder


def test_a_right_file_is_fine(tmp_path: Path, curve: KeyFolder) -> None:
    path = gateway_file(tmp_path)
    told = check(path)
    assert (told.exit_code, told.stdout) == (0, f"{path}: fine (gateway)\n")


def test_all_missing_requirements_are_reported_at_once(tmp_path: Path) -> None:
    more = '[uplink]\nsend = ["rms", "volts"]\n[setup]\nendpoint = "0.0.0.0:8888"\n'
    more += "[measuring]\ndip_percent = 5.0\n"
    more += (
        '[[group]]\nname = "hall"\nboxes = ["1", "2", "3"]\n[mqtt]\nhost = "h"\npassword_file = "/no/such"\n'
    )
    told = check("--json", gateway_file(tmp_path, more))
    document = json.loads(told.stdout)
    assert told.exit_code == 1 and document["ok"] is False and document["kind"] == "gateway"
    assert {problem["key"] for problem in document["problems"]} == {
        "keys.folder",
        "uplink.send",
        "measuring",
        "setup.password_file",
        "group[0].boxes",
        "mqtt.password_file",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway.toml"]


def test_a_port_that_changes_is_a_problem(tmp_path: Path, curve: KeyFolder) -> None:
    told = check("--json", gateway_file(tmp_path, '[setup]\nendpoint = "127.0.0.1:0"\n'))
    (problem,) = json.loads(told.stdout)["problems"]
    assert (told.exit_code, problem["key"]) == (1, "setup.endpoint")
    assert problem["text"] == "is '127.0.0.1:0'; want a port from 1 to 65535, which other programs can know"
    path = tmp_path / "cloud.toml"
    path.write_text('[triggering_broker]\nbox_endpoint = "tcp://127.0.0.1:*"\n')
    told = check("--json", "--kind", "cloud", path)
    assert [each["key"] for each in json.loads(told.stdout)["problems"]] == ["triggering_broker.box_endpoint"]
    path.write_text('[cloud.view]\nhttp_endpoint = "127.0.0.1:0"\n')
    told = check("--json", path)
    assert [each["key"] for each in json.loads(told.stdout)["problems"]] == ["cloud.view.http_endpoint"]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[view]\nhttp_endpoint = "[::]:8917"', "notifications.http_endpoint"),
        ('[view]\nhttp_endpoint = "*:9880"', "view.http_endpoint"),
        ('[acquisition_broker]\nresponse_endpoint = "tcp://*:8194"', "acquisition_broker.response_endpoint"),
        ('[health]\nwhole_endpoint = "127.0.0.1:8888"', "health.whole_endpoint"),
        ('[view]\nhttp_endpoint = "127.0.0.1:8080"', ""),  # of a service apart, which has it by default
        ('[view]\nhttp_endpoint = "127.0.0.1:9081"', ""),  # of the rules, which do not run
        ('[view]\nhttp_endpoint = "192.0.2.1:8917"', ""),
    ],
)
def test_two_services_need_two_addresses(table: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(table)
    told = check("--json", "--kind", "cloud", path)
    problems = json.loads(told.stdout)["problems"]
    assert [each["key"] for each in problems] == ([key] if key else [])
    assert all("listens too" in each["text"] for each in problems)


@pytest.mark.parametrize("port", ["socket://box", "socket://::1:4001", "rfc2217://box:0"])
def test_a_serial_server_needs_a_port(port: str, tmp_path: Path, curve: KeyFolder) -> None:
    path = gateway_file(tmp_path)
    path.write_text(path.read_text().replace("socket://box:7", port))
    told = check(path)
    assert told.exit_code == 2 and f"box.port is {port!r}: want " in told.stderr


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("cloud", "view.http_endpoint", "255.255.255.255:8888"),
        ("cloud", "view.http_endpoint", "127.0.0.1:٨٨٨٨"),
        ("cloud", "triggering_broker.box_endpoint", "tcp://[ff02::1]:9880"),
        ("cloud", "health.gateway_endpoint", "224.0.0.1:8913"),
        ("cloud", "view.mail.server", "239.1.1.1:25"),
        ("cloud", "store.mongo_uri", "mongodb://224.0.0.1/opq"),
        ("cloud", "update.http_endpoint", "224.0.0.1:8151"),
        ("gateway", "uplink.trigger_endpoint", "tcp://224.0.0.1:9880"),
        ("gateway", "uplink.trigger_endpoint", "tcp://makai:٩٨٨٠"),
        ("gateway", "mqtt.host", "ff02::1"),
        ("gateway", "update.url", "http://255.255.255.255:8151"),
        ("gateway", "setup.endpoint", "[ff02::1]:8080"),
        ("gateway", "phasors.endpoint", "0.0.0.0:٤٧١٢"),
        ("rules", "endpoint", "224.0.0.1:9081"),
    ],
)
def test_an_address_that_connects_nothing_is_refused(
    kind: str, key: str, value: str, tmp_path: Path, curve: KeyFolder
) -> None:
    """Multicast and broadcast, which a server may even bind; and digits that no socket takes."""
    section, _, name = key.rpartition(".")
    path = tmp_path / f"{kind}.toml"
    path.write_text("" if kind != "gateway" else gateway_file(tmp_path).read_text())
    with path.open("a") as file:
        file.write(f"[{section}]\n" * bool(section) + f'{name} = "{value}"\n')
    told = check("--json", "--kind", kind, path)
    (problem,) = json.loads(told.stdout)["problems"]
    assert told.exit_code == 2 and problem["key"] == key and "want " in problem["text"]
    assert value in problem["text"] or "is for " in problem["text"]


def test_an_empty_store_address_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text('[store]\nmongo_uri = ""\n')
    told = check(path)
    assert told.exit_code == 2 and "store.mongo_uri     is empty; leave the key out, or give" in told.stderr


def test_an_absent_port_or_open_key_is_noted(tmp_path: Path, curve: KeyFolder) -> None:
    path = gateway_file(tmp_path)
    path.write_text(path.read_text().replace("socket://box:7", "/dev/serial/by-id/usb-none"))
    curve.box_secret("1").chmod(0o644)
    told = check(path)
    assert told.exit_code == 0 and "fine" in told.stdout
    assert "chmod 600" in told.stdout and "the gateway waits for it" in told.stdout


def test_a_machine_without_confinement_is_noted(
    tmp_path: Path, curve: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "why_not", lambda: "Landlock is off in this kernel")
    path = gateway_file(tmp_path)
    assert "Landlock" not in check(path).stdout
    gateway_file(tmp_path, '[rules]\nenabled = true\n[rules.plugins]\nnetwork = ["tcp:3306"]\n')
    told = check(path)
    assert told.exit_code == 0 and "no unsigned plug-in starts here: Landlock is off" in told.stdout
    gateway_file(tmp_path, '[rules.plugins]\nnetwork = ["tcp:70000"]\n')
    assert check(path).exit_code == 2


def test_wrong_keys_and_values_end_with_two(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('ring_hour = 3\n[[box]]\nid = "01"\nport = "p"\n')
    told = check(path)
    assert told.exit_code == 2 and told.stdout == ""
    assert 'did you mean "ring_hours"?' in told.stderr and "box[0].id" in told.stderr
    as_json = check("--json", path)
    assert as_json.exit_code == 2
    assert {item["key"] for item in json.loads(as_json.stdout)["problems"]} == {"ring_hour", "box[0].id"}
    assert check(tmp_path / "none.toml").exit_code == 2
    assert check().exit_code == 2


def test_a_misspelt_table_shows_the_kind(tmp_path: Path) -> None:
    """A file whose only table is misspelt is read as what was meant, not as a gateway's."""
    path = tmp_path / "cloud.toml"
    path.write_text('[veiw]\nhttp_endpoint = "127.0.0.1:8888"\n')
    told = check(path)
    assert told.exit_code == 2 and 'veiw     unknown key; did you mean "view"?' in told.stderr
    assert "It was read as a file of cloud" in told.stderr


def test_the_samples_are_right_files(tmp_path: Path, curve: KeyFolder) -> None:
    sample = check("--sample").stdout
    assert "# # number of the Box" in sample
    opened = sample.replace("# [[box]]", '[[box]]\nid = "1"\nport = "socket://box:7"\n# ')
    path = tmp_path / "gateway.toml"
    path.write_text(opened)
    told = check("--data-dir", tmp_path, path)
    assert (told.exit_code, told.stdout) == (0, f"{path}: fine (gateway)\n"), told.output
    cloud = tmp_path / "cloud.toml"
    cloud.write_text(check("--sample", "cloud").stdout)
    assert check(cloud).stdout == f"{cloud}: fine (cloud)\n"


def test_a_rule_engines_file_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('endpoint = "127.0.0.1:9081"\n[plugins]\ncall_s = 3.0\n')
    told = check(path)
    assert (told.exit_code, told.stdout) == (0, f"{path}: fine (rules)\n")
    path.write_text('endpoint = "0.0.0.0:9081"\n[plugins]\ncall_s = 3.0\n')
    told = check(path)
    assert told.exit_code == 2 and "token_file" in told.stderr
    path.write_text(check("--sample", "rules").stdout)
    assert check(path).stdout == f"{path}: fine (rules)\n"


def test_ups_file_is_judged_by_table(tmp_path: Path) -> None:
    path = tmp_path / "up.toml"
    path.write_text("[gateway]\nring_hours = 2.0\n[cloud]\nnominal_v = 230.0\n")
    told = check(path)
    assert (told.exit_code, told.stdout) == (0, f"{path}: fine (up)\n"), told.output
    path.write_text('[gateway]\nring_hour = 2.0\n[cloud]\nnominal_v = "many"\n')
    told = check(path)
    assert told.exit_code == 2 and f"{path}: 2 problems, nothing was started" in told.stderr
    assert "  gateway.ring_hour" in told.stderr and "  cloud.nominal_v" in told.stderr
    problems = json.loads(check("--json", path).stdout)["problems"]
    assert {item["key"] for item in problems} == {"gateway.ring_hour", "cloud.nominal_v"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["up.toml"]


@pytest.mark.parametrize("table", ["", "cloud."])
def test_settings_of_analyses_are_checked_as_by_mauka(tmp_path: Path, table: str) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(f"[{table}mauka.analysis_settings.harmonics]\nthd_percent = -3\nthd_precent = 5\n")
    told = check(path)
    assert told.exit_code == 2 and "thd_percent  is -3; want from 0.1 to 1000" in told.output
    assert 'thd_precent  unknown key; did you mean "thd_percent"?' in told.output


def test_an_original_boxs_file_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "triggering.json"
    document = {
        "cmd_sub_ep": "tcp://opq:8194",
        "trg_push_ep": "tcp://opq:9880",
        "box_secret_key": "do-not-print",
        "box_id": 3,
        "windows_per_measurements": 60,
        "windows_in_storage_buffer": 3000,
        "frobnicate": 1,
    }
    path.write_text(json.dumps(document))
    told = check(path)
    assert told.exit_code == 0 and "fine (original Box)" in told.stdout
    assert '-> uplink.trigger_endpoint = "tcp://opq:9880"' in told.stdout
    assert '-> box.id = "3"' in told.stdout and "measurement_cycles = 60" in told.stdout
    assert "do-not-print" not in told.output and "not known" in told.stdout


def test_an_original_services_file_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "triggering_broker.json"
    path.write_text(json.dumps({"interface": "tcp://*:9880", "backend": "tcp://*:9881"}))
    told = check(path)
    assert told.exit_code == 0 and f"{path}: fine (original triggering broker)\n" in told.stdout
    words = " ".join(told.stdout.split())
    assert "server_cert missing; the original does not start without it" in words
    path.write_text(json.dumps({"interface": "tcp://*:9880", "backend": "tcp://*:9881", "client_cert": "/k"}))
    told = check(path)
    words = " ".join(told.stdout.split())
    said = 'client_cert without effect: not known; did you mean "client_certs"?'
    assert told.exit_code == 1 and said in words
    path.write_text(json.dumps({"cmd_sub_ep": "tcp://opq:8194", "trg_push_epp": "tcp://opq:9880"}))
    told = check(path)
    assert told.exit_code == 1 and 'did you mean "trg_push_ep"?' in told.stdout


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('[rules.plugins]\nnetwork = ["tcp:3306"]\n', "rules.plugins"),
        ("[mqtt]\nevery_s = 5.0\n", "mqtt"),
        ("[phasors]\nreports_per_s = 50\n", "phasors"),
    ],
)
def test_a_section_of_an_off_part_is_wrong(tmp_path: Path, curve: KeyFolder, more: str, key: str) -> None:
    told = check(gateway_file(tmp_path, more))
    assert told.exit_code == 1 and f"{key}  is without effect" in told.stdout
    path = tmp_path / "up.toml"
    path.write_text(more.replace("[", "[gateway.", 1))
    told = check(path)
    assert told.exit_code == 1 and f"gateway.{key}  is without effect" in told.stdout


def test_a_gateway_makes_no_key_of_its_cloud(tmp_path: Path, curve: KeyFolder) -> None:
    path = gateway_file(tmp_path)
    curve.server_public.unlink()
    ended = CliRunner().invoke(main, ["run", "--config", str(path)])
    for text in (" ".join(check(path).stdout.split()), f"{ended.stderr} {ended.exception}"):
        assert "opqserver.key is missing; it is the cloud's public key: copy it from" in text
        assert "--server --boxes" not in text and "make it with" not in text


def test_a_set_up_password_fits_the_access_point(tmp_path: Path, curve: KeyFolder) -> None:
    secret = tmp_path / "password"
    secret.write_text("short\n")
    secret.chmod(0o600)
    path = gateway_file(tmp_path, f'[setup]\nendpoint = "0.0.0.0:1"\npassword_file = "{secret}"\n')
    assert "8 to 63" in check(path).stdout
    secret.write_text("long enough\n")
    assert check(path).exit_code == 0


def test_a_gateway_is_not_started_to_serve_nobody(tmp_path: Path, curve: KeyFolder) -> None:
    path = gateway_file(tmp_path, '[uplink]\nsend = ["volts"]\n[setup]\nendpoint = "0.0.0.0:1"\n')
    ended = CliRunner().invoke(main, ["run", "--config", str(path)])
    assert ended.exit_code == 2 and "2 problems, nothing was started" in ended.stderr
    assert "uplink.send" in ended.stderr and "setup.password_file" in ended.stderr


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('[uplink]\ntrigger_endpoint = "tcp://makai"', "uplink.trigger_endpoint"),
        ('[uplink]\ntrigger_endpoint = "tcp://makai:9880\\n"', "uplink.trigger_endpoint"),
        ('[uplink]\ncommand_endpoint = "tcp://makai:99999"', "uplink.command_endpoint"),
        ('[phasors]\nendpoint = "127.0.0.1:99999"', "phasors.endpoint"),
        ('[[box]]\nid = "9999999999"\nport = "socket://other:7"', "box.id 9999999999"),
    ],
)
def test_an_impossible_address_is_reported_early(
    tmp_path: Path, curve: KeyFolder, more: str, key: str
) -> None:
    path = gateway_file(tmp_path, more)
    told = check(path)
    assert told.exit_code in (1, 2) and key in told.output
    assert CliRunner().invoke(main, ["run", "--config", str(path)]).exit_code == 2


def test_the_set_up_pages_overrides_are_noted(tmp_path: Path, curve: KeyFolder) -> None:
    path = gateway_file(tmp_path)
    (tmp_path / "gateway").mkdir()
    file = tmp_path / "gateway" / "setup.json"
    file.write_text(json.dumps({"trg_push_ep": "tcp://page:9880", "windows_per_measurements": 60}))
    told = check(path)
    assert told.exit_code == 0 and "tcp://page:9880" in told.stdout and "setup.json" in told.stdout
    assert "measurement_cycles" not in told.stdout
    file.write_text("{")
    assert "is not used" in check(path).stdout


def test_addresses_beyond_the_offset_are_named(tmp_path: Path, curve: KeyFolder) -> None:
    more = '[uplink]\ntrigger_endpoint = "tcp://makai:9880"\n[update]\nurl = "http://makai:8151"\n'
    told = json.loads(check("--json", "--port-offset", 100, gateway_file(tmp_path, more)).stdout)
    assert {note["key"]: note["text"].partition(":  ")[0] for note in told["notes"]} == {
        "uplink.trigger_endpoint": "tcp://makai:9880 stays at 9880: --port-offset does not move it",
        "update.url": "http://makai:8151 stays at 8151: --port-offset does not move it",
    }
    assert json.loads(check("--json", gateway_file(tmp_path, more)).stdout)["notes"] == []
    cloud = tmp_path / "cloud.toml"
    cloud.write_text(
        '[store]\nmongo_uri = "mongodb://127.0.0.1:27017/opq"\n[view]\nhttp_endpoint = "127.0.0.1:8888"\n'
        '[triggering_broker]\nbackend_endpoint = "tcp://127.0.0.1:5000"\n'
    )
    told = json.loads(check("--json", "--port-offset", 100, cloud).stdout)
    assert [note["key"] for note in told["notes"] if "does not move" in note["text"]] == [
        "triggering_broker.backend_endpoint"
    ]
