"""Sections below `[mauka]`: installed analyses, processes for built-in ones, outages, asking, statistics."""

from pathlib import Path
from typing import Annotated

from opq_proto.config import Field, section


@section
class InstalledAnalysesSection:
    """Analyses installed at Makai's rules (POST /plugins/analyses), and plug-ins of the original."""

    enabled: Annotated[bool, Field(description="run installed and deployed analyses, also new ones")] = True
    data_dir: Annotated[
        Path | None,
        Field(description="folder that holds rules/plugins/; none: that of triggering_service.rules"),
    ] = None
    require_signature: Annotated[bool, Field(description="run only signed analyses")] = False
    keys: Annotated[tuple[Path, ...], Field(description="public keys (Ed25519, PEM) that may sign them")] = ()
    trusted: Annotated[tuple[str, ...], Field(description="plug-ins that may run inside this process")] = ()
    memory_mb: Annotated[int, Field(ge=64, le=65_536, description="memory of the process of one plug-in")] = (
        512
    )
    call_s: Annotated[
        float,
        Field(gt=0, le=600, description="longest analysis of one event, after which its process is ended"),
    ] = 30.0


@section
class AnalysisWorkersSection:
    """Processes for the built-in analyses of Mauka (docs/mauka.md, "Several at a time")."""

    count: Annotated[
        int, Field(ge=0, le=64, description="events analysed at a time; 0: one, in Mauka's own process")
    ] = 1
    memory_mb: Annotated[int, Field(ge=256, le=65_536, description="memory of one process")] = 1024
    call_s: Annotated[
        float,
        Field(ge=1, le=3600, description="longest analysis of one event, plus the length of its waveforms"),
    ] = 60.0


@section
class OutageSection:
    """Silent Boxes: whether they lost their supply, or only their network (docs/mauka.md, "Outages")."""

    enabled: Annotated[bool, Field(description="look for outages")] = True
    look_s: Annotated[float, Field(gt=0, le=600, description="interval of checks")] = 2.0
    silence_s: Annotated[float, Field(ge=2, le=86_400, description="shortest silence that counts")] = 10.0
    least_probability: Annotated[
        float, Field(ge=0.5, lt=1, description="least probability of a lost supply for a stored outage")
    ] = 0.8
    longest_h: Annotated[float, Field(gt=0, le=1000, description="longest outage that is judged")] = 24.0
    compat: Annotated[
        bool, Field(description="like the original's OutagePlugin: every silence of 60 s is an outage")
    ] = False


@section
class SystemStatsSection:
    """The documents in `laha_stats`, for the original's readers (docs/mauka.md, "System statistics")."""

    enabled: Annotated[bool, Field(description="write a document of laha_stats")] = True
    interval_s: Annotated[float, Field(ge=1, le=86_400, description="interval of documents")] = 60.0
    sample_s: Annotated[float, Field(ge=0.1, le=3600, description="interval of samples of the machine")] = 5.0


@section
class MoreSamplesSection:
    """Requests of analyses to Makai for samples beyond an event; Makai's budgets apply too."""

    enabled: Annotated[bool, Field(description="analyses may request more samples of an event")] = True
    rounds: Annotated[
        int, Field(ge=1, le=5, description="how often an event may grow by requests of analyses")
    ] = 2
    longest_s: Annotated[
        float,
        Field(
            gt=0, le=600, description="longest time before and after an event's span that may be requested"
        ),
    ] = 30.0
