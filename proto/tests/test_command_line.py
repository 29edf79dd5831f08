"""Wrong use of a command: one line with what was wrong and what is allowed, code 2."""

import click
import pytest
from click.testing import CliRunner

from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.shared_options import port_offset_option


@click.group(cls=CommandGroup)
def tool() -> None:
    """Several commands."""


@tool.command("up")
@click.argument("box", type=int)
@click.option("--sim", type=click.IntRange(0, 65_535))
@click.option("--rate", type=click.FloatRange(0, min_open=True))
@click.option("--form", type=click.Choice(["csv", "json", "wav"]))
@port_offset_option
def up(**given: object) -> None:
    if given["rate"] == 3:
        raise click.UsageError("give a rate or a form, not both")
    if given["rate"] == 4:
        raise click.BadParameter("4 is taken", param_hint="--rate")


@tool.command("reanalyse")
def reanalyse() -> None: ...


@tool.command("analyze")
def analyze() -> None: ...


@tool.group("inner")
@click.option("--timeout")
def inner(timeout: str) -> None:
    """One below."""


@inner.command("list")
@click.option("--limit", type=int)
@click.option("--out", required=True, metavar="FILE")
def list_(limit: int, out: str) -> None: ...


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "up 1 --sim 70000",
            "tool up: --sim is 70000; want a whole number from 0 to 65_535 (tool up --help)",
        ),
        ("up 1 --sim x", "tool up: --sim is 'x'; want a whole number from 0 to 65_535 (tool up --help)"),
        ("up 1 --rate 0", "tool up: --rate is 0.0; want a number above 0 (tool up --help)"),
        ("up 1 --rate 3", "tool up: give a rate or a form, not both (tool up --help)"),
        ("up 1 --rate 4", "tool up: --rate: 4 is taken (tool up --help)"),
        ("up 1 --form xml", "tool up: --form is 'xml'; want csv, json or wav (tool up --help)"),
        ("up 1 --port-offset 60000", "tool up: --port-offset is 60000; want a whole number from 0 to 53_535"),
        ("up 1 --sim", "tool up: --sim lacks its value (tool up --help)"),
        ("up 1 --simm 3", "tool up: there is no option --simm; did you mean --sim? (tool up --help)"),
        ("up 1 2", "tool up: '2' is more than this command takes (tool up --help)"),
        ("up", "tool up: BOX is missing; want a whole number (tool up --help)"),
        ("--zzz", "tool: there is no option --zzz (tool --help)"),
        (
            "inner list --timeout 3",
            "tool inner list: there is no option --timeout; it goes before list: "
            "tool inner --timeout … list (tool inner list --help)",
        ),
        (
            "inner --limit 3 list",
            "tool inner: there is no option --limit; it goes after the command: "
            "tool inner list … --limit (tool inner --help)",
        ),
        ("upp", "tool: there is no command 'upp'; did you mean up? (tool --help)"),
        ("analyse", "tool: there is no command 'analyse'; did you mean analyze? (tool --help)"),
        ("inner lsit", "tool inner: there is no command 'lsit'; did you mean list? (tool inner --help)"),
        ("inner zzz", "tool inner: there is no command 'zzz'; there are list (tool inner --help)"),
        ("inner list", "tool inner list: --out is missing; want FILE (tool inner list --help)"),
        ("inner list --limit 1.5", "tool inner list: --limit is '1.5'; want a whole number (tool inner list"),
    ],
)
def test_wrong_use_names_the_allowed(words: str, line: str) -> None:
    done = CliRunner().invoke(tool, words.split(), prog_name="tool")
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_help_and_success_are_as_before() -> None:
    assert CliRunner().invoke(tool, ["up", "1"]).exit_code == 0
    assert "Usage: " in CliRunner().invoke(tool, ["up", "--help"]).stdout
    assert "Commands:" in CliRunner().invoke(tool, []).output


def test_a_table_has_headings_and_columns() -> None:
    rows = [(7, "cellar", None, "+5.0 ms"), (1003, "roof", "far away", "-12.5 ms")]
    assert text_table(("box", "name", "place", "after"), rows).splitlines() == [
        " box  name    place        after",
        "   7  cellar             +5.0 ms",
        "1003  roof    far away  -12.5 ms",
    ]


def test_a_table_without_rows_is_its_headings() -> None:
    assert text_table(("box", "name"), []) == "box  name"
