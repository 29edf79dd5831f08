"""The verdict of a data folder, of what its record says and what answers."""

from typing import Any

from opq_proto.kit.system_record import MeantService, SystemIdentity, SystemRecord
from opq_proto.kit.system_verdict import ServiceAnswer, ServiceState, SystemVerdict, system_verdict

OWN = SystemIdentity("1", "/own")
CLOUD = MeantService("cloud", "http://127.0.0.1:8911/")
GATEWAY = MeantService("gateway", "http://127.0.0.1:8913/")
BROKER = MeantService("triggering-broker", "http://127.0.0.1:8914/")
MAKAI = MeantService("triggering-service", "http://127.0.0.1:8080/")
HEALTH = MeantService("health", "http://127.0.0.1:8912/")


def part(name: str, ok: bool = True, info: str | None = None, *parts: Any) -> dict[str, Any]:
    return {"name": name, "ok": ok, "info": info, "subcomponents": list(parts) or None}


def ours(document: dict[str, Any], alerts: dict[str, Any] | None = None) -> ServiceAnswer:
    return ServiceAnswer(document, ours=True, alerts=alerts)


def other(name: str, folder: str = "/other") -> ServiceAnswer:
    return ServiceAnswer({**part(name), "system": {"id": "2", "data_dir": folder}})


SILENT, LATE = ServiceAnswer(None, "refused"), ServiceAnswer(None, "timed out", is_late=True)


def verdict(answers: dict[MeantService, ServiceAnswer], *more: tuple[str, ServiceAnswer]) -> SystemVerdict:
    found = {service.health: answer for service, answer in answers.items()}
    return system_verdict(SystemRecord(OWN, tuple(answers)), found | dict(more))


def troubles(found: SystemVerdict) -> list[str]:
    return [f"{each.thing}: {each.info}" for each in found.troubles]


def test_an_empty_folder_names_running_services() -> None:
    nothing = verdict({})
    assert not nothing.ok and not nothing.runs and nothing.troubles == ()
    beside = verdict({}, (CLOUD.health, other("opq")), (GATEWAY.health, other("gateway")))
    assert not beside.ok and not beside.runs
    assert beside.others == {"/other": (CLOUD.health, GATEWAY.health)}


def test_all_that_is_meant_has_to_run() -> None:
    whole, alerts = part("opq", True, None, part("mauka")), part("opq", True, None, part("mauka"))
    assert verdict({CLOUD: ours(whole, alerts), GATEWAY: ours(part("gateway"))}).ok
    dead = verdict({CLOUD: ours(whole, alerts), GATEWAY: SILENT})
    assert not dead.ok and troubles(dead) == [
        "gateway: does not run: no service of ours answers at http://127.0.0.1:8913/"
    ]
    assert [each.state for each in dead.services] == [ServiceState.RUNS, ServiceState.STOPPED]
    late = verdict({GATEWAY: LATE})
    assert troubles(late) == ["gateway: does not answer: no answer in time at http://127.0.0.1:8913/"]


def test_one_machine_judges_only_what_is_meant_there() -> None:
    assert verdict({GATEWAY: ours(part("gateway", True, None, part("1")))}).ok, (
        "a gateway needs no cloud here"
    )
    assert verdict({CLOUD: ours(part("opq"), part("opq"))}).ok, "nor a cloud a gateway"


def test_another_system_is_named_with_its_folder() -> None:
    found = verdict({GATEWAY: other("gateway")})
    assert not found.ok and not found.runs and found.others == {"/other": (GATEWAY.health,)}
    assert troubles(found) == [
        "gateway: does not run here: the system of /other answers at http://127.0.0.1:8913/"
    ]
    unknown = verdict({GATEWAY: ServiceAnswer(part("gateway"))})
    assert "a program that does not name its system answers" in troubles(unknown)[0]


def test_healths_verdicts_skip_consequences() -> None:
    """The broker is dead: the gateway reports its uplink, and Health neither that nor the broker again."""
    gateway = part("gateway", False, None, part("1", False, "no uplink"))
    alerts = part(
        "opq",
        False,
        "ill",
        part("triggering-broker", False, "refused"),
        part("gateway"),
        part("makai"),
        part("Box 1 at gateway"),
    )
    answers = {
        BROKER: SILENT,
        HEALTH: ours(part("opq", False, "down"), alerts),
        MAKAI: ours(part("makai")),
        GATEWAY: ours(gateway),
    }
    found = verdict(answers)
    assert troubles(found) == [
        "triggering-broker: does not run: no service of ours answers at http://127.0.0.1:8914/"
    ]
    gateway["subcomponents"][0] |= {"sampling": True, "connected": False}
    dead = verdict({CLOUD: SILENT, GATEWAY: ours(gateway)})
    assert [line.partition(":")[0] for line in troubles(dead)] == ["cloud"], "no uplink follows from that"
    assert [line.partition(":")[0] for line in troubles(verdict({GATEWAY: ours(gateway)}))] == ["Box 1"]
    gateway["subcomponents"][0] |= {"sampling": False}
    answers[HEALTH] = SILENT
    assert [line.partition(":")[0] for line in troubles(verdict(answers))] == [
        "triggering-broker",
        "health",
        "Box 1",
    ], "without Health each answer counts"


def test_ill_and_unknown_parts_are_named() -> None:
    alerts = part(
        "opq",
        False,
        "ill",
        part("1", False, "last heard 30 s ago"),
        part("gateway"),
        part("disk of the cloud", False, "99 % are used"),
        part("makai"),
    )
    whole = part(
        "opq", False, None, part("1", False, "last heard 30 s ago"), part("mauka", False, "restarts: 1")
    )
    gateway = part("gateway", False, None, part("1", False, "no samples"), part("2", False, "no samples yet"))
    found = verdict({CLOUD: ours(whole, alerts), GATEWAY: ours(gateway)})
    assert troubles(found) == [
        "Box 1: last heard 30 s ago",
        "disk of the cloud: 99 % are used",
        "mauka: restarts: 1",
        "Box 2: no samples yet",
    ]


def test_an_unintended_service_is_not_a_fault() -> None:
    found = verdict({GATEWAY: ours(part("gateway"))}, (CLOUD.health, ours(part("mauka"))))
    assert found.ok and [(each.name, each.meant) for each in found.services] == [
        ("gateway", True),
        ("mauka", False),
    ]
    whole = verdict({CLOUD: ours(part("opq"), part("opq"))}, ("http://v/health", ours(part("view"))))
    assert [each.name for each in whole.services] == ["cloud"], "View is a part of it"
    rules = verdict({GATEWAY: ours(part("gateway"))}, ("http://r/health", ours(part("rules"))))
    assert [each.name for each in rules.services] == ["gateway"], "they are the gateway's"


def test_an_unreadable_record_is_not_well() -> None:
    record = SystemRecord(OWN, (GATEWAY,), "/own/system: Permission denied")
    found = system_verdict(record, {GATEWAY.health: ours(part("gateway"))})
    assert not found.ok and troubles(found) == ["record: /own/system: Permission denied"]
