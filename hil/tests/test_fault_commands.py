"""Commands of a world of faults: one process answers all of them, and ends with the world."""

import psutil

from opq_sim.faults.parts.played_commands import Commands


def its_processes() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "played_commands" in " ".join(each.cmdline())]


def test_one_process_answers_every_command() -> None:
    with Commands() as commands:
        assert its_processes() == [], "it starts with the first command"
        version = commands.run("--version")
        (process,) = its_processes()
        assert (version.code, version.error) == (0, "") and version.out.startswith("opq-tools")
        wrong = commands.run("export", "measurement")
        assert wrong.code == 2 and wrong.out == "" and "measurement" in wrong.error
        assert commands.run("--version") == version and its_processes() == [process]
    assert its_processes() == []


def test_a_killed_process_is_replaced() -> None:
    with Commands() as commands:
        version = commands.run("--version")
        (process,) = its_processes()
        process.kill()
        process.wait(240)
        assert commands.run("--version").code == -1
        assert commands.run("--version") == version
