"""`opq-tools plan`: its figures, its arithmetic, and docs/plan.md, which is made by it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from opq_cloud.__main__ import HELP
from opq_cloud.backend_peers import BackendLimits
from opq_cloud.makai_settings import AskingSection
from opq_tools.bench import BENCHMARKS
from opq_tools.plan import figures
from opq_tools.plan.command import command, plan_table
from opq_tools.plan.figures import Figure
from opq_tools.plan.site import Demand, cores, makais_for, plan_site

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plan.md"


def test_the_page_has_the_table_that_the_command_makes() -> None:
    assert plan_table() in PAGE.read_text(encoding="utf-8")
    assert CliRunner().invoke(command, ["--table"]).stdout == plan_table()


@pytest.mark.parametrize("service", figures.COST_US)
def test_the_fit_is_near_every_measured_point(service: str) -> None:
    for boxes, rate_hz, us in figures.COST_US[service]:
        assert cores(service, boxes, rate_hz) / (boxes * rate_hz * us * 1e-6) == pytest.approx(1, abs=0.25)


def test_what_is_a_limit_of_the_code_is_the_codes_and_each_figure_names_a_bench_that_is_there() -> None:
    assert BackendLimits().connections == figures.BACKEND_CONNECTIONS
    assert AskingSection().bytes_per_min == figures.BUDGET_BYTES_PER_MIN
    assert len(HELP.keys() - {"all"}) == figures.PROCESSES
    found = [each for each in vars(figures).values() if isinstance(each, Figure)]
    assert found
    for each in found:
        tool, bench, name = each.command.split() if each.command else ("opq-tools", "bench", "makai")
        assert (tool, bench) == ("opq-tools", "bench") and name in BENCHMARKS, each


@pytest.mark.parametrize("boxes", [1, 1000, 12_345, 1_000_000])
def test_there_are_as_few_makais_as_will_do(boxes: int) -> None:
    demand = Demand(boxes)
    plan = plan_site(demand)
    assert plan.makais * plan.boxes_each >= boxes
    busiest = max(row.value for row in plan.rows if row.what == "CPU")
    assert busiest <= demand.core_share
    if plan.makais > 1:
        fewer = plan_site(demand, plan.makais - 1)
        assert max(row.value for row in fewer.rows if row.what == "CPU") > demand.core_share
    assert (
        dict(plan.settings)["LimitNOFILE (ulimit -n)"] > plan.row("acquisition-broker", "descriptors").value
    )


def test_descriptors_bound_a_makai_where_its_cpu_does_not() -> None:
    rare = Demand(10**6, rate_hz=0.001, core_share=10_000.0)
    assert makais_for(rare) == 2
    assert plan_site(rare).row("acquisition-broker", "descriptors").value < 1_048_576


def test_json_has_every_row_with_its_figures() -> None:
    result = CliRunner().invoke(command, ["--boxes", "10000", "--rate", "0.2", "--json"])
    found = json.loads(result.stdout)
    assert found["demand"]["boxes"] == 10_000 and found["demand"]["rate_hz"] == 0.2
    cpu = next(row for row in found["each"] if (row["part"], row["what"]) == ("triggering-service", "CPU"))
    assert cpu["value"] > 0 and cpu["figures"][0]["command"] == "opq-tools bench makai"
    text = CliRunner().invoke(command, ["--boxes", "10000"]).stdout
    assert "(opq-tools bench store; " in text and "LimitNOFILE" in text
    assert "--boxes is missing" in CliRunner().invoke(command, []).output
