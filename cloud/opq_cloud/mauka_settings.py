"""Sections below `[mauka]`: installed analyses, processes for built-in ones, outages, asking, statistics."""

from pathlib import Path
from typing import Annotated

from opq_proto.config import Field, section


@section
class InstalledAnalysesSection:
    """Analyses installed at Makai's rules (POST /plugins/analyses), and plug-ins of the original."""

    enabled: Annotated[bool, Field(description="run what is installed there and deployed here, live")] = True
    data_dir: Annotated[
        Path | None,
        Field(description="rules/plugins/ is below it; none: that of triggering_service.rules"),
    ] = None
    require_signature: Annotated[bool, Field(description="run signed ones only")] = False
    keys: Annotated[tuple[Path, ...], Field(description="public keys (Ed25519, PEM) that may sign them")] = ()
    trusted: Annotated[tuple[str, ...], Field(description="plug-ins that may run inside this process")] = ()
    memory_mb: Annotated[int, Field(ge=64, le=65_536, description="of one plug-in's process")] = 512
    call_s: Annotated[
        float, Field(gt=0, le=600, description="longest analysis of one event; then its process is ended")
    ] = 30.0


@section
class AnalysisWorkersSection:
    """Processes for the built-in analyses of Mauka (docs/mauka.md, "Several at a time")."""

    count: Annotated[
        int, Field(ge=0, le=64, description="events analysed at a time; 0: one, in Mauka's own process")
    ] = 0
    memory_mb: Annotated[int, Field(ge=256, le=65_536, description="data of one process")] = 1024
    call_s: Annotated[
        float,
        Field(ge=1, le=3600, description="longest analysis of one event, beside its waveforms' own seconds"),
    ] = 60.0


@section
class OutageSection:
    """Silent Boxes: whether they lost their supply, or only their network (docs/mauka.md, "Outages")."""

    enabled: Annotated[bool, Field(description="look for outages")] = True
    look_s: Annotated[float, Field(gt=0, le=600, description="between two looks")] = 2.0
    silence_s: Annotated[float, Field(ge=2, le=86_400, description="a shorter silence is none")] = 10.0
    least_probability: Annotated[
        float, Field(ge=0.5, lt=1, description="of a lost supply; below it no outage is stored")
    ] = 0.8
    longest_h: Annotated[float, Field(gt=0, le=1000, description="after longer nothing is said")] = 24.0
    compat: Annotated[
        bool, Field(description="as the original's OutagePlugin: every silence of 60 s is an outage")
    ] = False


@section
class SystemStatsSection:
    """The documents in `laha_stats`, for the original's readers (docs/mauka.md, "System statistics")."""

    enabled: Annotated[bool, Field(description="write a document of laha_stats")] = True
    interval_s: Annotated[float, Field(ge=1, le=86_400, description="between two documents")] = 60.0
    sample_s: Annotated[float, Field(ge=0.1, le=3600, description="between two looks at the machine")] = 5.0


@section
class MoreSamplesSection:
    """Requests of analyses to Makai for samples beyond an event; Makai's budgets apply too."""

    enabled: Annotated[bool, Field(description="analyses may ask for more samples of an event")] = True
    rounds: Annotated[
        int, Field(ge=1, le=5, description="how often an event may grow because an analysis asks")
    ] = 2
    longest_s: Annotated[
        float, Field(gt=0, le=600, description="before and after an event's span that may be asked for")
    ] = 30.0
