"""The editor's stubs of `opq` against the tables of the C modules: names and numbers of arguments."""

import ast
import re
from pathlib import Path

import pytest
from host_library import CMODULES, DEVICE

TYPINGS = DEVICE / "app" / "typings" / "opq"
Names = dict[str, tuple[int, int] | None]
"""Name -> least and most arguments of a function; None: a constant."""
IN_PORT = {"board": "module.c", "prompt": "prompt.c"}
ROW = re.compile(r"\{MP_ROM_QSTR\(MP_QSTR_(\w+)\), MP_ROM_(\w+)\(&?(\w+)\)\}")
FUNCTION = re.compile(r"MP_DEFINE_CONST_FUN_OBJ_(\d|VAR_BETWEEN)\((\w+), (?:(\d+), (\d+), )?\w+\)")
CLASS = re.compile(r"MP_DEFINE_CONST_OBJ_TYPE\((\w+), MP_QSTR_(\w+).*?locals_dict,\s*&(\w+)\)", re.DOTALL)


def c_file(module: str) -> Path:
    return DEVICE / "port" / IN_PORT[module] if module in IN_PORT else CMODULES / module / "module.c"


def names_in_c(module: str) -> Names:
    """The names of a module, and `Class.method` of its classes."""
    text = c_file(module).read_text(encoding="utf-8")
    arguments = {}
    for number, name, least, most in FUNCTION.findall(text):
        arguments[name] = (int(least), int(most)) if least else (int(number), int(number))
    classes = {kind: (name, table) for kind, name, table in CLASS.findall(text)}
    tables = dict(re.findall(r"mp_rom_map_elem_t (\w+)_table\[\] = \{(.*?)\n\};", text, re.DOTALL))
    own = {table for _, table in classes.values()}
    [rows] = [rows for name, rows in tables.items() if name not in own]
    found: Names = {}
    for name, _, thing in ROW.findall(rows):
        if thing in classes:
            for method, _, function in ROW.findall(tables[classes[thing][1]]):
                least, most = arguments[function]
                found[f"{name}.{method}"] = least - 1, most - 1  # without self
        elif name != "__name__":
            found[name] = arguments.get(thing)
    return found


def names_in_stub(module: str) -> Names:
    """The same of a stub; a class without functions, such as Window, is an answer's and has no name in C."""
    found: Names = {}
    for node in ast.parse((TYPINGS / f"{module}.pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = argument_counts(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = None
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name != "__init__":
                    least, most = argument_counts(each)
                    found[f"{node.name}.{each.name}"] = least - 1, most - 1
    return found


def argument_counts(node: ast.FunctionDef) -> tuple[int, int]:
    given = [*node.args.posonlyargs, *node.args.args]
    most = len(given) if node.args.vararg is None else 7  # the longest that C takes
    return len(given) - len(node.args.defaults), most


def modules() -> list[str]:
    package = (CMODULES / "opq" / "module.c").read_text(encoding="utf-8")
    return re.findall(r"MP_ROM_PTR\(&opq_(\w+)_module\)", package)


@pytest.mark.parametrize("module", modules())
def test_a_stub_has_the_names_of_c(module: str) -> None:
    assert names_in_stub(module) == names_in_c(module)


def test_each_module_has_a_stub() -> None:
    assert sorted(path.stem for path in TYPINGS.glob("*.pyi")) == sorted([*modules(), "__init__"])
    assert len(modules()) == 10
