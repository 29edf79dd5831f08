"""Dips that outlast what their onset asked for: one more event has all of it, and never more than one."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as Config
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal

WINDOW_MS = 200
PAD_MS = 1000
QUIET_S = 1.2
"""Longer than what is over waits for other Boxes: a window of 0.2 s, 5 %, and 0.5 s."""


class Grid:
    """A triggering service behind both brokers, and plain Boxes with windows of 0.2 s."""

    def __init__(self, makai: Any, folder: Path) -> None:
        self.makai = makai
        self.brokers = makai.brokers()
        self.shared = CloudContext(lambda: open_store(None, folder / "store"))
        self.config = Config(
            measurement_endpoint=self.brokers.triggering_config.backend_endpoint,
            request_endpoint=self.brokers.acquisition_config.request_endpoint,
            batch_ms=20,
        )
        self.begin_ms = time.time_ns() // 1_000_000
        self.service: TriggeringService

    @contextmanager
    def running(self) -> Iterator[TriggeringService]:
        self.service = TriggeringService(self.config, self.shared, Nominal(120.0, 60.0))
        with self.makai.running(self.service):
            yield self.service

    def box(self, box_id: str) -> Any:
        box = self.makai.box(self.brokers, box_id)
        self.makai.wait_for(lambda: self.brokers.acquisition.counters.of("boxes_listening", box_id))
        return box

    def window(self, box: Any, k: int, rms: float, late_ms: int = 0, **fields: Any) -> None:
        end_ms = self.begin_ms + (k + 1) * WINDOW_MS + late_ms
        start_ms = end_ms - WINDOW_MS
        frames = box.measurement(rms, end_ms, start_ns=start_ms * 10**6, end_ns=end_ms * 10**6, **fields)
        box.pub.send_multipart(frames)

    def crossing(self, box: Any, at_ms: int, rms: float) -> None:
        start_ns = (self.begin_ms + at_ms) * 10**6
        end_ns = start_ns + 16_666_667
        frames = box.measurement(rms, end_ns // 10**6, start_ns=start_ns, end_ns=end_ns, crossing=True)
        box.pub.send_multipart(frames)

    def heard(self, *boxes: Any) -> None:
        def all_heard() -> bool:
            for box in boxes:
                self.window(box, -20, 120.0)
            time.sleep(0.02)
            return {part.name for part in self.service.health()} >= {box.box_id for box in boxes}

        self.makai.wait_for(all_heard)

    def spans(self) -> list[tuple[int, int, tuple[str, ...]]]:
        """The events, oldest first: ms from the grid's begin, and who was asked."""
        return [
            (
                event.start_ns // 10**6 - self.begin_ms,
                event.end_ns // 10**6 - self.begin_ms,
                event.boxes_triggered,
            )
            for event in reversed(self.shared.store.events())
        ]


@pytest.fixture
def grid(makai: Any, tmp_path: Path) -> Iterator[Grid]:
    made = Grid(makai, tmp_path)
    with ExitStack() as running:
        running.enter_context(makai.running(made.brokers.triggering))
        running.enter_context(makai.running(made.brokers.acquisition))
        yield made
    made.shared.close()


def data_commands(box: Any, least: int, quiet_s: float = QUIET_S) -> list[tuple[int, int]]:
    """`least` of them, and all that come until nothing comes for `quiet_s`; acknowledgements are left out."""
    found: list[tuple[int, int]] = []
    last_s = time.monotonic()
    while (silent_s := time.monotonic() - last_s) < quiet_s or (len(found) < least and silent_s < 60.0):
        command = box.command(timeout_ms=50)
        if command is None or command.box_id != int(box.box_id):  # "1" is a prefix of "10" too
            continue
        if command.WhichOneof("command") == "data_command":
            found.append((command.data_command.start_ms, command.data_command.end_ms))
            last_s = time.monotonic()
    return found


@pytest.mark.parametrize("windows", [1, 2, 5])
def test_a_dip_inside_its_request_is_one_command(grid: Grid, windows: int) -> None:
    """The request of its onset covers it, so each Box gets one command."""
    with grid.running():
        one, four = grid.box("1"), grid.box("4")
        grid.heard(one, four)
        for k in range(8):
            grid.window(one, k, 70.0 if k < windows else 120.0)
            grid.window(four, k, 120.0)
        asked = grid.begin_ms - PAD_MS, grid.begin_ms + WINDOW_MS + PAD_MS
        assert data_commands(one, 1) == [asked]
        assert data_commands(four, 1, 0.1) == [asked]
        assert len(grid.spans()) == 1


