"""`/admin/boxes/{id}/firmware`: checks a signed file, sends it to the Box, and shows the progress."""

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.operations.box_client import BoxClient, BoxClientError
from opq_cloud.operations.firmware_jobs import BEGUN, DONE, FirmwareNotSentError
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.admin.box_pages import known_box
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_proto.firmware.image import MAX_FILE_BYTES, ImageError

STATE_WORDS = {
    "": "Asking its gateway",
    "to the gateway": "Sending the file to its gateway",
    "collecting": "Sending the file to its gateway",
    "erasing": "The Box makes room for it",
    "sending": "Its gateway sends it to the Box",
    "verifying": "The Box verifies it",
    "restarting": "The Box has all of it, and starts it on trial; it measures nothing while it starts",
    "on trial": "The Box runs it on trial; it confirms it after ten seconds of samples without a loss",
}


class FirmwarePages:
    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._jobs = context.services.firmware
        self._box_client = BoxClient(context.addresses)

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        path = "/admin/boxes/{box_id}/firmware"
        router.add_api_route(path, self.page, response_class=HTMLResponse)
        router.add_route(path, form_route(self.choose, file_bytes=MAX_FILE_BYTES), methods=["POST"])
        for name, form in (("send", self.send), ("stop", self.stop), ("follow", self.follow)):
            router.add_route(f"{path}/{name}", form_route(form), methods=["POST"])
        return router

    def page(self, box_id: str) -> Response:
        self._context.require_reader()
        return self._page(known_box(self._context, box_id).box_id)

    def _page(self, box_id: str, problem: str = "", code: int = 200) -> Response:
        job, file = self._jobs.job(box_id), self._jobs.waiting(box_id)
        return self._context.page(
            "firmware.html",
            "boxes",
            code=code,
            box_id=box_id,
            job=job,
            state_words=STATE_WORDS.get(job.state, job.state) if job else "",
            last=self._jobs.last(box_id),
            begun=BEGUN,
            done=DONE,
            file=file,
            most_bytes=MAX_FILE_BYTES,
            problem=problem,
        )

    def choose(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Checks a file, which then waits for confirmation; nothing is sent yet."""
        self._context.require_administrator()
        box_id = known_box(self._context, request.path_params["box_id"]).box_id
        job, found = self._jobs.job(box_id), form.file("firmware")
        if job is not None and job.runs:
            return self._page(box_id, "Firmware is on its way to this Box; wait for its end.", 409)
        if found is None:
            return self._page(box_id, "Choose a firmware file (.opqfw).", 400)
        try:
            report = self._box_client.read_info(box_id)
            runs, hardware = report.firmware, report.hardware
        except BoxClientError:
            runs = hardware = ""
        try:
            self._jobs.put_waiting(box_id, found.content, runs, hardware)
        except ImageError as error:
            return self._page(box_id, f"{found.name} cannot be sent: {error}.", 400)
        return see_other(f"/admin/boxes/{box_id}/firmware")

    def send(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Sends the file that the person saw, which `sha256` identifies."""
        visitor = self._context.require_administrator()
        box_id = known_box(self._context, request.path_params["box_id"]).box_id
        if form.checked("aside"):
            self._jobs.put_aside(box_id)
            return see_other(f"/admin/boxes/{box_id}/firmware")
        try:
            self._jobs.send(box_id, form.text("sha256"), _who(visitor))
        except FirmwareNotSentError as error:
            return self._page(box_id, f"{error}.", 409)
        return see_other(f"/admin/boxes/{box_id}/firmware")

    def stop(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        box_id = known_box(self._context, request.path_params["box_id"]).box_id
        if not self._jobs.stop(box_id):
            return self._page(
                box_id, "It cannot be stopped: nothing is on its way, or the Box has all of it.", 409
            )
        self._context.accounts.note(visitor, "stopped sending firmware", f"box {box_id}")
        return see_other(f"/admin/boxes/{box_id}/firmware")

    def follow(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Asks for the result of a transfer that a View interrupted when it ended."""
        visitor = self._context.require_administrator()
        box_id = known_box(self._context, request.path_params["box_id"]).box_id
        try:
            self._jobs.follow(box_id, _who(visitor))
        except FirmwareNotSentError as error:
            return self._page(box_id, f"{error}.", 409)
        return see_other(f"/admin/boxes/{box_id}/firmware")


def _who(visitor: Visitor) -> tuple[str, str]:
    return visitor.account.account_id if visitor.account else "", visitor.address
