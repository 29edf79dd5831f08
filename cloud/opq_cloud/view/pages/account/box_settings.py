"""Pages of owned Boxes: claim a Box, name and place it, share it, set what the public sees, release it."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.operations.box_service import box_of_name, since_words
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.records.accounts.account_records import PRIVACIES
from opq_cloud.view.pages.account.account_context import AccountContext, checked_email, own_account
from opq_cloud.view.pages.account.box_placing import (
    check_own_time,
    forget_box,
    former_rows,
    hold_moved,
    read_place,
    read_site,
    regions_offered,
    site_name,
)
from opq_cloud.view.pages.account.box_placing import forget_place as forget_place
from opq_cloud.view.pages.account.box_placing import moved_to as moved_to
from opq_cloud.view.pages.account.box_placing import put_facts as put_facts
from opq_cloud.view.pages.account.box_placing import put_name_and_place as put_name_and_place
from opq_cloud.view.pages.account.box_placing import read_since as read_since
from opq_cloud.view.pages.account.nominal_form import read_nominal_form
from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.links import CLAIM_S, make_ticket
from opq_cloud.view.web.passwords import same_fingerprint, secret_hash
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.errors import KeyFileError, OpqError, StoreError
from opq_proto.keys.key_files import read_key_file
from opq_proto.keys.register import key_fingerprint

BOX_NUMBER = re.compile(r"[0-9]{1,10}")
GATEWAY_CODE = re.compile(r"[0-9A-Za-z]{4}[ -]?[0-9A-Za-z]{4}")
"""The code that a gateway shows, as people type it; no other text is sent to a Box."""
NOT_CLAIMED = (
    "The code does not fit, the Box is not connected, or it has an owner. At its gateway, "
    "opq-gateway claim-code, run as the gateway's user or with sudo, shows a code for ten minutes and "
    "opq-tools keys list shows the fingerprint; an administrator can make a code."
)
PRIVACY_WORDS = {
    "nothing": "Nothing",
    "region": "Figures of its region, together with such Boxes of at least two other owners",
    "all": "The Box: values, incidents, name, and on the map a place near it",
}
OWNERS_FIELDS = (
    "name",
    "region",
    "site",
    "phase",
    "latitude",
    "longitude",
    "nominal_v",
    "nominal_hz",
    "privacy",
    "public_waveforms",
)
"""The keys of `box_values` that the owner's form holds."""