def test_a_dip_of_two_boxes_is_requested_again(grid: Grid) -> None:
    """The whole dip, from these two Boxes only."""
    with grid.running():
        one, four, ten = (grid.box(box_id) for box_id in ("1", "4", "10"))
        grid.heard(one, four, ten)
        for k in range(30):
            for box, late_ms in ((one, 0), (four, 90), (ten, 150)):
                low = k < 25 and box is not ten
                grid.window(box, k, 70.0 if low else 120.0, late_ms)
        first, second = data_commands(one, 2)
        assert data_commands(four, 2, 0.1) == [first, second]
        assert data_commands(ten, 1, 0.1) == [first]
        (_, _, asked_first), (start_ms, end_ms, asked) = grid.spans()
        assert asked_first == ("1", "4", "10")
        assert sorted(asked) == ["1", "4"]
        assert start_ms <= 0 and 25 * WINDOW_MS + 90 <= end_ms <= 25 * WINDOW_MS + 90 + PAD_MS
        because = grid.shared.store.events()[0].because
        assert because.endswith(", completes event 1: lasted at most 5.0 s; threshold: rms below 108 V")
        counters = grid.service.counters  # counted after the commands went out
        grid.makai.wait_for(lambda: counters.total("completions") == 1)
        assert counters.total("triggers") == 1


def test_a_long_dip_is_requested_at_both_ends(grid: Grid) -> None:
    grid.config = replace(
        grid.config, plugins=(PluginEntry(name="threshold", settings={"max_event_s": 4.0}),)
    )
    with grid.running():
        one = grid.box("1")
        grid.heard(one)
        for k in range(40):
            grid.window(one, k, 70.0 if k < 35 else 120.0)
        assert len(data_commands(one, 2)) == 2
        assert grid.spans()[1] == (35 * WINDOW_MS - 2 * PAD_MS, 35 * WINDOW_MS + PAD_MS, ("1",))
        assert grid.shared.store.events()[0].completes == 1


@pytest.mark.parametrize("seen_before", [15, 26], ids=["in the dip", "before it was asked for"])
def test_a_restart_loses_neither_beginning_nor_completion(grid: Grid, seen_before: int) -> None:
    one = grid.box("1")
    with grid.running():
        grid.heard(one)
        before = grid.service.counters.total("received")
        for k in range(seen_before):
            grid.window(one, k, 70.0 if k < 25 else 120.0)
        grid.makai.wait_for(lambda: grid.service.counters.total("received") >= before + seen_before)
    with grid.running():

        def reached() -> bool:
            """The service that began again, by what was sent last: it missed what came before it."""
            grid.window(one, seen_before - 1, 70.0 if seen_before <= 25 else 120.0)
            return bool(grid.service.counters.total("received"))

        grid.makai.wait_for(reached)
        for k in range(seen_before, 30):
            grid.window(one, k, 70.0 if k < 25 else 120.0)
        commands = data_commands(one, 2)
        assert len(commands) == 2
        assert grid.spans() == [
            (-PAD_MS, WINDOW_MS + PAD_MS, ("1",)),
            (-PAD_MS, 25 * WINDOW_MS + PAD_MS, ("1",)),
        ]


def test_a_repeated_recovery_requests_nothing(grid: Grid) -> None:
    with grid.running():
        one = grid.box("1")
        grid.heard(one)
        for k in [*range(27), *range(20, 27)]:
            grid.window(one, k, 70.0 if k < 25 else 120.0, sequence=100 + k)
        assert len(data_commands(one, 2)) == 2
        for k in range(20, 27):
            grid.window(one, k, 70.0 if k < 25 else 120.0, sequence=100 + k)
        assert data_commands(one, 0) == []


@pytest.mark.parametrize(("dip_ms", "events"), [(90, 1), (700, 1), (3000, 2)])
def test_a_crossing_requests_before_its_window(grid: Grid, dip_ms: int, events: int) -> None:
    """Its windows then request nothing more."""
    begin_ms, end_ms = 130, 130 + dip_ms  # inside windows
    with grid.running():
        one, four = grid.box("1"), grid.box("4")
        grid.heard(one, four)
        grid.crossing(one, begin_ms, 70.0)
        first = four.command(timeout_ms=60_000)
        assert first.data_command.start_ms == grid.begin_ms + begin_ms - PAD_MS
        for k in range(end_ms // WINDOW_MS + 4):
            start_ms = k * WINDOW_MS
            if start_ms < end_ms <= start_ms + WINDOW_MS:
                grid.crossing(one, end_ms, 119.0)
            in_dip = begin_ms < start_ms + WINDOW_MS and start_ms < end_ms
            grid.window(one, k, 70.0 if in_dip else 120.0)
        asked = data_commands(one, events)
        assert len(asked) == len(grid.spans()) == events
        assert min(start for start, _ in asked) <= grid.begin_ms + begin_ms - PAD_MS
        assert max(end for _, end in asked) >= grid.begin_ms + end_ms
