"""A Box that moves to another cloud: what it holds goes there, once it is admitted; else it stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_gateway_uplink import closed
from uplink_bench import Bench
from waiting import wait_for

from opq_gateway.uplink import connections
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_gateway.uplink.connection import Endpoints, UplinkPlace, UplinkPlaces, place_from_text, place_to_text
from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyFolder, read_key_file

KEY = b"a" * 40
PLACE = UplinkPlace(Endpoints("tcp://b:9880", "tcp://b:8194", "tcp://b:8196"), KEY)
CONFIGURED = UplinkPlace(Endpoints("tcp://a:9880", "tcp://a:8194", "tcp://a:8196"), KEY)


def place_of(makai: Any, keys: KeyFolder) -> UplinkPlace:
    names = makai.endpoints
    endpoints = Endpoints(*(names[f"{what}_endpoint"] for what in ("trigger", "command", "response")))
    return UplinkPlace(endpoints, read_key_file(keys.server_public).public)


def acknowledged(bench: Bench, upto: int, store: str) -> None:
    bench.uplink.acknowledge("1", CloudAcknowledgement(upto, store=store))
    wait_for(lambda: bench.line.acknowledging and bench.line.acknowledgement is None)


def test_held_measurements_go_to_the_new_cloud(
    tmp_path: Path, peer: Callable[..., Any], keys: KeyFolder
) -> None:
    old, new = peer(), peer()
    with closed(Bench(tmp_path / "box", old, keys)) as bench:
        with bench.running():
            bench.publish(*range(10))
            wait_for(lambda: len(bench.numbers()) == 10)
            acknowledged(bench, 1003, "old")  # 0 to 3 are stored there; 4 to 9 may be or not
            bench.uplink.respond("1", [b"0001", b"moves"])
            bench.uplink.move("1", place_to_text(place_of(new, keys)))()
            wait_for(lambda: len(new.measurements) == 6)
            # its answer left before the connection ended; the former cloud may read it later
            wait_for(lambda: [b"0001", b"moves"] in old.answers)
            acknowledged(bench, 1009, "new")
            wait_for(lambda: bench.queue.held("1") is None)  # the old store is not waited for
            bench.publish(10)
            wait_for(lambda: len(new.measurements) == 7)
        assert [each.sequence for each in new.decoded()] == [*range(1004, 1011)]
        assert len(old.measurements) == 10
        bench.restart()
        with bench.running():
            bench.publish(11)
            wait_for(lambda: 1011 in {each.sequence for each in new.decoded()} or len(new.measurements) > 8)
        assert len(old.measurements) == 10


def test_a_refusing_cloud_gets_nothing(
    tmp_path: Path, peer: Callable[..., Any], keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TRIAL_S", 1.0)
    old, new = peer(), peer(lambda key: False)
    with closed(Bench(tmp_path / "box", old, keys)) as bench, bench.running():
        bench.publish(0)
        wait_for(lambda: len(bench.numbers()) == 1)
        acknowledged(bench, 1000, "old")
        bench.uplink.move("1", place_to_text(place_of(new, keys)))()
        wait_for(lambda: bool(new.asked_keys))
        bench.publish(1, 2)
        wait_for(lambda: bench.numbers() == [0, 1, 2])
        assert not new.measurements and not (tmp_path / "box" / "uplink.json").exists()
        assert bench.line.trial is None and bench.status.connected


def test_a_place_lasts_until_configured_otherwise(tmp_path: Path) -> None:
    places = UplinkPlaces(CONFIGURED, lambda box_id: tmp_path)
    places.keep("1", PLACE)
    assert places.of("1") == PLACE
    assert (tmp_path / "uplink.json").stat().st_mode & 0o777 == 0o600
    other = UplinkPlace(Endpoints("tcp://c:9880", "tcp://c:8194", "tcp://c:8196"), KEY)
    assert UplinkPlaces(other, lambda box_id: tmp_path).of("1") == other
    (tmp_path / "uplink.json").write_text("{")
    assert places.of("1") == CONFIGURED
    places.keep("1", CONFIGURED)
    assert not (tmp_path / "uplink.json").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has trigger, command"),
        ("[]", "has trigger, command"),
        (place_to_text(PLACE).replace("tcp://b:8194", "ipc:///tmp/x"), "is not an address"),
        (place_to_text(PLACE).replace("b:8196", "b"), "is not an address"),
        (place_to_text(PLACE).replace("aaaa", "a"), "has 10 letters; want 40"),
    ],
)
def test_what_is_not_a_place_is_refused(text: str, why: str) -> None:
    assert place_from_text(place_to_text(PLACE)) == PLACE
    with pytest.raises(FrameError, match=why):
        place_from_text(text)