class BoxSettingsPages:
    """What the owner of a Box, or an administrator, may do to it."""

    def __init__(self, context: AccountContext, spend_gateway_code: Callable[[str, str], bool]) -> None:
        """`spend_gateway_code`: whether a Box's gateway shows a code; OpqError where it is not reached."""
        self._context = context
        self._spend_gateway_code = spend_gateway_code

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/account/boxes", self.boxes_page, response_class=HTMLResponse)
        router.add_route("/account/boxes", form_route(self.claim), methods=["POST"])
        router.add_api_route("/boxes/{box_id}/settings", self.settings_page, response_class=HTMLResponse)
        for name, form in (
            ("settings", self.change),
            ("share", self.share),
            ("claim-code", self.make_code),
            ("release", self.release),
        ):
            router.add_route(f"/boxes/{{box_id}}/{name}", form_route(form), methods=["POST"])
        return router

    def boxes_page(self) -> Response:
        own_account(VISITOR.get())
        return self._boxes_page(VISITOR.get())

    def _boxes_page(
        self,
        visitor: Visitor,
        problem: str = "",
        code: int = 200,
        typed: Mapping[str, str] = MappingProxyType({}),
    ) -> HTMLResponse:
        own = [self._record(box_id) for box_id in sorted(visitor.own_to_change, key=box_order)]
        read = sorted(visitor.full - visitor.own_to_change, key=box_order)
        return self._context.page(
            "own_boxes.html",
            code=code,
            problem=problem,
            typed=typed,
            own=own,
            shared=[self._record(box_id) for box_id in read],
            former=former_rows(visitor),
            may_claim=visitor.may_claim,
        )

    def claim(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Claims by an administrator's code, or by number and the gateway's code or key's fingerprint."""
        account = visitor.account
        if account is None or not visitor.may_claim:
            raise HTTPException(403, "Only an owner or an administrator can claim a Box.")
        give_back = self._context.spend_own_try(visitor, "claim")
        box_id, proof = form.text("box_id", 32), form.text("proof", 100)
        claimed = (
            self._claim_by_code(proof, account.account_id)
            or self._claim_by_key(box_id, proof, account.account_id)
            or self._claim_at_gateway(box_id, proof, account.account_id)
        )
        if claimed is None:
            return self._boxes_page(visitor, NOT_CLAIMED, 403, form.fields)
        give_back()
        self._context.note(visitor, "claimed a Box", f"box {claimed}")
        return see_other(f"/boxes/{claimed}/settings")

    def _claim_by_code(self, code: str, account_id: str) -> str | None:
        people = self._context.people
        found = people.ticket(secret_hash(code), "claim")
        if found is None or people.access(found.box_id).owner_id:
            return None
        used = people.use_ticket(secret_hash(code), "claim")
        return used.box_id if used is not None and people.claim_box(used.box_id, account_id) else None

    def _claim_by_key(self, box_id: str, proof: str, account_id: str) -> str | None:
        public_key = self._public_key(box_id)
        if public_key is None or not same_fingerprint(key_fingerprint(public_key), proof):
            return None
        return box_id if self._context.people.claim_box(box_id, account_id) else None

    def _claim_at_gateway(self, box_id: str, code: str, account_id: str) -> str | None:
        """Claims by the code that the gateway shows: a person who can read it is at the Box."""
        people = self._context.people
        if not BOX_NUMBER.fullmatch(box_id) or not GATEWAY_CODE.fullmatch(code):
            return None
        box_id = str(int(box_id))
        if int(box_id) >= 2**31 or people.access(box_id).owner_id:
            return None
        if self._public_key(box_id) is None:  # no connection of it is admitted, so it cannot answer
            return None
        try:
            fits = self._spend_gateway_code(box_id, code)
        except OpqError:
            return None
        return box_id if fits and people.claim_box(box_id, account_id) else None

    def _public_key(self, box_id: str) -> str | None:
        """The Box's key from the folder of admitted keys, otherwise from the store (the original's list)."""
        if not BOX_ID.fullmatch(box_id):
            return None
        if self._context.keys is not None and box_id.isdigit():
            try:
                return read_key_file(self._context.keys.box_public(box_id)).public.decode()
            except (KeyFileError, OSError, ValueError):
                pass
        box = self._context.store.box(box_id)
        return box.public_key if box else None

    # Settings
    def settings_page(self, box_id: str, saved: bool = False) -> Response:
        return self._settings_page(self._own(box_id), notice="Saved." if saved else "")

    def _settings_page(
        self,
        box_id: str,
        problem: str = "",
        code_made: str = "",
        code: int = 200,
        notice: str = "",
        typed: Mapping[str, str] = MappingProxyType({}),
    ) -> HTMLResponse:
        people = self._context.people
        box = self._record(box_id)
        access = people.access(box_id)
        place = self._context.store.locations().get(box.location or "")
        shared = [people.account(each) for each in access.shared_ids]
        owners = [people.account(each) for each in access.owner_ids]
        return self._context.page(
            "box_settings.html",
            code=code,
            box=box,
            access=access,
            place=place,
            owners=[each.name for each in owners if each is not None],
            shared=[each for each in shared if each is not None],
            privacies=PRIVACY_WORDS,
            problem=problem,
            code_made=code_made,
            notice=notice,
            typed=typed,
            seen=seen_values(box_values(self._context, box_id), OWNERS_FIELDS),
            site=site_name(box.site),
            regions=None if VISITOR.get().administers else regions_offered(self._context.store, box),
        )

    def change(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        box_id = self._own(request.path_params["box_id"])
        privacy = form.text("privacy")
        if privacy not in PRIVACIES:
            raise HTTPException(
                400,
                f"{privacy} is not offered; there are {', '.join(PRIVACIES)}.",
            )
        name = form.text("name", 60)
        store, record = self._context.store, self._record(box_id)
        other = box_of_name(store, name, but=box_id) if name != record.name else None
        if other is not None and visitor.sees(other):  # the name of a hidden Box stays hidden
            text = "Another Box has this name; names are unique."
            return self._settings_page(box_id, text, code=400, typed=form.fields)
        before = box_values(self._context, box_id)
        if changed := changed_meanwhile(form, before, OWNERS_FIELDS):
            return self._settings_page(box_id, changed, code=409, typed=form.fields)
        region = form.text("region", 60)
        if region and not visitor.administers and region not in regions_offered(store, record):
            text = f"There is no region {region}; an administrator names regions."
            return self._settings_page(box_id, text, code=400, typed=form.fields)
        try:
            place = read_place(form, box_id, store.locations())
            nominal = read_nominal_form(form, self._context.store, box_id)
            site = read_site(form, record, visitor)
            since_ms = read_since(form)
            if not visitor.administers:
                check_own_time(since_ms, self._context.people.access(box_id))
        except ValueError as error:
            return self._settings_page(box_id, str(error), code=400, typed=form.fields)
        stands = store.locations().get(record.location or "")
        try:
            put_name_and_place(store, box_id, name, region, moved_to(place, stands), since_ms)
        except StoreError:
            if other is None:
                raise
            text = "This name cannot be used; choose another."  # names are unique in the original's index
            return self._settings_page(box_id, text, code=400, typed=form.fields)
        if place is None and stands is not None:
            forget_place(store, box_id, since_ms)
        phase = form.text("phase", 60) if "phase" in form.fields else None
        put_facts(store, replace(nominal, site=site, phase=phase), since_ms)
        hold_moved(store, self._context.people, box_id, stands, self._context.visitors.config.map_radius_km)
        waveforms = form.checked("public_waveforms")
        self._context.people.change_access(
            box_id, lambda was: replace(was, privacy=privacy, public_waveforms=waveforms)
        )
        what = f"set name, place, nominal values and what the public sees ({privacy}){since_words(since_ms)}"
        self._context.note(visitor, what, f"box {box_id}", before, box_values(self._context, box_id))
        return see_other(f"/boxes/{box_id}/settings?saved=1")

    def share(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Shares with an account. E-mails can be tried no more often than passwords."""
        box_id = self._own(request.path_params["box_id"])
        remove = form.text("remove")
        if remove:
            before = self._shared(box_id)
            self._context.people.share_box(box_id, remove, False)
            now = self._shared(box_id)
            self._context.note(visitor, "ended the sharing of a Box", f"box {box_id}", before, now)
            return see_other(f"/boxes/{box_id}/settings")
        give_back = self._context.spend_own_try(visitor, "share")
        account = self._context.people.account_of(checked_email(form.text("email")))
        if account is None or not account.in_force:
            problem = "There is no account with this e-mail. An administrator can invite them."
            return self._settings_page(box_id, problem, code=404)
        give_back()
        before = self._shared(box_id)
        self._context.people.share_box(box_id, account.account_id, True)
        self._context.note(visitor, "shared a Box", f"box {box_id}", before, self._shared(box_id))
        return see_other(f"/boxes/{box_id}/settings")

    def _public(self, box_id: str) -> dict[str, object]:
        access = self._context.people.access(box_id)
        return {"privacy": access.privacy, "public_waveforms": access.public_waveforms}

    def _shared(self, box_id: str) -> dict[str, object]:
        return {"accounts": len(self._context.people.access(box_id).shared_ids)}

    def make_code(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        box_id = self._own(request.path_params["box_id"])
        if not visitor.administers:
            raise HTTPException(403, "Only an administrator can make a code.")
        maker = own_account(visitor).account_id
        secret = make_ticket(self._context.people, "claim", CLAIM_S, box_id=box_id, made_by=maker)
        self._context.note(visitor, "made a code to claim a Box", f"box {box_id}")
        return self._settings_page(box_id, code_made=secret)

    def release(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Releases the Box: it has no owner, name or place, and no visitor sees it.

        If others own it too, only this owner leaves.
        """
        box_id = self._own(request.path_params["box_id"])
        account, access = visitor.account, self._context.people.access(box_id)
        if account and account.account_id in access.owner_ids and len(access.owner_ids) > 1:
            self._context.people.change_access(box_id, lambda was: was.without_owner(account.account_id))
            self._context.note(visitor, "gave a Box back", f"box {box_id}")
            return see_other("/account/boxes")
        before, had_place = self._public(box_id), bool(self._record(box_id).location)
        forget_box(self._context.store, box_id)
        self._context.people.change_access(
            box_id,
            lambda was: was.released(had_place),
        )
        self._context.note(visitor, "gave a Box back", f"box {box_id}", before, self._public(box_id))
        return see_other("/account/boxes")

    def _own(self, box_id: str) -> str:
        """Raises 404 also for another owner's Box, so that the answer does not reveal whether it exists."""
        visitor = VISITOR.get()
        if not BOX_ID.fullmatch(box_id) or not visitor.may_change(box_id):
            raise HTTPException(404, "You have no Box with this id.")
        if box_id not in visitor.own and self._context.store.box(box_id) is None:
            raise HTTPException(404, "No Box with this id is known.")
        return box_id

    def _record(self, box_id: str) -> BoxRecord:
        return self._context.store.box(box_id) or BoxRecord(box_id, f"Box {box_id}")


def box_values(context: AccountContext, box_id: str) -> dict[str, object]:
    """What people entered about a Box, for the log of changes."""
    box = context.store.box(box_id) or BoxRecord(box_id, f"Box {box_id}")
    place = context.store.locations().get(box.location or "")
    access = context.people.access(box_id)
    return {
        "name": box.name,
        "description": box.description or None,
        "region": box.region or None,
        "location": box.location or None,
        "latitude": place.latitude if place else None,
        "longitude": place.longitude if place else None,
        "feeder": box.feeder or None,
        "site": box.site or None,
        "phase": box.phase or None,
        "grid": box.grid or None,
        "nominal_v": box.nominal_v,
        "nominal_hz": box.nominal_hz,
        "unplugged": bool(box.unplugged),
        "retired": bool(box.retired_ms),
        "privacy": access.privacy,
        "public_waveforms": access.public_waveforms,
    }


def seen_values(values: Mapping[str, object], fields: tuple[str, ...]) -> str:
    """A short hash of the values that a form shows; the form sends it back."""
    text = json.dumps([values[name] for name in fields])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changed_meanwhile(form: SentForm, values: Mapping[str, object], fields: tuple[str, ...]) -> str:
    """Why a form is refused: the Box was changed after the form was opened. Empty where it was not."""
    if form.text("seen", 16) in ("", seen_values(values, fields)):
        return ""
    other = [
        f"{name.replace('_', ' ')} {'empty' if values[name] is None else values[name]}"
        for name in fields
        if not _typed_as(form, name, values[name])
    ]
    return (
        "This Box was changed after you opened this page, so nothing was saved. What you typed "
        f"is still here; stored now: {', '.join(other) or 'the same'}. Save again to replace it by yours."
    )


def _typed_as(form: SentForm, name: str, value: object) -> bool:
    if isinstance(value, bool):
        return form.checked(name) is value
    text = "" if value is None else str(value)
    return form.text(name) in (text, text.removesuffix(".0"))
