"""What is served as it is: vendored files unchanged, nothing from elsewhere, nothing inline."""

import hashlib
import re
from pathlib import Path

import pytest

import opq_cloud.view as view

ROOT = Path(view.__file__).parent
VENDOR = ROOT / "static" / "vendor"
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
OURS = [*TEMPLATES, *sorted((ROOT / "static").glob("*.*"))]


def test_every_vendored_file_has_its_stated_sha256() -> None:
    """Every vendored file has the SHA-256 of the list beside it."""
    told = dict(re.findall(r"^\| (\S+) \| ([0-9a-f]{64}) \|$", (VENDOR / "VENDOR.md").read_text(), re.M))
    there = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*.*")
        if path.name != "VENDOR.md"
    }
    assert told == there
    assert "MIT License" in (VENDOR / "uPlot.LICENSE").read_text()
    assert "BSD 2-Clause License" in (VENDOR / "leaflet.LICENSE").read_text()
    assert "Leaflet 1.9.4" in (VENDOR / "leaflet.js").read_text()[:100]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_page_has_foreign_or_inline_code(path: Path) -> None:
    """No page or script names another host or carries inline code."""
    text = path.read_text()
    hosts = set(re.findall(r"https?://([^/\"'\s]+)", text)) - {"www.w3.org"}  # the SVG name space
    assert not hosts
    assert not re.search(r"\son[a-z]+\s*=|\sstyle\s*=|javascript:|<style|innerHTML|insertAdjacentHTML", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)


def test_templates_never_switch_escaping_off() -> None:
    assert {"base.html", "audit.html"} <= {path.name for path in TEMPLATES}
    for path in TEMPLATES:
        assert not re.search(r"\|\s*safe\b|autoescape", path.read_text()), path.name


def test_a_time_holds_its_own_zone() -> None:
    """The visitor's own time is written after it: the name of its zone would stand after that one."""
    outside = re.compile(r"</time>\s*(UTC|\{\{ zone)|parts\.time\([^)]*\)\s*\}\}\s*UTC")
    assert [path.name for path in TEMPLATES if outside.search(path.read_text())] == []


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_keeps_the_contrast_of_wcag_aa(scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", (ROOT / "static" / "view.css").read_text(), re.S)[:2]
    tokens = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if scheme == "light" else dark))
    texts = ("ink", "ink-soft", "ink-quiet", "accent", "good", "bad", "warn")
    for text in texts:
        for ground in ("ground", "surface", "sunken"):
            assert _contrast(tokens[text], tokens[ground]) >= 4.5, (text, ground)
    for tone in ("down", "out", "up", "other"):
        assert _contrast(tokens[tone], tokens[f"{tone}-soft"]) >= 4.5, tone
    for name in [name for name in tokens if name.startswith("series-")]:
        for ground in ("surface", "sunken"):
            assert _contrast(tokens[name], tokens[ground]) >= 3.0, (name, ground)
