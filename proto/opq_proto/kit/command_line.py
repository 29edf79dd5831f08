"""What all commands share: one-line errors that name what is allowed, the place of their options, lists.

Click reports a wrong option in four lines and a range as `0<=x<=200`. All commands of the toolkit are in a
CommandGroup, which reports `opq-tools up: --sim is 999; want a whole number from 0 to 200`.
"""

import difflib
import importlib
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import click

from opq_proto.kit.shared_options import shared_last

_REFUSED = re.compile(r"(?s)(.+?) is not (?:in the range |a valid |one of |'[^']*'\.$)")
"""How click's own types report a value."""
_NO_COMMAND = re.compile(r"(?s)No such command '(.*?)'\.")
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""The error with which click shows a group's help where no command is given; click 8.1 has none."""
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?( [a-zA-Z%]+)?")
"""In a list, with a unit or without."""
_EXTRA = re.compile(r"(?s)Got unexpected extra arguments? \((.*)\)$")


class CommandGroup(click.Group):
    """A `click.Group`; wrong use of it, or of any command in it, ends with code 2 and one line."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _one_line(error, info_name or "") from error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command whose shared options come last in its help, in one order."""
        found = self.find_command(ctx, cmd_name)
        if found is not None:
            shared_last(found)
        return found

    def find_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns the command of this name; a group that loads its commands late has its own."""
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _one_line(error, f"{ctx.command_path} {ctx.invoked_subcommand}") from error


def run_installed(command: str, module: str, extra: str) -> None:
    """Calls `main` of a module; reports a missing package in one line that names the extra.

    A missing module of this project is a bug, and raised.
    """
    try:
        importlib.import_module(module).main()
    except ModuleNotFoundError as error:
        if (error.name or "opq_").startswith("opq_"):
            raise
        install = f"pip install 'opq-toolkit[{extra}]'"
        click.echo(f"{command}: this needs {error.name}, which is not installed: {install}", err=True)
        sys.exit(1)


def text_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A list as text for a terminal: headings, and rows in columns; scripts use `--json`.

    None is an empty cell; a column of numbers is aligned to the right.
    """
    cells = [["" if each is None else str(each) for each in row] for row in rows]
    shown = []
    for heading, *below in zip(headings, *cells, strict=True):
        width = max(map(len, (heading, *below)))
        right = any(below) and all(_NUMBER.fullmatch(cell) or not cell for cell in below)
        shown.append([cell.rjust(width) if right else cell.ljust(width) for cell in (heading, *below)])
    return "\n".join("  ".join(line).rstrip() for line in zip(*shown, strict=True))


class _UsageLine(click.UsageError):
    def show(self, file: Any = None) -> None:
        click.echo(self.format_message(), err=file is None, file=file)


def usage_line(error: click.UsageError, command: str) -> str:
    """Returns `command: what was wrong; what is allowed (command --help)`; click's command name wins."""
    path = error.ctx.command_path if error.ctx is not None else command
    return f"{path}: {_words(error)} ({path} --help)"


def _one_line(error: click.UsageError, command: str) -> click.UsageError:
    if isinstance(error, (_UsageLine, _HELP)):
        return error
    return _UsageLine(usage_line(error, command), error.ctx)


def _words(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        near = f"did you mean {' or '.join(error.possibilities)}?" if error.possibilities else ""
        hint = (
            _place_above(error.ctx, error.option_name) or _place_below(error.ctx, error.option_name) or near
        )
        return f"there is no option {error.option_name}" + (f"; {hint}" if hint else "")
    if isinstance(error, click.BadOptionUsage) and "requires" in error.message:
        return f"{error.option_name} lacks its value"
    if isinstance(error, click.BadParameter) and (error.param is not None or error.param_hint is not None):
        return _parameter_words(error)
    unknown = _NO_COMMAND.match(error.message)
    if unknown and error.ctx is not None and isinstance(error.ctx.command, click.Group):
        names = error.ctx.command.list_commands(error.ctx)
        near = _nearest(unknown[1], names)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(names)}"
        return f"there is no command {unknown[1][:40]!r}; {hint}"
    surplus = _EXTRA.match(error.message)
    if surplus:
        return f"{surplus[1]!r} is more than this command takes"
    return error.format_message().removesuffix(".")


def _nearest(word: str, names: Collection[str]) -> str:
    """Returns the similar name with the fewest different letters: analyze, not reanalyse, for analyse."""

    def different(name: str) -> int:
        steps = difflib.SequenceMatcher(None, word, name).get_opcodes()
        return sum(max(b - a, d - c) for what, a, b, c, d in steps if what != "equal")

    return min(difflib.get_close_matches(word, names, n=5), key=different, default="")


def _place_above(context: click.Context | None, option: str) -> str:
    """Returns where an option belongs that was typed after a command instead of before; "" for nowhere."""
    while context is not None and context.parent is not None:
        below, context = context, context.parent
        if any(option in parameter.opts for parameter in context.command.params):
            return f"it goes before {below.info_name}: {context.command_path} {option} … {below.info_name}"
    return ""


def _place_below(context: click.Context | None, option: str) -> str:
    """Returns where an option belongs that was typed before a command instead of after; "" for nowhere."""
    if context is not None and isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            if any(option in parameter.opts for parameter in command.params):
                return f"it goes after the command: {context.command_path} {name} … {option}"
    return ""


def _parameter_words(error: click.BadParameter) -> str:
    kind = error.param.type if error.param is not None else None
    hint = error.param_hint
    if hint is None and error.param is not None:
        name = _name(error.param)
    else:
        name = hint if isinstance(hint, str) else " or ".join(hint or ())
    wanted = _wanted(kind) if kind is not None else ""
    if isinstance(error, click.MissingParameter):
        if not wanted and isinstance(error.param, click.Option):
            wanted = error.param.metavar or ""
        return f"{name} is missing" + (f"; want {wanted}" if wanted else "")
    message = error.message.removesuffix(".")
    refused = _REFUSED.match(error.message)
    return f"{name} is {refused[1]}; want {wanted}" if refused and wanted else f"{name}: {message}"


def _name(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name


def _wanted(kind: Any) -> str:
    """Returns what a value of this kind may be; "" where click's own words are good enough."""
    if isinstance(kind, click.Choice):
        *most, last = map(str, kind.choices)
        return f"{', '.join(most)} or {last}" if most else last
    if isinstance(kind, click.types.IntParamType):
        number = "a whole number"
    elif isinstance(kind, click.types.FloatParamType):
        number = "a number"
    else:
        return ""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return number
    low, high = (None if bound is None else _figure(bound) for bound in (kind.min, kind.max))
    if low and high and not (kind.min_open or kind.max_open):
        return f"{number} from {low} to {high}"
    above = [f"{'above' if kind.min_open else 'of at least'} {low}"] if low else []
    below = [f"{'below' if kind.max_open else 'of at most'} {high}"] if high else []
    return " ".join([number, " and ".join(above + below)]).rstrip()


def _figure(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) else f"{bound:_}" if bound > 9_999 else str(bound)
