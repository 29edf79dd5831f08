"""What one has to read before a command can be used: its options, and the commands beside it."""

from collections import Counter
from collections.abc import Iterator

import click
from test_common_options import everything

MOST_OPTIONS = 12
MOST_COMMANDS = 15
Words = tuple[str, str | None, str]


def options(command: click.Command) -> Iterator[Words]:
    """Name, help and kind of each option."""
    for option in command.params:
        if isinstance(option, click.Option):
            facts = option.to_info_dict()
            yield max(option.opts, key=len), option.help, str(facts["type"])


def test_a_command_has_few_options_of_its_own() -> None:
    """An option that another command has in the same words is learnt once, and not counted."""
    of_command = {path: set(options(command)) for path, command in everything()}
    used = Counter(words for found in of_command.values() for words in found)
    own = {path: sum(used[words] == 1 for words in found) for path, found in of_command.items()}
    assert used and max(own.values()) > 5
    assert {path: count for path, count in own.items() if count > MOST_OPTIONS} == {}


def test_a_family_has_few_commands() -> None:
    """A family is what one word brings: `opq-tools rules`, with `rules stream` and what is below that."""
    leaves = [path for path, command in everything() if not isinstance(command, click.Group)]
    families = Counter(tuple(path.split()[:2]) for path in leaves if len(path.split()) > 2)
    assert len(families) > 10
    assert {family: count for family, count in families.items() if count > MOST_COMMANDS} == {}


def test_a_heading_of_the_list_has_few_commands() -> None:
    from opq_tools.cli import HEADINGS

    assert {name: len(found) for name, found in HEADINGS.items() if len(found) > MOST_COMMANDS} == {}
