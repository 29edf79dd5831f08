"""Commands to a Box: one after another, timed out, repeated; the limits told after each start."""

from dataclasses import replace

import pytest

from opq_gateway.config import MeasuringSection
from opq_gateway.serial_side.box_commands import COMMANDS_WAITING, BoxAnswer, BoxCommands
from opq_gateway.serial_side.box_settings import CrossingLimits, TimeForGps, limits
from opq_gateway.serial_side.serial_clock import Clocks
from opq_proto.kit.clock import ClockState
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    GpsState,
    GpsStatus,
    Hello,
    LinkMessage,
    Operation,
    Settings,
    Status,
    UpdateData,
)
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

HELLO = Hello(1, 1, 5, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")


class Bench:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.sent: list[LinkMessage] = []
        self.answers: list[BoxAnswer] = []
        self.commands = BoxCommands(self.sent.append, lambda: self.now_s)
        self.commands.opened()

    def ask(self, operation: Operation, argument: str = "", timeout_s: float = 2.0) -> bool:
        return self.commands.send_command(operation, argument, timeout_s, self.answers.append)

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            self.now_s += 0.02
            self.commands.tick()

    def acknowledge(self, status: Status = Status.DONE, detail: str = "") -> None:
        last = self.sent[-1]
        assert isinstance(last, Command | UpdateData)
        self.commands.accept_answer(Acknowledgement(last.command_id, status, detail))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_commands_are_answered_in_turn(bench: Bench) -> None:
    assert bench.ask(Operation.PUT_SETTING, "gain=1.1") and bench.ask(Operation.SYNC_TIME, "1,2")
    bench.commands.tick()
    assert bench.sent == [Command(1, Operation.PUT_SETTING, "gain=1.1")]
    bench.acknowledge(Status.BAD_ARGUMENT, "no")
    bench.commands.tick()
    bench.acknowledge()
    assert [message.command_id for message in bench.sent if isinstance(message, Command)] == [1, 2]
    assert bench.answers == [BoxAnswer(Status.BAD_ARGUMENT, "no"), BoxAnswer(Status.DONE, "")]


def test_settings_are_answered_when_they_have_come(bench: Bench) -> None:
    bench.ask(Operation.GET_SETTINGS)
    bench.commands.tick()
    bench.commands.accept_answer(Settings(1, (("old", "1"),)))  # somebody else's
    bench.acknowledge()
    assert not bench.answers
    bench.commands.accept_answer(Settings(2, (("gain", "1"),)))
    assert bench.answers == [BoxAnswer(Status.DONE, "", (("gain", "1"),))]


def test_an_unanswered_command_is_repeated_once(bench: Bench) -> None:
    bench.ask(Operation.GET_SETTINGS)
    bench.passes(1.5)
    assert bench.sent == [Command(1, Operation.GET_SETTINGS)] * 2
    bench.passes(0.6)
    assert [answer.status for answer in bench.answers] == [None] and len(bench.sent) == 2
    bench.commands.accept_answer(Acknowledgement(1, Status.DONE))  # too late: no command waits for it
    assert len(bench.answers) == 1


@pytest.mark.parametrize("operation", [Operation.RESET, Operation.UPDATE_END, Operation.SYNC_TIME])
def test_restarting_commands_are_sent_once(bench: Bench, operation: Operation) -> None:
    bench.ask(operation)
    bench.passes(3.0)
    assert bench.sent == [Command(1, operation)] and bench.answers[0].status is None


def test_pieces_of_an_image_are_acknowledged_like_commands(bench: Bench) -> None:
    assert bench.commands.send_update_data(1024, b"x" * 1024, 1.0, bench.answers.append)
    bench.commands.tick()
    assert bench.sent == [UpdateData(1, 1024, b"x" * 1024)]
    bench.acknowledge(Status.BUSY, "1024")
    assert bench.answers == [BoxAnswer(Status.BUSY, "1024")]


def test_without_a_port_commands_are_refused(bench: Bench) -> None:
    assert bench.ask(Operation.RESET) and bench.ask(Operation.HELLO)
    bench.commands.tick()
    bench.commands.lost()
    assert [answer.status for answer in bench.answers] == [None, None]
    assert not bench.ask(Operation.RESET)


def test_no_more_than_a_few_wait(bench: Bench) -> None:
    assert [bench.ask(Operation.HELLO) for _ in range(COMMANDS_WAITING + 2)] == [True] * COMMANDS_WAITING + [
        False
    ] * 2


def test_an_acknowledgement_of_another_command_is_nobodys(bench: Bench) -> None:
    bench.ask(Operation.RESET)
    bench.commands.tick()
    bench.commands.accept_answer(Acknowledgement(99, Status.DONE))
    assert not bench.answers


class Limits:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.refused: list[str] = []
        self.limits = CrossingLimits(limits(MeasuringSection()), bench.commands, self.refused.append)

    def hello(self, boot_id: int = 5) -> list[LinkMessage]:
        """What a hello makes the gateway say."""
        before = len(self.bench.sent)
        self.limits.hello(replace(HELLO, boot_id=boot_id))
        self.bench.commands.tick()
        return self.bench.sent[before:]


def test_limits_are_sent_once_per_start(bench: Bench) -> None:
    side = Limits(bench)
    [command] = side.hello()
    assert isinstance(command, Command)
    assert (command.operation, command.argument) == (
        Operation.CROSSING_LIMITS,
        "dip=0.9,swell=1.1,interruption=0.1",
    )
    assert side.hello() == []  # is on its way
    bench.acknowledge()
    assert side.hello() == []
    assert side.hello(boot_id=6)


def test_unanswered_limits_are_sent_again(bench: Bench) -> None:
    """So are changed ones."""
    side = Limits(bench)
    assert side.hello()
    bench.passes(2.5)
    assert side.hello()
    bench.acknowledge()
    bench.ask(Operation.PUT_SETTING, "dip_pu=0.5")
    bench.commands.tick()
    bench.acknowledge()
    assert side.hello()


def test_a_box_without_limits_is_left_alone(bench: Bench) -> None:
    side = Limits(bench)
    side.hello()
    bench.acknowledge(Status.UNKNOWN)
    assert side.refused == ["unknown"] and side.hello() == []


def gps(state: GpsState) -> GpsStatus:
    return GpsStatus(state, 4, 0, 0, 0, 0, 0, 0, 0)


class ToldTime:
    """TimeForGps of a Box whose line takes `took_s` for a command and its answer."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.system = ClockState(TimeSource.NTP, 5_000_000)
        self.took_s = 0.02
        clocks = Clocks(lambda: bench.now_s, lambda: round(bench.now_s * 1e9) + 10**18, lambda: self.system)
        self.time_for_gps = TimeForGps(bench.commands, clocks)

    def sent(self, state: GpsState, status: Status | None = None) -> list[str]:
        """What is sent at the next two reports of the receiver, which are answered."""
        arguments = []
        for _ in range(2):
            before = len(self.bench.sent)
            self.time_for_gps.gps(gps(state))
            self.bench.commands.tick()
            for command in self.bench.sent[before:]:
                assert isinstance(command, Command) and command.operation is Operation.SYNC_TIME
                arguments.append(command.argument)
                self.bench.now_s += self.took_s
                self.bench.acknowledge(status or (Status.DONE if command.argument else Status.BAD_ARGUMENT))
        return arguments


def test_a_receiver_gets_the_time_each_minute(bench: Bench) -> None:
    told = ToldTime(bench)
    told.system = ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    assert not told.sent(GpsState.ACQUIRING)  # the gateway does not know it either
    told.system = ClockState(TimeSource.NTP, 5_000_000)
    assert not told.sent(GpsState.FREE)
    assert told.sent(GpsState.ACQUIRING) == ["", "1000000000020000000,55000000"]
    for locked in (GpsState.LOCKED, GpsState.HOLDOVER):
        assert not told.sent(locked)
        bench.passes(61)
        assert len(told.sent(locked)) == 2
    told.time_for_gps.restart()
    told.time_for_gps.gps(gps(GpsState.ACQUIRING))
    bench.passes(1.1)
    assert told.sent(GpsState.ACQUIRING)[0] == ""  # was not answered
    bench.passes(61)
    assert told.sent(GpsState.LOCKED, Status.UNKNOWN) == [""]
    bench.passes(120)
    assert not told.sent(GpsState.LOCKED)  # firmware that does not know the command


def test_a_slow_line_gets_no_time(bench: Bench) -> None:
    told = ToldTime(bench)
    told.took_s = 0.5
    assert told.sent(GpsState.LOCKED) == [""]
    told.took_s = 0.1
    assert not told.sent(GpsState.LOCKED)
    bench.passes(61)
    assert told.sent(GpsState.LOCKED) == ["", f"{round(bench.now_s * 1e9) + 10**18 - 10**8},135000000"]


def test_one_slow_answer_is_forgotten(bench: Bench) -> None:
    """The system's own bound of some 40 ms and a slow way are too much together; the next way is measured."""
    told = ToldTime(bench)
    told.system = ClockState(TimeSource.NTP, 40_000_000)
    told.took_s = 0.19
    assert told.sent(GpsState.LOCKED) == [""]
    told.took_s = 0.02
    assert not told.sent(GpsState.LOCKED)
    bench.passes(61)
    assert [bool(sent) for sent in told.sent(GpsState.LOCKED)] == [False, True]


def test_three_times_follow_a_late_one(bench: Bench) -> None:
    told = ToldTime(bench)
    told.time_for_gps.gps(gps(GpsState.LOCKED))
    bench.commands.tick()
    bench.acknowledge(Status.BAD_ARGUMENT)
    told.took_s = 0.9
    told.time_for_gps.gps(gps(GpsState.LOCKED))
    bench.commands.tick()
    bench.now_s += told.took_s
    bench.acknowledge()
    told.took_s = 0.02
    assert [len(told.sent(GpsState.LOCKED)) for _ in range(4)] == [2, 2, 2, 0]


def test_a_time_is_read_when_it_is_sent(bench: Bench) -> None:
    told = ToldTime(bench)
    told.time_for_gps.gps(gps(GpsState.LOCKED))
    bench.commands.tick()
    bench.acknowledge(Status.BAD_ARGUMENT)
    bench.ask(Operation.PUT_SETTING, "gain=1.1", timeout_s=5.0)
    bench.commands.tick()
    told.time_for_gps.gps(gps(GpsState.LOCKED))
    bench.now_s += 3.0
    bench.acknowledge()
    bench.commands.tick()
    last = bench.sent[-1]
    assert isinstance(last, Command) and last.argument.startswith("1000000003000000000,")
