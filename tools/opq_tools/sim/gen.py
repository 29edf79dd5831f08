"""`opq-tools sim gen CONFIG N`: prints samples of the original's simulator, as its sim-gen does."""

import json
from pathlib import Path

import click

from opq_proto.errors import ConfigError
from opq_sim.original_sim.candidates import CANDIDATE, candidate_request, generated_counts
from opq_sim.original_sim.state import OriginalSimError

MAX_SAMPLES = 100_000_000
SAMPLES_PER_WRITE = 100_000


@click.command("gen", short_help="Samples of the original's simulator, on stdout.")
@click.argument("config")
@click.argument("samples", metavar="N", type=click.IntRange(1, MAX_SAMPLES))
def command(config: str, samples: int) -> None:
    """Print N samples of the original's simulator, one a line, in counts of 1/152 V.

    CONFIG is a file with the body of a POST to that simulator's control, or a name such as
    sag_1200_30000_0.5: sag or swell, samples before it, its length in samples, voltage in pu.

    Example: opq-tools sim gen sag_1200_30000_0.5 36000
    """
    try:
        counts = generated_counts(_request(config), samples)
    except OriginalSimError as error:
        raise ConfigError(f"{config}: {error}") from error
    for first in range(0, samples, SAMPLES_PER_WRITE):
        click.echo("\n".join(map(str, counts[first : first + SAMPLES_PER_WRITE].tolist())))


def _request(config: str) -> object:
    path = Path(config)
    if CANDIDATE.fullmatch(config) and not path.exists():
        return candidate_request(config)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}; nor is it a candidate's name, such as sag_1200_30000_0.5"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON: {error}") from error
