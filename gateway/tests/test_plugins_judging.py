"""Triggers and analyses in the plug-in host: in this process and in a worker they are the same."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging_plugins import ANALYSIS, HANDING_ON, TRIGGER, analysis_zip, heard, measured, trigger_zip
from plugin_zips import manifest, stored, zipped
from waiting import wait_for

from opq_plugins.host.plugins import Plugins
from opq_plugins.host.proxy import PluginTrigger
from opq_plugins.host.worker import remote
from opq_plugins.host.worker.runtime import InProcessRuntime
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk import nouns
from opq_plugins.worker_errors import ENDED, NOT_CALLED, WorkerTimeoutError
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Finding, Measurement

NOMINAL = Nominal(120.0, 60.0)
MODES = ("process", "inproc")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """A machine that stops for two seconds is not a trigger that hangs."""
    for name in ("DECIDE_S", "BEGIN_S"):
        monkeypatch.setattr(remote, name, 60.0)
    patient = Policy(
        trusted=frozenset({"loud", "peak"}), trial_s=120.0, limits=ProcessLimits(call_s=60.0, start_s=60.0)
    )
    made = Plugins(tmp_path, patient)
    yield made
    made.close()


def installed(plugins: Plugins, settings: Any = None, **how: Any) -> PluginTrigger:
    plugins.create("trigger", "loud", trigger_zip(plugins.uploads, **how))
    told = plugins.status("loud")
    assert told["status"] == "installed"  # nothing calls it yet
    assert not {"pid", "mode", "calls", "failures"} & told.keys(), "whoever calls it counts"
    trigger = plugins.trigger("loud")()
    trigger.configure(settings or {})
    return trigger


@pytest.mark.parametrize("mode", MODES)
def test_a_trigger_decides_remembers_and_forgets(plugins: Plugins, mode: str) -> None:
    trigger = installed(plugins, mode=mode)
    assert plugins.status("loud")["mode"] == mode
    assert trigger.decide(measured(120.0), NOMINAL) is None
    want = Decision("rms", 140.0, 130.0, "1 before, 120 V")
    assert trigger.decide(measured(140.0), NOMINAL) == want
    trigger.forget()
    assert trigger.decide(measured(150.0, do_span=1.0), Nominal(230.0, 50.0)) == Decision(
        "rms", 150.0, 130.0, "0 before, 230 V", (1, 2)
    )
    told = plugins.status("loud")
    assert (told["calls"], told["failures"], told["refCount"]) == (3, 0, {})
    trigger.close()
    plugins.delete("trigger", "loud")
    assert plugins.types("trigger") == []


@pytest.mark.parametrize("mode", MODES)
def test_settings_are_those_of_its_config(plugins: Plugins, mode: str) -> None:
    trigger = installed(plugins, {"limit": 100}, mode=mode)
    decision = trigger.decide(measured(110.0), NOMINAL)
    assert decision is not None and decision.limit == 100.0
    for wrong, why in (({"limt": 1}, 'did you mean "limit"'), ({"limit": -1}, "want from 0")):
        with pytest.raises(ValueError, match=why):
            plugins.trigger("loud")().configure(wrong)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_version_takes_over_settings_and_state(plugins: Plugins, mode: str) -> None:
    """So does the old one at a roll-back."""
    trigger = installed(plugins, {"limit": 100}, mode=mode, more=HANDING_ON)
    trigger.begins_again = False
    trigger.decide(measured(), NOMINAL)
    plugins.create(
        "trigger", "loud", trigger_zip(plugins.uploads, "1.0.1", mode=mode, metric="two", more=HANDING_ON)
    )
    assert trigger.version == "1.0.1" and not trigger.begins_again
    assert trigger.decide(measured(), NOMINAL) == Decision("two", 120.0, 100.0, "1 before, 120 V")
    plugins.create("trigger", "loud", trigger_zip(plugins.uploads, "1.0.2", mode=mode))
    assert trigger.begins_again  # nothing of the state was taken
    assert trigger.decide(measured(), NOMINAL) == Decision("rms", 120.0, 100.0, "0 before, 120 V")
    assert plugins.rollback("loud").new == "1.0.1" == trigger.version


@pytest.mark.parametrize("mode", ["inproc", pytest.param("process", marks=pytest.mark.slow)])
def test_what_does_not_keep_the_contract_changes_nothing(plugins: Plugins, mode: str) -> None:
    trigger = installed(plugins, {"limit": 100}, mode=mode)
    for code, why in (
        ("x = 1", "no `decide`; a trigger plug-in has one"),
        (TRIGGER.replace('name = "loud"', 'name = "other"'), "its `name` is 'other'"),
        (TRIGGER.replace("    limit:", "    most:"), "unknown key"),
        (TRIGGER.replace("return 0", "return 1 / 0"), "ZeroDivisionError"),
        ("import nothing_like_it", "does not load"),
    ):
        url = trigger_zip(plugins.uploads, "1.0.1", mode=mode, code=code)
        with pytest.raises(PluginError, match=why):
            plugins.create("trigger", "loud", url)
    assert trigger.version == "1.0.0" and trigger.decide(measured(), NOMINAL) is not None


@pytest.mark.parametrize("mode", MODES)
def test_errors_of_a_judgement_are_counted_outside(plugins: Plugins, mode: str) -> None:
    trigger = installed(plugins, mode=mode)
    for what, error in (
        ("do_raise", "raised"),
        ("do_not_open", "No such file"),
        ("do_wrong", "str; want a Decision"),
        ("do_nan", "value nan"),
    ):
        with pytest.raises((KeyError, TypeError, ValueError, OSError, PluginError), match=error) as raised:
            trigger.decide(measured(**{what: 1.0}), NOMINAL)
        assert not isinstance(raised.value, (*ENDED, *NOT_CALLED))
    decision = trigger.decide(measured(140.0), NOMINAL)
    assert decision is not None and decision.because.startswith("0 before")  # it has begun again
    assert plugins.status("loud")["failures"] == 4


@pytest.mark.parametrize("mode", MODES)
def test_only_a_plugin_that_begins_is_installed(plugins: Plugins, mode: str) -> None:
    for code, why in (
        (TRIGGER.replace("return 0", "return 1 / 0"), "ZeroDivisionError"),
        (TRIGGER.replace("return 0", "os._exit(4)"), "exit code 4"),
    )[: 1 if mode == "inproc" else 2]:
        with pytest.raises(PluginError, match=why):
            plugins.create("trigger", "loud", trigger_zip(plugins.uploads, mode=mode, code=code))
        assert plugins.list("trigger") == plugins.types("trigger") == []
    wants = TRIGGER.replace("field(default=@LIMIT@, ", "field(")
    trigger = installed(plugins, {"limit": 100}, mode=mode, code=wants)
    assert trigger.decide(measured(), NOMINAL) is not None
    with pytest.raises(ValueError, match="limit  missing"):
        plugins.trigger("loud")().configure({})


def test_a_crash_or_hang_restarts_the_worker(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is ended first."""
    trigger = installed(plugins, {"limit": 100})
    for what, error in (("do_crash", "exit code 9"), ("do_hang", "decide took longer than 2 s")):
        trigger.decide(measured(), NOMINAL)
        with monkeypatch.context() as patched, pytest.raises(OSError, match=error):
            patched.setattr(remote, "DECIDE_S", 2.0 if what == "do_hang" else 60.0)
            trigger.decide(measured(**{what: 1.0}), NOMINAL)
        decision = wait_for(lambda: decided(trigger))
        assert decision.because == "0 before, 120 V"
    told = plugins.status("loud")
    assert told["crashes"] == 2 and "took longer" in told["last_error"] and told["status"] == "running"


