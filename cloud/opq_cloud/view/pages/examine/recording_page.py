"""`/examine`: a signed-in visitor sends a recording of any instrument and sees what is in it.

Nothing is stored: the recording is removed before its page is sent.
"""

import re
from collections.abc import Callable, Mapping

import anyio
from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.recordings.recording_examiner import NotExaminedError, RecordingExaminer
from opq_cloud.view.web.dear_work import PLACES, DearPlaces
from opq_cloud.view.web.forms import MAX_FORM_BYTES, SentForm, form_route
from opq_cloud.view.web.shares import PageRouter, client_gone, in_thread
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_recordings.facts import RecordingFacts
from opq_recordings.units import known_units, unit_scale
from opq_recordings.written_times import written_time

NUMBERS = {
    "rate_hz": ("Samples per second", "--rate-hz"),
    "volts_per_lsb": ("Volts per count", "--volts-per-lsb"),
    "nominal_v": ("Nominal voltage, V", "--nominal-volts"),
    "nominal_hz": ("Nominal frequency, Hz", "--nominal-hz"),
}
TEXTS = {
    "channel": ("Channel", "--channel"),
    "unit": ("Unit", "--unit"),
    "side": ("Side of the transformer", "--side"),
    "start": ("Start (UTC)", "--start"),
}
"""Field of the form -> its label, and the option of `opq-tools analyze` that states the same."""
LABELS = {option: label for label, option in (*NUMBERS.values(), *TEXTS.values())}
OPTION = re.compile(r"--[a-z-]+")


class RecordingPages:
    """The form, and the page of what was sent."""

    def __init__(self, accounts: AccountContext, examiner: RecordingExaminer, places: DearPlaces) -> None:
        self._accounts = accounts
        self._places = places
        self._threads = anyio.CapacityLimiter(PLACES)
        self._examiner = examiner
        self._largest_mb = accounts.visitors.config.recording_mb

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/examine", self.form_page, response_class=HTMLResponse)
        most = self._largest_mb * 1_000_000
        examine = form_route(self.examine, file_bytes=most, empty_files=True, run=self._in_a_place)
        router.add_route("/examine", examine, methods=["POST"])
        return router

    async def _in_a_place(self, answer: Callable[[], Response]) -> Response:
        """Waits for the process in a thread that is not of the pages. HTTPException 503 without a place."""
        async with self._places.taken("recording"):
            return await in_thread(answer, limiter=self._threads)

    def form_page(self) -> Response:
        if not VISITOR.get().may(Action.USE_ACCOUNT):
            raise HTTPException(401, "Sign in first.")
        return self._page({})

    def examine(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        files = form.files("recording")
        try:
            if not files:
                raise NotExaminedError("Choose a recording; of COMTRADE its .cfg and its .dat together.")
            given = facts_of(form)
            body = self._examiner.examine(files, given, self._largest_mb, client_gone())
        except NotExaminedError as error:
            return self._page(form.fields, for_people(str(error)), error.status)
        name = " and ".join(each.name for each in files)
        return self._page(form.fields, name=name, body=Markup(for_people(body)))

    def _page(
        self, typed: Mapping[str, str], problem: str = "", code: int = 200, name: str = "", body: str = ""
    ) -> HTMLResponse:
        return self._accounts.page(
            "recording.html",
            "incidents",
            code,
            typed=typed,
            problem=problem,
            name=name,
            body=body,
            fields=[(field, label) for field, (label, _) in {**NUMBERS, **TEXTS}.items() if field != "side"],
            largest_mb=self._largest_mb,
            largest_bytes=self._largest_mb * 1_000_000 - MAX_FORM_BYTES,
        )


def facts_of(form: SentForm) -> RecordingFacts:
    """What the visitor states of the recording. Raises NotExaminedError that names the field."""
    numbers: dict[str, float] = {}
    for field, (label, _) in NUMBERS.items():
        text = form.text(field, 40).replace(",", ".")
        if not text:
            continue
        try:
            numbers[field] = float(text)
        except ValueError:
            raise NotExaminedError(f"{label} is {text!r}; want a positive number.") from None
        if not 0 < numbers[field] < 1e12:
            raise NotExaminedError(f"{label} is {text!r}; want a positive number.")
    unit, side, start = (form.text(field, 40) for field in ("unit", "side", "start"))
    scale = unit_scale(unit) if unit else None
    if unit and (scale is None or scale[0] != "voltage"):
        raise NotExaminedError(f"Unit is {unit!r}; want {known_units()}.")
    if side not in ("", "primary", "secondary"):
        raise NotExaminedError("The side of the transformer is primary or secondary.")
    moment = written_time(start) if start else None
    if start and (moment is None or moment.t_ns is None):
        why = f" ({moment.problem})" if moment is not None and moment.problem else ""
        raise NotExaminedError(f"Start is {start!r}{why}; want a time such as 2026-11-20T16:09:40.25Z.")
    return RecordingFacts(
        rate_hz=numbers.get("rate_hz"),
        volts_per_lsb=numbers.get("volts_per_lsb"),
        nominal_v=numbers.get("nominal_v"),
        nominal_hz=numbers.get("nominal_hz"),
        start_ns=None if moment is None else moment.t_ns,
        unit=unit or None,
        side=side or None,
        channel=form.text("channel", 100) or None,
    )


def for_people(text: str) -> str:
    """A sentence of `opq-tools` with the fields of this page in the place of its options."""
    return OPTION.sub(lambda match: f"“{LABELS[match[0]]}”" if match[0] in LABELS else match[0], text)
