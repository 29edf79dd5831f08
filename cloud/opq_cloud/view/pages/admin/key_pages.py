"""`/admin/keys`: which Boxes may connect. The key folder is changed by the code of `opq-tools keys`.

Brokers watch the folder: a Box whose key is revoked is disconnected within a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.operations.command_audit import key_values
from opq_cloud.operations.health_client import read_connections, read_services
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.admin.box_facts import KEY_WORDS
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_proto.errors import KeyFileError
from opq_proto.keys.key_files import MAX_FILE_BYTES, checked_box_id, public_key_in
from opq_proto.keys.register import KeyEntry, key_fingerprint

PER_PAGE = 100


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One Box's key as the page shows it."""

    entry: KeyEntry
    name: str
    fingerprint: str
    next_fingerprint: str
    connected: bool | None
    """None where no broker answers."""

    @property
    def state_words(self) -> str:
        return KEY_WORDS[self.entry.state]


class KeyAdminPages:
    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/admin/keys", self.keys_page, response_class=HTMLResponse)
        router.add_route("/admin/keys", form_route(self.add, file_bytes=MAX_FILE_BYTES), methods=["POST"])
        for name, form in (("revoke", self.revoke), ("rotate", self.rotate)):
            router.add_route(f"/admin/keys/{{box_id}}/{name}", form_route(form), methods=["POST"])
        return router

    def keys_page(self, page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> Response:
        self._context.require_reader()
        return self._keys_page(page)

    def _keys_page(self, page: int = 1, problem: str = "", done: str = "", code: int = 200) -> Response:
        context = self._context
        entries: list[KeyEntry] = []
        wrong: list[str] = []
        if context.keys is not None:
            try:
                entries, wrong = context.register().entries()
            except KeyFileError as error:
                wrong = [str(error)]
        shown = entries[(page - 1) * PER_PAGE : page * PER_PAGE]
        connections = read_connections(read_services(context.addresses).urls)
        names = {each.box_id: each.name for each in context.store.boxes()}
        return context.page(
            "keys.html",
            "keys",
            code=code,
            rows=[
                KeyRow(
                    each,
                    names.get(each.box_id, ""),
                    key_fingerprint(each.public_key),
                    key_fingerprint(each.next_public_key) if each.next_public_key else "",
                    None if connections is None else connections.get(each.box_id, 0) > 0,
                )
                for each in shown
            ],
            count=len(entries),
            page=page,
            pages=max(1, -(-len(entries) // PER_PAGE)),
            wrong=wrong[:20],
            has_folder=context.keys is not None,
            answered=connections is not None,
            problem=problem,
            done=done,
        )

    def add(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Admits a Box with its own public key, typed or as a file, or with a new pair."""
        visitor = self._context.require_administrator()
        box_id, register = form.text("box_id", 20), self._context.register()

        def change() -> list[Path]:
            return register.add(checked_box_id(box_id), _public_key(form))

        return self._done(visitor, box_id, "admitted a Box by its key", change, f"Box {box_id} is admitted.")

    def rotate(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        box_id, register = request.path_params["box_id"], self._context.register()

        def change() -> list[Path]:
            public = form.text("public_key", 100)
            key = public_key_in(public) if public else None
            return register.rotate(checked_box_id(box_id), key, form.checked("force"))

        words = f"Both keys of Box {box_id} are valid until the new one is used."
        return self._done(visitor, box_id, "began to exchange a key", change, words)

    def revoke(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        box_id, register = request.path_params["box_id"], self._context.register()

        def change() -> list[Path]:
            if not register.revoke(checked_box_id(box_id)):
                raise KeyFileError(f"Box {box_id} has no key that is admitted; nothing to revoke")
            return []

        return self._done(visitor, box_id, "revoked a key", change, "")

    def _done(
        self, visitor: Visitor, box_id: str, what: str, change: Callable[[], list[Path]], words: str
    ) -> Response:
        try:
            before = self._values(box_id)
            written = change()
        except KeyFileError as error:
            text = str(error)
            return self._keys_page(problem=f"{text[:1].upper()}{text[1:]}.", code=400)
        self._context.accounts.note(visitor, what, f"box {box_id}", before, self._values(box_id))
        private = next((path for path in written if path.parent.name == "private_keys"), None)
        if private is None:
            return see_other(f"/admin/keys#box-{box_id}")
        where = f"Its private file lies on the cloud's machine, to be brought to the gateway: {private}"
        return self._keys_page(done=f"{words} {where}")

    def _values(self, box_id: str) -> dict[str, object]:
        """State and fingerprints of the Box's key, for the log of changes."""
        for each in self._context.register().entries()[0]:
            if each.box_id == box_id:
                return key_values(each)
        return {"key": "none"}


def _public_key(form: SentForm) -> bytes | None:
    """The public key of a form; None where a new pair is wanted.

    Raises KeyFileError where what was sent is not a public key.
    """
    file, typed = form.file("key_file"), form.text("public_key", 400)
    if file is not None:
        return public_key_in(file.content.decode("utf-8", "replace"))
    return public_key_in(typed) if typed else None
