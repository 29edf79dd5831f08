"""The short way of a statement that has nothing between WHERE and SELECT: record in, record out."""

from itertools import compress

from opq_rules.batch import Batch, Emission
from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.query.faults import Faults, placed
from opq_rules.query.plan import Plan
from opq_rules.query.run import Run
from opq_rules.query.sieve import sieve_of


class Plain:
    """`project(row, context)`: the row that SELECT makes. The context's time is that of the last record."""

    def __init__(self, plan: Plan, project: Evaluate, context: Run, faults: Faults) -> None:
        self._where = plan.before.get(0)
        self._project = project
        self._context = context
        self._faults = faults
        self._sieve = sieve_of(plan.select)

    def feed(self, batch: Batch) -> list[Emission]:
        """The emissions of these records, in order."""
        where, project, context, sieve = self._where, self._project, self._context, self._sieve
        out: list[Emission] = []
        rows, arrived = batch.rows, batch.arrived_ms
        if isinstance(arrived, int):
            context.now_ms = context.event_ms = arrived
            if batch.meta is None:
                context.meta = None
                for row in rows if sieve is None else compress(rows, sieve(rows)):
                    try:
                        if where is None or where(row, context):
                            out.append([project(row, context)])
                    except RowError as error:
                        self._faults.tell(placed(error), out)
                return out
        records = batch.each()
        for row, now_ms, meta in records if sieve is None else compress(records, sieve(rows)):
            context.now_ms = context.event_ms = now_ms
            context.meta = meta
            try:
                if where is None or where(row, context):
                    out.append([project(row, context)])
            except RowError as error:
                self._faults.tell(placed(error), out)
        if not isinstance(arrived, int) and arrived:
            context.now_ms = arrived[-1]
        return out
