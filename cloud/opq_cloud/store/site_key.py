"""Whose a site is: the text that a Box has as its site is a key, of which an owner types only the name. Pure.

A site belongs to who made it. `mill` is the administrators' site; `mill~3f9a2c41d07b` is the site of that
name of one owner, whose account the letters after `~` stand for. So two owners may each have a site `mill`,
and who types the name of another's site makes one of their own. Digits alone are a Box's id.
"""

import hashlib

MARK = "~"
OWNER_DIGITS = 12
NAME_CHARACTERS = 60
KEY_CHARACTERS = NAME_CHARACTERS + len(MARK) + OWNER_DIGITS


def checked_site(text: str) -> str:
    """The key of a site as administrators state it; empty for none. Raises ValueError for digits alone."""
    if text.partition(MARK)[0].isdecimal():
        raise ValueError(f"{text} is a number, as a Box's id is; a site's name has a letter, such as mill.")
    return text


def owners_site(name: str, account_id: str) -> str:
    """The key of an owner's site with this name; empty for none. Raises ValueError where it is not a name."""
    if MARK in name:
        raise ValueError(f"A site's name has no {MARK}; an administrator puts a Box into another's site.")
    owner = hashlib.sha256(f"site of {account_id}".encode()).hexdigest()[:OWNER_DIGITS]
    return f"{checked_site(name)}{MARK}{owner}" if name else ""


def is_owners_key(key: str) -> bool:
    """Whether it is the key of an owner's site."""
    name, mark, owner = key.partition(MARK)
    return bool(name and mark) and len(owner) == OWNER_DIGITS and len(key) <= KEY_CHARACTERS


def belongs_to(key: str, account_id: str) -> bool:
    """Whether the site with this key is one of that account."""
    name = site_name(key)
    return is_owners_key(key) and not name.isdecimal() and owners_site(name, account_id) == key


def site_name(key: str | None) -> str:
    """The name that its owner typed."""
    return (key or "").partition(MARK)[0]


def may_name_intervals(key: str) -> bool:
    """Whether intervals may be stored under the key of a site: not where it is a Box's id."""
    return bool(key) and not key.isdecimal()
