"""StreamInputs: the running inputs, one for all rules of a SHARED stream."""

from collections.abc import Sequence
from functools import partial

from opq_rules.engine.definitions.rule_definition import RuleDefinition
from opq_rules.engine.loop import EngineLoop
from opq_rules.engine.running.source_runner import SourceRunner
from opq_rules.engine.running.stream_input import StreamInput
from opq_rules.engine.types.endpoint_factory import MEMORY, EndpointFactory
from opq_rules.streams.definition import StreamDefinition


class StreamInputs:
    """The running inputs. Called under the engine's lock; any thread may read `by_key`."""

    def __init__(self, factory: EndpointFactory, loop: EngineLoop) -> None:
        self.by_key: dict[str, StreamInput] = {}
        self._factory, self._loop = factory, loop
        self._held = True
        """Sources wait until all rules are loaded, so that none misses a record of a shared stream."""

    @staticmethod
    def key(stream: StreamDefinition, rule_id: str) -> str:
        """Key of the input, also its name in the database."""
        return f"feed {'' if stream.shared else rule_id} {stream.name}"

    def of(self, streams: Sequence[StreamDefinition], rule: RuleDefinition) -> list[StreamInput]:
        """The inputs of a rule: running ones, and new ones that `open` starts."""
        return [
            self.by_key.get(self.key(each, rule.id)) or self._made(each, self.key(each, rule.id), rule)
            for each in streams
        ]

    def _made(self, stream: StreamDefinition, key: str, rule: RuleDefinition) -> StreamInput:
        direct, options = stream.type == MEMORY, rule.options
        waits: bool | None = None
        if self._factory.can_rewind(stream) or options.disableBufferFullDiscard:
            waits = True
        if stream.buffer_full_policy is not None:
            waits = stream.buffer_full_policy == "block"
        runner = SourceRunner(
            stream.name,
            "" if stream.shared else rule.id,
            lambda: self._factory.source(stream),
            options.bufferLength,
            bool(waits) and not direct,
            self._loop,
        )
        return StreamInput(runner, key, self._factory.decoder(stream), direct, waits)

    def running(self, keys: Sequence[str]) -> list[StreamInput]:
        return [found for key in keys if (found := self.by_key.get(key)) is not None]

    def open(self, inputs: Sequence[StreamInput]) -> None:
        """Called when a rule reads from these inputs: starts the new ones."""
        new = [each for each in inputs if each.key not in self.by_key]
        self.by_key |= {each.key: each for each in new}
        if not self._held:
            for each in new:
                self._start(each)

    def hold(self) -> bool:
        """Keeps new sources from starting until `release`. Returns whether they were held already."""
        was, self._held = self._held, True
        return was

    def release(self) -> None:
        """Called when all rules are loaded; starts the sources."""
        self._held = False
        for each in list(self.by_key.values()):
            if not each.runner.started:
                self._start(each)

    def close_unused(self, inputs: Sequence[StreamInput]) -> None:
        """Closes those of the inputs that feed no unit."""
        for each in inputs:
            if self.by_key.get(each.key) is each and not each.units and not each.pinned:
                del self.by_key[each.key]
                each.runner.stop()
                self._loop.call(partial(self._loop.inputs.pop, each.runner, None))
                each.runner.join()

    def stop(self) -> list[str]:
        """Stops all sources; returns names of those that do not end in time."""
        inputs = list(self.by_key.values())
        for each in inputs:
            each.runner.stop()
        return [f"source {each.stream}" for each in inputs if not each.runner.join()]

    def pin(self, inputs: Sequence[StreamInput], count: int) -> None:
        """`count` +1: records wait, and the inputs stay open; -1 undoes it."""

        def change() -> None:
            for each in inputs:
                each.pinned += count
            self._loop.release_held()

        self._loop.call(change)

    def _start(self, each: StreamInput) -> None:
        stored = None
        if each.durable:
            stored = self._loop.call(partial(self._loop.checkpoint.stored, each.key))
        if stored is not None:
            each.runner.state = stored["state"] or {}
        each.runner.start(stored["offset"] if stored is not None else None)