def decided(trigger: PluginTrigger) -> Decision | None:
    try:
        return trigger.decide(measured(), NOMINAL)
    except OSError:
        return None


def test_a_version_crashing_twice_is_withdrawn(plugins: Plugins) -> None:
    trigger = installed(plugins, {"limit": 100})
    bad = TRIGGER.replace("    metrics = measurement.metrics\n", "    os._exit(3)\n")
    plugins.create("trigger", "loud", trigger_zip(plugins.uploads, "1.0.1", code=bad))
    assert trigger.version == "1.0.1"
    decision = wait_for(lambda: decided(trigger))
    assert decision.metric == "rms" and trigger.version == "1.0.0"
    wait_for(lambda: "was taken back to 1.0.0: 2 crashes" in plugins.status("loud")["errMsg"])


BY_BOX = """
from dataclasses import dataclass
from opq_proto.decision import Decision

name = "loud"


@dataclass(frozen=True)
class Config:
    limit: float = 0.0


def begin(config):
    return {}


def decide(measurement, nominal, config, seen):
    seen[measurement.box_id] = seen.get(measurement.box_id, 0) + 1
    return Decision("rms", float(seen[measurement.box_id]), 0.0, "seen"), seen
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_trigger_forgets_a_deleted_box(plugins: Plugins, mode: str) -> None:
    trigger = installed(plugins, mode=mode, code=BY_BOX)

    def counts() -> list[float]:
        rows = [replace(measured(), box_id=box_id) for box_id in "77811"]
        return [found.value for row in rows if (found := trigger.decide(row, NOMINAL)) is not None]

    assert counts() == [1, 2, 1, 1, 2]
    assert trigger.forget_box("7")
    assert counts() == [1, 2, 2, 3, 4]


def test_a_process_without_memory_forgets_no_box() -> None:
    """A call would make the instance in the new process, which is then not shown the last minutes."""
    trigger = PluginTrigger("loud", None, lambda failed: None, 60.0)
    trigger._inside = SimpleNamespace(up=True, forgot=True)
    assert trigger.forget_box("7")


def test_a_configured_plugin_is_deleted_by_force(plugins: Plugins) -> None:
    trigger = installed(plugins, {"limit": 100})
    trigger.named_by = "triggering_service.plugins"
    with pytest.raises(PluginError, match=r"used by triggering_service\.plugins"):
        plugins.delete("trigger", "loud")
    plugins.delete("trigger", "loud", force=True)
    with pytest.raises(ConnectionError, match="not installed"):
        trigger.decide(measured(), NOMINAL)
    plugins.create("trigger", "loud", trigger_zip(plugins.uploads))
    assert trigger.decide(measured(), NOMINAL) is not None


def test_a_trigger_without_its_library_is_refused(plugins: Plugins) -> None:
    files = {
        "plugin.json": manifest("loud", kind="trigger", language="c", executable="libloud.so"),
        "libloud.so": b"\x7fELF",
    }
    with pytest.raises(PluginError, match=r"libloud\.so does not load"):
        plugins.create("trigger", "loud", stored(plugins.uploads, zipped(files)))
    assert plugins.types("trigger") == []


def test_a_trigger_in_lua_decides_by_tables(plugins: Plugins) -> None:
    code = """
        local most, seen = 130, 0
        function configure(settings) most = settings.most or most end
        function decide(measurement, nominal)
          seen = seen + 1
          local rms = measurement.metrics.rms.max
          if measurement.metrics.do_wrong then return {metric = "rms"} end
          if rms > most then
            return {metric = "rms", value = rms, limit = most,
                    because = seen .. " seen of Box " .. measurement.box_id .. " at " .. nominal.volts}
          end
        end
    """
    files = {"plugin.json": manifest("loud", kind="trigger", language="lua"), "triggers/loud.lua": code}
    plugins.create("trigger", "loud", stored(plugins.uploads, zipped(files)))
    trigger = plugins.trigger("loud")()
    trigger.configure({"most": 100})
    assert trigger.decide(measured(90.0), NOMINAL) is None
    assert trigger.decide(measured(120.0), NOMINAL) == Decision(
        "rms", 120.0, 100.0, "2 seen of Box 4 at 120.0"
    )
    trigger.forget()
    again = trigger.decide(measured(120.0), NOMINAL)
    assert again is not None and again.because.startswith("1 seen")
    with pytest.raises(ValueError, match=r"no Decision: .*`value`"):
        trigger.decide(measured(do_wrong=1.0), NOMINAL)


@pytest.mark.parametrize("mode", MODES)
def test_an_analysis_finds_the_same_wherever_it_runs(plugins: Plugins, mode: str) -> None:
    plugins.create("analysis", "peak", analysis_zip(plugins.uploads, mode=mode, more=HANDING_ON))
    analysis = plugins.analysis("peak")()
    analysis.configure({"least": 10.0})
    (found,) = analysis.analyse(heard(), 230.0, 50.0)
    assert (found.kind, found.box_id, found.residual_v, found.start_ns) == ("peak", "4", 150.0, 10**18)
    assert found.residual_percent == pytest.approx(100 * 150 / 230)
    assert found.because == " 0 before, GPS 1 gaps"
    plugins.create(
        "analysis", "peak", analysis_zip(plugins.uploads, "1.0.1", mode=mode, told="new", more=HANDING_ON)
    )
    assert [each.because[:12] for each in analysis.analyse(heard(), 230.0, 50.0)] == ["new 1 before"]
    assert [each.because[:12] for each in analysis.analyse(heard(), 120.0, 60.0)] == ["new 0 before"]
    for event_id, why in ((14, "but received nothing of it"), (15, "not iterable")):
        with pytest.raises((ValueError, TypeError, PluginError), match=why):
            analysis.analyse(heard(event_id), 230.0, 50.0)
    assert plugins.status("peak")["failures"] == 2


def test_an_analysis_whose_worker_ends_could_not_look(plugins: Plugins) -> None:
    plugins.create("analysis", "peak", analysis_zip(plugins.uploads))
    analysis = plugins.analysis("peak")()
    analysis.configure({})
    with pytest.raises(OSError, match="exit code 9"):
        analysis.analyse(heard(13), 120.0, 60.0)

    def looked() -> Any:
        try:
            return analysis.analyse(heard(), 120.0, 60.0)
        except OSError:
            return None

    assert len(wait_for(looked)) == 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["metric", "value", "limit", "because", "span_ns", "kind", "box_id", "start_ns", "end_ns"]
)


def findings(plain: Any) -> tuple[Finding, ...]:
    return nouns.findings_from(plain, heard())


@settings(max_examples=150, deadline=None)
@given(ANYTHING | st.dictionaries(NAMES, ANYTHING, max_size=9))
def test_a_workers_bytes_are_answers_or_value_errors(plain: Any) -> None:
    for believe, kind in ((nouns.decision_from, Decision), (findings, Finding)):
        try:
            answer = believe(plain)
        except ValueError:
            continue
        assert all(
            isinstance(each, kind) for each in (answer if isinstance(answer, tuple) else [answer]) if each
        )


@pytest.mark.parametrize("span", [(0, 2**62), (-5, 5), (6, 5), (0, 3601 * 10**9), (2**63 - 2, 2**63 - 1)])
def test_an_impossible_span_is_none(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="want start before end, at most 1 h"):
        nouns.checked_decision(Decision("rms", 1.0, 2.0, "so", span))


@pytest.mark.parametrize("kind", ["", "<b>sag</b>", "sag+", "+", "sag swell", "sag\n", "k" * 65])
def test_a_class_that_is_no_name_is_refused(kind: str) -> None:
    for allowed in ("deep_dip-2.x", "phase_jump+sag"):
        assert nouns.checked_findings([Finding(allowed, "4", 0, 1, 0)], {"4"})
    with pytest.raises(ValueError, match="kind"):
        nouns.checked_findings([Finding(kind, "4", 0, 1, 0)], {"4"})


@pytest.mark.parametrize("span", [(-1, 5), (0, 2**62), (2**63 - 2, 2**63 - 1)])
def test_a_finding_at_an_impossible_time_is_refused(
    span: tuple[int, int],
) -> None:
    with pytest.raises(ValueError, match=r"_ns .* want 0 to 4611686018427387903"):
        nouns.checked_findings([Finding("sag", "4", *span, 0)], {"4"})
    with pytest.raises(ValueError, match="uncertainty_ns"):
        nouns.checked_findings([Finding("sag", "4", 0, 1, 2**62)], {"4"})


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("residual_percent", 1e308, "want a number below 1e"),
        ("duration_cycles", float("nan"), "want a number below 1e"),
        ("confidence", -0.1, "want 0 to 1"),
        ("figures", (("x", 1e13),), "at most 1e"),
        ("figures", (("x", 10**400),), "at most 1e"),
        ("figures", (("\ud800", 1.0),), "at most 1e"),
        ("because", "a\0b", "control characters"),
        ("because", "half of a character: \ud800", "control characters"),
        ("itic", "\x1b[2J", "control characters"),
        ("start_ns", 0, "more than 1 h from its waveforms"),
        ("end_ns", 2**62 - 1, "more than 1 h from its waveforms"),
    ],
)
def test_poisonous_figures_and_times_are_refused(field: str, value: Any, why: str) -> None:
    """A mean of 1e308 twice is not a number, and a sag from 1970 on would take in each later one."""
    good = Finding("sag", "4", 10**18, 10**18 + 5, 0, residual_percent=50.0, confidence=1.0)
    assert nouns.findings_of_event([good], heard()) == (good,)
    with pytest.raises(ValueError, match=why):
        nouns.findings_of_event([replace(good, **{field: value})], heard())


def test_a_fractional_numpy_time_is_refused() -> None:
    """Neither is looked up in a range, which would compare it with each number there."""
    at: Any = np.int64(10**18)
    (found,) = nouns.checked_findings([Finding("sag", "4", at, at + 5, np.uint32(7))], {"4"})
    assert (found.start_ns, found.end_ns, found.uncertainty_ns) == (10**18, 10**18 + 5, 7)
    assert {type(each) for each in (found.start_ns, found.end_ns, found.uncertainty_ns)} == {int}
    for wrong in (1e18, None, "5"):
        with pytest.raises(TypeError, match=r"start_ns .* want a whole number of ns"):
            nouns.checked_findings([Finding("sag", "4", wrong, 5, 0)], {"4"})


def test_events_and_measurements_cross_whole() -> None:
    event = heard()
    again = nouns.from_plain(nouns.to_plain(event), Event)
    assert again.missing == event.missing and again.waveforms[0].gaps == event.waveforms[0].gaps
    assert (again.waveforms[0].counts == event.waveforms[0].counts).all()
    assert nouns.from_plain(nouns.to_plain(measured(do_span=2.0)), Measurement) == measured(do_span=2.0)


def test_the_examples_of_the_guide_work(plugins: Plugins) -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    guide = "".join((docs / f"plugins-{each}.md").read_text() for each in ("triggers", "analyses"))
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    loud = next(block for block in blocks if block.startswith('"""loud:'))
    peak = next(block for block in blocks if block.startswith('"""peak:'))
    trigger = installed(plugins, code=loud)
    told = [trigger.decide(measured(at_ms=10**12 + k, thd=0.09), NOMINAL) for k in (0, 1, 3_600_000)]
    assert [each is not None for each in told] == [True, False, True]
    assert told[0] is not None and told[0].because == "THD 9.0% is above 8.0%"
    plugins.create("analysis", "peak", analysis_zip(plugins.uploads, code=peak))
    analysis = plugins.analysis("peak")()
    analysis.configure({"most": 0.5})
    (found,) = analysis.analyse(heard(), 120.0, 60.0)
    assert found.because == "0.88 times the crest of a sine"
    assert analysis.analyse(heard(), 230.0, 50.0) == ()


