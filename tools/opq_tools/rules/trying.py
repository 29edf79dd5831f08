"""`opq-tools rules try`: runs rules on given records, as docs/reference/contracts.md specifies."""

import click

from opq_rules.errors import RuleError
from opq_tools.shared.input_file import read_input
from opq_tools.shared.rule_server import ServerRefusedError


@click.command("try", short_help="Run rules on given records under a virtual clock; no server.")
@click.argument("cases", type=click.Path(dir_okay=False, allow_dash=True))
def command(cases: str) -> None:
    """Run rules on given records under a virtual clock: no server, no waiting.

    CASES is a JSON file (- for stdin) with one case or an array of them; the answer is JSON on stdout.

    Example: opq-tools rules try cases.json
    """
    from opq_rules.trying import try_text

    try:
        answer = try_text(read_input(cases))
    except RuleError as error:
        raise ServerRefusedError(f"{cases}: {error}") from error
    click.echo(answer)
