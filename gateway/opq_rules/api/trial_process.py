"""A trial in a process of its own, because it may compute for ever, or take all memory.

Run as a module it is that process: it reads a case on stdin, and writes the answer of `rule try` to stdout.
"""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from opq_rules.batch import JsonObject
from opq_rules.delivery.transform import SinkProperties, divided, transformer
from opq_rules.engine.trying import try_case
from opq_rules.errors import CONFIGURATION, RuleError

CPU_S = 10
WALL_S = 20.0
"""Includes Python's start: a second, or three on a small computer."""
MEMORY_BYTES = 1 << 30
MAX_BYTES = 16 << 20
"""Bytes of the answer."""
AT_A_TIME = 4
QUEUE_S = 2.0
"""Longest wait for a free place; a waiting request occupies one of REST's threads."""
_ROOM = threading.BoundedSemaphore(AT_A_TIME)
_NO_MEMORY = 3
SHAPING = ("sendSingle", "omitIfEmpty", "dataTemplate", "dataField", "fields")
"""SinkProperties that shape a trial's result (`sinkProps`)."""


class _Answer(msgspec.Struct):
    emissions: list[msgspec.Raw] = []
    error: dict[str, Any] | None = None


def run_apart(case: object) -> list[bytes]:
    """Its emissions as JSON. Raises RuleError like `run_case`, and for an endless trial."""
    if not _ROOM.acquire(timeout=QUEUE_S):
        raise RuleError(f"{AT_A_TIME} trials are running; try again", CONFIGURATION)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "opq_rules.api.trial_process"],
            input=msgspec.json.encode(case),
            capture_output=True,
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "LANG": "C.UTF-8"},
            timeout=WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _too_long() from None
    finally:
        _ROOM.release()
    if done.returncode < 0:  # SIGXCPU, or the kernel had no memory left
        raise _too_long()
    if done.returncode == _NO_MEMORY:
        limits = f"{MEMORY_BYTES >> 20} MiB of memory, or {MAX_BYTES >> 20} MiB of answer"
        raise RuleError(f"the trial needs more than {limits}", CONFIGURATION)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise RuleError(f"the trial failed: {''.join(last)[:300]}", CONFIGURATION)
    answer = msgspec.json.decode(done.stdout, type=_Answer)
    if answer.error is not None:
        raise RuleError(**answer.error)
    return [bytes(each) for each in answer.emissions]


def _too_long() -> RuleError:
    text = f"the trial took more than {CPU_S} s; give it fewer records, or a shorter time"
    return RuleError(text, CONFIGURATION)


def shape_of(sink_props: Mapping[str, Any]) -> SinkProperties:
    """Checks `sinkProps`. Raises RuleError for properties that do not shape rows, or are wrong."""
    if other := [key for key in sink_props if key not in SHAPING]:
        raise RuleError(
            f"sinkProps: {', '.join(other)[:200]}; a trial has {', '.join(SHAPING)}", CONFIGURATION
        )
    try:
        shape, _ = divided(sink_props)
        transformer(shape)
    except ValueError as error:
        raise RuleError(f"sinkProps: {error}", CONFIGURATION) from error
    return shape


def shaped(emissions: list[Any], shape: SinkProperties) -> Iterator[Any]:
    """Yields JSON values, or a template's text where that is no JSON. A row that fails becomes an error."""
    transform = transformer(shape)
    for emission in emissions:
        for data in emission if shape.sendSingle else [emission] if emission or not shape.omitIfEmpty else []:
            try:
                made = transform(data)
            except Exception as error:  # a template may raise anything
                made = {"error": f"{type(error).__name__}: {error}"}
            yield _read(made) if isinstance(made, str) else made


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def tried(case: JsonObject) -> bytes:
    """The answer of `rule try`; the case's `sinkProps` shape its emissions."""
    shape = shape_of(case.pop("sinkProps", {}))
    answer = try_case(case)
    if "emissions" in answer:
        answer["emissions"] = list(shaped(answer["emissions"], shape))
    return msgspec.json.encode(answer)


def main() -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(5)  # running rules have priority
    try:
        answer = tried(msgspec.json.decode(sys.stdin.buffer.read()))
    except MemoryError:
        return _NO_MEMORY
    if len(answer) > MAX_BYTES:
        return _NO_MEMORY
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
