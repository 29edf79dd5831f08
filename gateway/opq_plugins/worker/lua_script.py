"""A trigger in Lua: no files, no modules, no coroutines; bounded in memory and in instructions per call.

    function configure(conf) end            -- where it takes settings; conf is a table
    function decide(measurement, nominal)   -- nil, or {metric=, value=, limit=, because=}

Needs lupa (extra "rules").
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from opq_plugins.package.manifest import PackageManifest, file_of_plugin
from opq_plugins.sdk import Row, Value
from opq_proto.errors import PluginError

SANDBOX = """
local budget, step = ...
local sethook, real_pcall, real_error = debug.sethook, pcall, error
local spent = false
local function over() spent = true; real_error("more than " .. budget .. " instructions", 0) end
local function caught(ok, ...) if spent then real_error("more than " .. budget .. " instructions", 0) end
  return ok, ... end
pcall = function(...) return caught(real_pcall(...)) end
xpcall = function(f, _, ...) return caught(real_pcall(f, ...)) end
for _, name in ipairs{"io", "os", "package", "require", "load", "loadstring", "loadfile", "dofile",
  "debug", "coroutine", "collectgarbage", "python", "module", "setfenv", "getfenv", "rawset"} do
  _G[name] = nil
end
string.dump = nil
-- metamethods run by the collector would have no budget: __gc is not taken
local set = setmetatable
setmetatable = function(t, m) if m and m.__gc then real_error("__gc is not allowed") end return set(t, m) end
return function(f, ...)
  spent = false
  sethook(over, "", budget)
  return (function(...) sethook(); return ... end)(f(...))
end
"""
ARRAYS_DEEP = 32


class Script:
    """One instance: its own Lua state. Python values are copied on their way in and out."""

    def __init__(self, source: str, memory_bytes: int, instructions: int, where: str) -> None:
        try:
            lupa = importlib.import_module("lupa.lua54")
        except ModuleNotFoundError:
            lupa = importlib.import_module("lupa")
        self._where = where
        self._errors = (lupa.LuaError, lupa.LuaMemoryError, MemoryError)
        self._lua = lupa.LuaRuntime(
            max_memory=memory_bytes,
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=False,
            attribute_filter=_no_attribute,
        )
        self._table_type = lupa.lua_type
        try:
            self._run = self._lua.execute(SANDBOX, instructions, 0)
            self._lua.globals()["print"] = print
            chunk = self._lua.compile(source)
            self._run(chunk)
        except self._errors as error:
            raise PluginError(f"{where} does not load: {error}") from None

    def has(self, name: str) -> bool:
        return bool(self._table_type(self._lua.globals()[name]) == "function")

    def call(self, name: str, *arguments: Value) -> Value:
        """Raises ValueError with Lua's text: an error, the budget or the memory limit."""
        try:
            values = [self._to_lua(each, 0) for each in arguments]
            answer = self._run(self._lua.globals()[name], *values)
            if isinstance(answer, tuple):
                answer = answer[0] if answer else None
            return self._to_python(answer, 0)
        except self._errors as error:
            raise ValueError(f"{self._where}: {str(error) or 'more memory than its limit'}") from None

    def _to_lua(self, value: Value, depth: int) -> object:
        if depth > ARRAYS_DEEP:
            raise ValueError(f"{self._where}: nested deeper than {ARRAYS_DEEP}")
        if isinstance(value, Mapping):
            return self._lua.table_from({str(k): self._to_lua(v, depth + 1) for k, v in value.items()})
        if isinstance(value, str | bytes | int | float | bool | None):
            return value
        if isinstance(value, Sequence):
            return self._lua.table_from([self._to_lua(each, depth + 1) for each in value])
        return str(value)

    def _to_python(self, value: Any, depth: int) -> Value:
        if self._table_type(value) is None:
            return value
        if self._table_type(value) != "table" or depth > ARRAYS_DEEP:
            raise ValueError(
                f"{self._where}: gives a {self._table_type(value)}; want a number, text or table"
            )
        keys = list(value.keys())
        if keys and keys == list(range(1, len(keys) + 1)):
            return [self._to_python(value[key], depth + 1) for key in keys]
        return {str(key): self._to_python(value[key], depth + 1) for key in keys}


class LuaTrigger:
    """A script as a trigger. A table with metric, value, limit and because is a Decision."""

    def __init__(self, make: Callable[[], Script]) -> None:
        self._make = make
        self._script = make()

    def configure(self, properties: Row) -> None:
        self._settings = dict(properties)
        if self._script.has("configure"):
            self._script.call("configure", self._settings)

    def decide(self, measurement: Value, nominal: Value) -> Value:
        return self._script.call("decide", measurement, nominal) or None

    def forget(self) -> None:
        self._script = self._make()
        self.configure(self._settings)

    def forget_box(self, box_id: str) -> bool:
        """Drops all memory, because a script's is its own."""
        self.forget()
        return False

    def import_state(self, version: str, data: Value) -> bool:
        """Does not take a state over; it begins again."""
        return False


def load_lua(
    folder: Path, manifest: PackageManifest, limits: Mapping[str, int]
) -> dict[tuple[str, str], Callable[[], LuaTrigger]]:
    """(kind, name) -> factory. Raises PluginError."""
    found: dict[tuple[str, str], Callable[[], LuaTrigger]] = {}
    for (kind, name), target in manifest.symbols.items():
        if kind != "trigger":
            raise PluginError(
                f"{manifest.name}: {kind} {name!r} cannot be in Lua, only a trigger can; write it in Python "
                f"(opq-tools plugin new {kind} {name})"
            )
        path = file_of_plugin(folder, target or f"triggers/{name}.lua")
        if path is None:
            raise PluginError(f"{manifest.name}: {kind} {name!r}: no file {target or f'{name}.lua'} in Lua")
        source = path.read_text(encoding="utf-8")

        def make(source: str = source, where: str = f"{manifest.name}/{name}") -> Script:
            return Script(source, limits["lua_memory_bytes"], limits["lua_instructions"], where)

        make()  # a script that does not load is refused now
        found[kind, name] = partial(LuaTrigger, make)
    return found


def _no_attribute(owner: object, name: str, is_setting: bool) -> str:
    raise AttributeError("Lua cannot use Python objects")
