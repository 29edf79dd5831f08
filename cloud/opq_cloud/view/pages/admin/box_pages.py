"""`/admin/boxes` and `/admin/boxes/{id}`: the state of each Box, facts about it, and forms to change them."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated

from fastapi import HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.operations.box_client import (
    MAX_CYCLES,
    MIN_CYCLES,
    NUMBER,
    BoxClient,
    BoxClientError,
    BoxReport,
    checked_cycles,
)
from opq_cloud.operations.box_service import (
    box_of_name,
    delete_box,
    deleted_words,
    deletion_refused,
    kept_words,
    retire_box,
    return_box,
    since_words,
)
from opq_cloud.operations.health_client import read_connections, read_counts, read_services
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.records.accounts.audit import AuditFilter
from opq_cloud.view.pages.account.box_settings import (
    OWNERS_FIELDS,
    PRIVACY_WORDS,
    box_values,
    changed_meanwhile,
    forget_place,
    moved_to,
    put_facts,
    put_name_and_place,
    read_since,
    seen_values,
)
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.admin.audit_pages import audit_row
from opq_cloud.view.pages.admin.box_facts import AdminBox, admin_box, counts_of, read_box_form, window_s
from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_proto.errors import KeyFileError, StoreError
from opq_proto.keys.register import KeyEntry

PER_PAGE = 100
FIELDS = (*OWNERS_FIELDS, "description", "feeder", "site", "phase", "grid", "unplugged")
CHANGES_SHOWN = 10


class BoxAdminPages:
    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._box_client = BoxClient(context.addresses)

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/admin/boxes", self.boxes_page, response_class=HTMLResponse)
        router.add_api_route("/admin/boxes/{box_id}", self.box_page, response_class=HTMLResponse)
        router.add_api_route("/admin/boxes/{box_id}/delete", self.delete_page, response_class=HTMLResponse)
        for name, form in (
            ("facts", self.change),
            ("rate", self.set_rate),
            ("settings", self.set_setting),
            ("retire", self.retire),
            ("return", self.take_back),
            ("delete", self.delete),
        ):
            router.add_route(f"/admin/boxes/{{box_id}}/{name}", form_route(form), methods=["POST"])
        return router

    def boxes_page(
        self,
        show: Annotated[str, Query(max_length=20)] = "",
        words: Annotated[str, Query(max_length=60)] = "",
        page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    ) -> Response:
        self._context.require_reader()
        every = read_boxes(self._context)
        choices = {
            "": [each for each in every if not each.retired],
            "attention": [each for each in every if each.troubles],
            "retired": [each for each in every if each.retired],
        }
        found = [each for each in choices.get(show, choices[""]) if _fits(each, words)]
        return self._context.page(
            "boxes.html",
            "boxes",
            boxes=found[(page - 1) * PER_PAGE : page * PER_PAGE],
            show=show,
            words=words,
            count=len(found),
            counts={name: len(rows) for name, rows in choices.items()},
            page=page,
            pages=max(1, -(-len(found) // PER_PAGE)),
        )

    def box_page(
        self, box_id: str, ask: Annotated[str, Query(max_length=20)] = "", saved: bool = False
    ) -> Response:
        """The page of a Box. With `ask`, an administrator waits some seconds for the Box's own report."""
        visitor = self._context.require_reader()
        record = self._known(box_id)
        if not ask or not visitor.administers:
            return self._box_page(record, notice="Saved." if saved else "")
        try:
            return self._box_page(record, said=self._box_client.read_info_and_settings(record.box_id))
        except BoxClientError as error:
            return self._box_page(record, not_asked=f"{error}.")

    def _box_page(
        self,
        record: BoxRecord,
        problem: str = "",
        code: int = 200,
        said: BoxReport | None = None,
        not_asked: str = "",
        notice: str = "",
        typed: Mapping[str, str] = MappingProxyType({}),
    ) -> Response:
        context, box_id = self._context, record.box_id
        services = read_services(context.addresses)
        people = context.accounts.people
        place = context.store.locations().get(record.location or "")
        names = {each.account_id: each.name for each in people.accounts()}
        owners = [names[each] for each in people.access(box_id).owner_ids if each in names]
        return context.page(
            "box.html",
            "boxes",
            code=code,
            box=_with_connections(context, record, services.urls),
            has_pages=context.services.knows(box_id),
            place=place,
            access=people.access(box_id),
            owner=", ".join(owners),
            privacies=PRIVACY_WORDS,
            problem=problem,
            notice=notice,
            updating=context.services.firmware.job(box_id),
            typed=typed,
            seen=seen_values(box_values(context.accounts, box_id), FIELDS),
            said=said,
            not_asked=not_asked,
            number=NUMBER,
            window_s=window_s(context.services.hub.newest(box_id)),
            least_cycles=MIN_CYCLES,
            most_cycles=MAX_CYCLES,
            answered=bool(services.urls),
            box_counts=counts_of(read_counts(services.urls), box_id),
            changes=[
                audit_row(each, names)
                for each in people.changes.entries(AuditFilter(subject=f"box {box_id}"), limit=CHANGES_SHOWN)
            ],
        )

    def change(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        record = self._known(request.path_params["box_id"])
        box_id, store = record.box_id, self._context.store
        try:
            wanted, since_ms = read_box_form(form, box_id, store.locations()), read_since(form)
        except ValueError as error:
            return self._box_page(record, str(error), 400, typed=form.fields)
        other = box_of_name(store, wanted.name, but=box_id) if wanted.name != record.name else None
        if other is not None:
            text = f"Box {other} has this name; names are unique."
            return self._box_page(record, text, 400, typed=form.fields)
        accounts = self._context.accounts
        before = box_values(accounts, box_id)
        if changed := changed_meanwhile(form, before, FIELDS):
            return self._box_page(record, changed, 409, typed=form.fields)
        put_facts(store, wanted.record, since_ms)
        stands = store.locations().get(record.location or "")
        put_name_and_place(
            store, box_id, wanted.name, wanted.region, moved_to(wanted.place, stands), since_ms
        )
        if wanted.place is None and stands is not None:
            forget_place(store, box_id, since_ms)
        accounts.people.change_access(
            box_id,
            lambda was: replace(was, privacy=wanted.privacy, public_waveforms=wanted.public_waveforms),
        )
        self._context.accounts.note(
            visitor,
            f"set facts of a Box{since_words(since_ms)}",
            f"box {box_id}",
            before,
            box_values(accounts, box_id),
        )
        return see_other(f"/admin/boxes/{box_id}?saved=1")

    def set_rate(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Sends the original's command to a Box; the rates before and after go into the log of changes."""
        visitor = self._context.require_administrator()
        record = self._known(request.path_params["box_id"])
        box_id = record.box_id
        try:
            cycles = checked_cycles(form.text("cycles", 20))
        except ValueError as error:
            return self._box_page(record, str(error), 400)
        try:
            change = self._box_client.set_rate(box_id, cycles)
        except BoxClientError as error:
            return self._box_page(record, f"The measurement rate was not set: {error}.", 409)
        if change.after is not None and change.after != cycles:
            text = f"Box {box_id} refuses {cycles} cycles and keeps {change.after}."
            return self._box_page(record, text, 409)
        after = {"measurement_cycles": cycles} | ({} if change.after else {"confirmed": False})
        before = {"measurement_cycles": change.before}
        self._context.accounts.note(
            visitor, "set the measurement rate of a Box", f"box {box_id}", before, after
        )
        return see_other(f"/admin/boxes/{box_id}?ask=1#itself")

    def set_setting(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Changes a setting that the Box stores and checks itself, like `opq-tools box settings`."""
        visitor = self._context.require_administrator()
        record = self._known(request.path_params["box_id"])
        box_id, key = record.box_id, form.text("key", 60)
        try:
            before, after = self._box_client.set_setting(box_id, key, form.text("value", 200))
        except BoxClientError as error:
            return self._box_page(record, f"The setting was not changed: {error}.", 409)
        self._context.accounts.note(
            visitor, "changed a setting in a Box", f"box {box_id}", {key: before}, {key: after}
        )
        return see_other(f"/admin/boxes/{box_id}?ask=1#itself")

    def retire(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        record = self._known(request.path_params["box_id"])
        accounts, box_id = self._context.accounts, record.box_id
        before: dict[str, object] = {**box_values(accounts, box_id), **self._key_values(box_id)}
        try:
            since_ms = read_since(form, "retired-since")
        except ValueError as error:
            return self._box_page(record, str(error), 400)
        try:
            retire_box(self._context.store, self._context.keys, box_id, since_ms)
        except KeyFileError as error:
            return self._box_page(record, f"It is retired, but its key is not revoked: {error}.", 409)
        after = {**box_values(accounts, box_id), **self._key_values(box_id)}
        what = f"retired a Box{since_words(since_ms)}"
        self._context.accounts.note(visitor, what, f"box {box_id}", before, after)
        return see_other(f"/admin/boxes/{box_id}")

    def take_back(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        box_id = self._known(request.path_params["box_id"]).box_id
        before = box_values(self._context.accounts, box_id)
        return_box(self._context.store, box_id)
        after = box_values(self._context.accounts, box_id)
        self._context.accounts.note(visitor, "took a Box into service again", f"box {box_id}", before, after)
        return see_other(f"/admin/boxes/{box_id}")

    def delete_page(self, box_id: str) -> Response:
        """The question: what goes with a Box, and what stays for how long."""
        self._context.require_administrator()
        return self._delete_page(self._known(box_id))

    def _delete_page(self, record: BoxRecord, problem: str = "", code: int = 200) -> Response:
        store, box_id = self._context.store, record.box_id
        return self._context.page(
            "box_delete.html",
            "boxes",
            code=code,
            record=record,
            refused=self._deletion_refused(box_id),
            deleted=deleted_words(store, box_id),
            kept=kept_words(store, box_id),
            problem=problem,
        )

    def delete(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor = self._context.require_administrator()
        record = self._known(request.path_params["box_id"])
        store, box_id = self._context.store, record.box_id
        if refused := self._deletion_refused(box_id):
            return self._delete_page(record, f"{refused}.", 409)
        if form.text("box_id", 40) != box_id:
            return self._delete_page(record, f"Type its number, {box_id}, to delete it.", 400)
        note = self._context.accounts.note
        note(visitor, "began to delete a Box", f"box {box_id}")
        try:
            delete_box(store, self._context.keys, box_id)
        except (StoreError, KeyFileError) as error:
            return self._delete_page(record, f"Not all of it is deleted: {error}. Try again.", 409)
        note(visitor, "deleted a Box with its data and keys", f"box {box_id}")
        self._context.services.registry.now()
        return see_other("/admin/boxes?show=retired")

    def _deletion_refused(self, box_id: str) -> str:
        context = self._context
        return deletion_refused(context.store, context.keys, box_id, context.services.now_ns() / 1e9)

    def _key_values(self, box_id: str) -> dict[str, object]:
        key = read_keys(self._context).get(box_id)
        return {"key": key.state if key else "none"}

    def _known(self, box_id: str) -> BoxRecord:
        return known_box(self._context, box_id)


def known_box(context: AdminContext, box_id: str) -> BoxRecord:
    """The Box's record. Raises HTTPException 404 for an id without record, data and key."""
    if not BOX_ID.fullmatch(box_id):
        raise HTTPException(404, "No Box with this id is known.")
    record = context.store.box(box_id)
    has_reported = context.services.hub.newest(box_id) is not None
    if record is None and not has_reported and box_id not in read_keys(context):
        raise HTTPException(404, "No Box with this id is known.")
    return record or BoxRecord(box_id, f"Box {box_id}")


def read_boxes(context: AdminContext) -> list[AdminBox]:
    """All Boxes that are stored, have sent data or have a key, by number."""
    hub, keys = context.services.hub, read_keys(context)
    records = {each.box_id: each for each in context.store.boxes()}
    for box_id in (*hub.latest(), *keys):
        records.setdefault(box_id, BoxRecord(box_id, f"Box {box_id}"))
    now_ms, nominal = context.services.now_ns() // 1_000_000, context.services.nominal
    expected = [each.box_id for each in records.values() if not each.unplugged and not each.retired_ms]
    shares = context.services.availability.of(expected)
    return [
        admin_box(
            records[box_id],
            hub.newest(box_id),
            None,
            keys.get(box_id),
            None,
            now_ms,
            nominal,
            shares.get(box_id),
        )
        for box_id in sorted(records, key=box_order)
    ]


def read_keys(context: AdminContext) -> Mapping[str, KeyEntry]:
    """The keys by Box; empty where there is no readable key folder."""
    if context.keys is None:
        return {}
    try:
        return {each.box_id: each for each in context.register().entries()[0]}
    except KeyFileError:
        return {}


def _with_connections(context: AdminContext, record: BoxRecord, urls: tuple[str, ...]) -> AdminBox:
    now_ms = context.services.now_ns() // 1_000_000
    newest = context.services.hub.newest(record.box_id)
    last_ms = None
    if newest is None:
        stored = context.store.latest_measurements().get(record.box_id)
        last_ms = stored.timestamp_ms if stored else None
    key = read_keys(context).get(record.box_id)
    shares = {} if record.unplugged else context.services.availability.of((record.box_id,))
    share, nominal = shares.get(record.box_id), context.services.nominal
    return admin_box(record, newest, last_ms, key, read_connections(urls), now_ms, nominal, share)


def _fits(box: AdminBox, words: str) -> bool:
    record = box.record
    texts = (box.box_id, record.name, record.region or "", record.feeder or "", box.fingerprint)
    return all(any(word.lower() in text.lower() for text in texts) for word in words.split())
