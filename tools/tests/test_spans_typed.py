"""The span that a command is for, as people type it."""

import click
import pytest
from click.testing import CliRunner

from opq_tools.shared.moment import from_option, to_option


@click.command()
@from_option("Start.")
@to_option("End.")
def command(start_ns: int | None, end_ns: int | None) -> None:
    click.echo(f"{start_ns} {end_ns}")


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "2026-11-21", "--to", "2026-11-20"),
        ("--to", "2026-11-20", "--from", "2026-11-21"),
        ("--from", "now", "--to", "now-1d"),
        ("--from", "now", "--to", "now-1d/d"),
    ],
)
def test_a_reversed_span_is_an_error(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 2 and "ends before it begins" in done.output


@pytest.mark.parametrize(
    "words", [("--from", "2026-11-20", "--to", "2026-11-21"), ("--to", "now/d"), ("--from", "now-1d/d")]
)
def test_other_spans_are_taken(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(command, words).exit_code == 0
