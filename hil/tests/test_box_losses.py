"""What the firmware loses on its lines, from the chip's own flags to the gateway's pages.

A pulse line that rings gives more edges than a processor takes; at a quarter of its speed (32 ns an
instruction instead of 8) bytes of the gateway go by meanwhile: overruns of USART1, as hardware has them.
"""

import json
import re
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.health import health
from opq_gateway.local.metrics import GatewayMetrics
from opq_gateway.local.running_gateway import status_words
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.intake import Intake
from opq_gateway.serial_side.outputs import Outputs
from opq_hil.suites.gateway_process import GatewayProcess
from opq_hil.suites.scenario import Bench
from opq_hil.world.world import NS_PER_S, World
from opq_proto.link.box_losses import LOSSES, box_losses
from opq_proto.link.messages import Health, Losses

RINGS_NS = NS_PER_S // 50
FLOOD = bytes(8192)
"""0.09 s of the line."""


class RingingAndFlooded(World):
    """At each time of `messages` the pulse line rings at 6.7 MHz for 20 ms."""

    def lines(self, folder: Path) -> Iterator[str]:
        *lines, end = super().lines(folder)
        yield from (
            *lines,
            *(f"pps_train {at_ns} 150 1 {RINGS_NS // 150}" for at_ns, _ in self.messages),
            end,
        )


@pytest.fixture
def slow_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opq_hil.backends.qemu.ICOUNT", "shift=5,sleep=off")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("slow_processor")
def test_a_boxs_losses_are_in_the_gateways_pages(hil_bench: Bench, tmp_path: Path) -> None:
    run = hil_bench.run(RingingAndFlooded(round(3.2 * NS_PER_S), gps=None, messages=((2 * NS_PER_S, FLOOD),)))
    first, *_, last = (box_losses(None, losses) for losses in run.capture.of(Losses))
    assert first == dict.fromkeys(LOSSES, 0)  # known from the start, not guessed
    assert 0 < last["link_overruns"] <= run.report["usart1"]["overruns"]
    assert last["pps_overtaken"] > 0 and last["pps_dropped"] > 0

    status, counters = BoxStatus("1", 60), BoxCounters()
    no_samples = cast(Outputs, None)
    intake = Intake(status, Ring(tmp_path, "1", 1.0), counters, lambda message: None, no_samples)
    with capture_logs() as log:
        for message in (*run.capture.of(Health), *run.capture.of(Losses)):
            intake.accept_message(message)
    assert [line["pps_dropped"] for line in log if line["event"] == "box.lost"] == [last["pps_dropped"]]
    text = GatewayMetrics({"1": status}, {"1": counters}).text().decode()
    assert f'opq_gateway_box_lost_pps_dropped{{box_id="1"}} {float(last["pps_dropped"])}\n' in text
    [box] = cast(list[dict[str, Any]], health({"1": status}, 0.0, 0.0)["subcomponents"])
    assert box["lost"].items() >= last.items() and box["lost"]["missing_samples"] == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("slow_processor")
def test_they_reach_a_real_gateway_while_they_happen(hil_bench: Bench) -> None:
    """In real time, over a pty: what `opq-gateway status` and Prometheus read."""
    messages = tuple((second * NS_PER_S, FLOOD) for second in (5, 10, 15, 20, 30, 45))
    world = RingingAndFlooded(3600 * NS_PER_S, gps=None, messages=messages)
    with (
        hil_bench.live(world) as box,
        GatewayProcess({"1": box.port}, hil_bench.folder / "gateway", box.now_s) as running,
    ):
        config = tomllib.loads((running.folder / "gateway.toml").read_text())
        url = f"http://{config['health_endpoint']}"

        def health_document() -> dict[str, Any]:
            try:
                with urllib.request.urlopen(url, timeout=240) as answer:
                    found: dict[str, Any] = json.loads(answer.read())
            except OSError:
                return {}  # it has not begun yet
            return found

        def lost() -> dict[str, int]:
            return dict(health_document().get("subcomponents", [{}])[0].get("lost", {}))

        running.wait_until(lambda: lost().get("link_overruns", 0) > 0, 120.0, "bytes lost in the Box")
        assert lost()["pps_overtaken"] > 0 and lost()["pps_dropped"] > 0
        [line, *_] = status_words(
            {"boxes": health_document()["subcomponents"], "gps_comparison": None, "claim_codes": []}
        )
        assert "lost in the Box since its start" in line and "GPS pulses that found their queue full" in line
        with urllib.request.urlopen(f"{url}/metrics", timeout=240) as answer:
            text = answer.read().decode()
        assert re.search(r'^opq_gateway_box_lost_link_overruns\{box_id="1"\} [1-9]', text, re.M)