HANGS = """
    end_s = time.monotonic() + 20
    while event.event_id == 16 and time.monotonic() < end_s:
        try:
            sum(range(1000))
        except Exception:
            pass
    if event.event_id == 17:
        WAIT.wait()
    found = []
"""


@contextmanager
def hurried(plugins: Plugins) -> Iterator[None]:
    """Only a call that hangs has so little time: on a starved machine others take as long."""
    runtime = plugins._running["peak"].runtime
    assert isinstance(runtime, InProcessRuntime)
    patient, runtime.deadline._call_s = runtime.deadline._call_s, 0.2
    try:
        yield
    finally:
        runtime.deadline._call_s = patient


def test_a_hanging_analysis_is_ended(plugins: Plugins) -> None:
    """Neither does a loop that catches every Exception escape, nor does the end come after the call."""
    code = ANALYSIS.replace("    found = []\n", HANGS[1:]).replace(
        "import os\n", "import os, threading, time\n"
    )
    code += "WAIT = threading.Event()\n"
    plugins.create("analysis", "peak", analysis_zip(plugins.uploads, mode="inproc", code=code))
    analysis = plugins.analysis("peak")()
    analysis.configure({})
    with hurried(plugins), pytest.raises(TimeoutError, match=r"peak: analyse took longer than 0\.2 s"):
        analysis.analyse(heard(16), 120.0, 60.0)
    assert analysis.analyse(heard(1), 120.0, 60.0)
    told = plugins.status("peak")
    assert (told["crashes"], told["failures"], told["errMsg"]) == (1, 1, "")
    caught: list[BaseException] = []

    def wait_inside() -> None:
        try:
            with hurried(plugins):
                analysis.analyse(heard(17), 120.0, 60.0)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=wait_inside)
    thread.start()
    try:
        wait_for(lambda: "takes longer than 0.2 s" in str(plugins.status("peak")["errMsg"]))
    finally:
        analysis._inside._module.WAIT.set()
        thread.join()
    assert [type(error) for error in caught] == [WorkerTimeoutError]
    assert plugins.status("peak")["errMsg"] == ""
    assert analysis.analyse(heard(1), 120.0, 60.0)
