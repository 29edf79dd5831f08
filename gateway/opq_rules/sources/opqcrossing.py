"""opqcrossing: what a Box or its gateway reports at once, one row per crossing. DATASOURCE as of opqbox.

A separate stream, because a crossing lies within a window that comes after it: in one stream neither `lag`
nor a state window would see a Box in the order of time. `kind` is `crossing` where the rms of a cycle
crosses a limit, down or up, and `edge` for what a detector of the gateway found (`edge_<class>`) or a rule
there requests (`rule_<id>`).
"""

from opq_rules.sources import opqbox
from opq_rules.sources.opqbox import Config as Config
from opq_rules.streams.measurement_columns import OVERTAKING_KINDS


class Source(opqbox.Source):
    KINDS = OVERTAKING_KINDS
