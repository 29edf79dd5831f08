"""Commands of the gateway: each gets exactly one acknowledgement, and then takes effect."""

import time

import codes
from journal import Journal
from opq import board, clock, pipeline, settings
from prompt_session import PromptSession
from receiver import KEYS as CLOCK_KEYS
from receiver import Receiver
from sampler import FEATURE_KEYS, START_KEYS, Sampler
from supervisor import Supervisor
from updater import Updater
from user_program import UserProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PER_ROUND = 4
"""Commands per round of the loop, so that many commands do not delay the watchdog."""
FLUSH_MS = 200
"""Time to send what is queued before a reset; the line sends its 4 KB in 44 ms."""
LATEST_NS = 4 * 10**18
"""The year 2096, the same limit as in the gateway."""
REFUSED = 8
"""Index in pipeline.counters()."""
KINDS = ("dip", "swell", "interruption")


class Commands:
    def __init__(
        self,
        journal: Journal,
        sampler: Sampler,
        receiver: Receiver,
        updater: Updater,
        supervisor: Supervisor,
        program: UserProgram,
        prompt: PromptSession,
        ticks_ms: "Callable[[], int]" = time.ticks_ms,
    ) -> None:
        self._journal = journal
        self._sampler = sampler
        self._receiver = receiver
        self._updater = updater
        self._supervisor = supervisor
        self._program = program
        self._prompt = prompt
        self._ticks_ms = ticks_ms
        self._lost = pipeline.counters()[REFUSED]

    def poll(self) -> None:
        """Answers the commands that have arrived."""
        for _ in range(PER_ROUND):
            message = pipeline.poll()
            if message is None:
                return
            self._sampler.commanded = True
            kind, command_id, what, more = message
            if kind == pipeline.COMMAND:
                self._command(command_id, what, str(more))
            elif isinstance(more, bytes):
                self._updater.data(command_id, what, more)

    def second(self) -> None:
        """Once a second: logs how many commands found the inbox full; these get no answer."""
        lost = pipeline.counters()[REFUSED]
        if lost != self._lost:
            self._journal.put(codes.COMMANDS_LOST, lost - self._lost, lost)
            self._lost = lost

    def _command(self, command_id: int, operation: int, argument: str) -> None:
        try:
            status, detail = self._answer(operation, argument)
        except Exception:
            pipeline.acknowledge(command_id, codes.FAILED, "exception")
            raise  # the supervisor counts and logs it
        if not pipeline.acknowledge(command_id, status, detail):  # it does not fit: the status alone
            pipeline.acknowledge(command_id, status)
        if status == codes.DONE:
            self._then(operation)

    def _answer(self, operation: int, argument: str) -> tuple[int, str]:
        if operation == codes.PUT_SETTING:
            return self._put(argument)
        if operation == codes.SYNC_TIME:
            return self._sync(argument)
        if operation == codes.CROSSING_LIMITS:
            return self._limits(argument)
        if operation == codes.PROTECT:
            return self._protect(argument)
        if operation == codes.PROGRAM:
            return self._program.command(argument)
        if operation == codes.PROMPT:
            return self._prompt.command(argument)
        if operation == codes.UPDATE_BEGIN:
            return self._updater.begin(argument)
        if operation == codes.UPDATE_END:
            return self._updater.end()
        if operation in (codes.HELLO, codes.GET_SETTINGS, codes.RESET, codes.REPL_OPERATION):
            return codes.DONE, ""
        return codes.UNKNOWN, ""

    def _protect(self, argument: str) -> tuple[int, str]:
        """Sets `<brown-out level> <boot sectors>` in the option bytes; answers with both, also to nothing."""
        if argument:
            try:
                level, sectors = (int(word) for word in argument.split(" "))
            except ValueError:
                return codes.BAD_ARGUMENT, "want <level> <sectors>"
            if not board.protect(level, sectors):
                return codes.FAILED, "not set"
        level, sectors = board.protection()
        return codes.DONE, f"{level} {sectors}"

    def _then(self, operation: int) -> None:
        """Does what follows the acknowledgement."""
        if operation == codes.HELLO:
            self._sampler.hello_now()
        elif operation == codes.GET_SETTINGS:
            pipeline.settings(settings.sequence(), settings.items())
        elif operation in (codes.RESET, codes.UPDATE_END):
            self._journal.put(codes.STOPPED, codes.COMMANDED)
            self._flush()
            board.reset()
        elif operation == codes.REPL_OPERATION:
            self._journal.put(codes.REPL)
            self._flush()
            self._supervisor.stop = True

    def _put(self, argument: str) -> tuple[int, str]:
        key, equals, value = argument.partition("=")
        if not equals:
            return codes.BAD_ARGUMENT, "want key=value"
        try:
            before = settings.get(key)
        except KeyError:
            return codes.BAD_ARGUMENT, "no setting " + key[:32]
        if settings.put(key, value) != settings.OK:
            return codes.BAD_ARGUMENT, key + ": value refused"
        if not self._use(key):  # before saving: no saved value may stop the samples
            self._take_back(key, before)
            return codes.BAD_ARGUMENT, key + ": the converter does not start with it"
        status = settings.save()
        if status != settings.OK:
            self._take_back(key, before)
            self._journal.put(codes.SETTINGS_FAILED, status)
            return codes.FAILED, f"not saved: status {status}"
        self._journal.put(codes.SETTINGS_SAVED, settings.sequence())
        self._sampler.hello_now()
        return codes.DONE, ""

    def _use(self, key: str) -> bool:
        if key in START_KEYS:
            return self._sampler.stopped or self._sampler.start(strict=True)  # stopped: with its next start
        if key in FEATURE_KEYS:
            self._sampler.watch_features()
        elif key in CLOCK_KEYS:
            self._receiver.configure()
        return True

    def _take_back(self, key: str, before: str) -> None:
        settings.put(key, before)
        self._use(key)

    def _sync(self, argument: str) -> tuple[int, str]:
        """Argument `<t_ns>,<uncertainty_ns>[,free]`: the gateway's time when it wrote the command."""
        parts = argument.split(",")
        try:
            t_ns, uncertainty_ns = int(parts[0]), int(parts[1])
        except (ValueError, IndexError):
            return codes.BAD_ARGUMENT, "want t_ns,uncertainty_ns"
        if not 0 < t_ns < LATEST_NS or not 0 < uncertainty_ns < 0xFFFFFFFF:
            return codes.BAD_ARGUMENT, "want a time after 1970 and its uncertainty"
        clock.sync(t_ns, uncertainty_ns, len(parts) < 3 or parts[2] != "free")
        if self._receiver.state < clock.LOCKED:  # else it is only compared with GPS
            self._journal.put(codes.TIME_SET, uncertainty_ns // 1_000_000)
        return codes.DONE, ""

    def _limits(self, argument: str) -> tuple[int, str]:
        """Argument `dip=0.9,swell=1.1`: shares of nominal. A limit that is not named is not watched."""
        limits = [0.0, 0.0, 0.0]
        for part in argument.split(",") if argument else ():
            name, _, value = part.partition("=")
            try:
                share = float(value)
            except ValueError:
                share = 0.0
            if name not in KINDS or not 0 < share < 10:
                return codes.BAD_ARGUMENT, "want dip, swell, interruption = share of nominal"
            limits[KINDS.index(name)] = share
        pipeline.limits(limits[0], limits[1], limits[2], settings.number("hysteresis_pu"))
        return codes.DONE, ""

    def _flush(self) -> None:
        began_ms = self._ticks_ms()
        while not pipeline.idle() and time.ticks_diff(self._ticks_ms(), began_ms) < FLUSH_MS:
            self._journal.flush()
            time.sleep_ms(2)
