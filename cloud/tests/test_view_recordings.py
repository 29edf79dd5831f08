"""`/examine`: an uploaded recording is shown, a hostile one is a sentence, and nothing of either stays."""

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import demo
import numpy as np
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.view.pages.recordings import recording_examiner
from opq_cloud.view.web.forms import SentFile
from opq_cloud.view.web.sign_in import SignIn
from opq_recordings.facts import RecordingFacts

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("cheap_argon2")
RATE_HZ = 6400.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("recordings"), poll_s=0.5)
    add_people(running, eve="viewer")
    with pytest.MonkeyPatch.context() as patch, running:
        patch.setattr(recording_examiner, "LONGEST_S", 600.0)  # a busy machine needs minutes
        yield running


@pytest.fixture
def eve(scene: demo.Scene) -> FormBrowser:
    return FormBrowser(scene.url, {"opq_session": _session(scene)})


def _session(scene: demo.Scene) -> str:
    people = scene.store.people
    account = people.account_of("eve@example.org")
    assert account is not None
    return SignIn(people).begin_session(account, "127.0.0.1", "test")


def three_phases() -> dict[str, bytes]:
    """A COMTRADE pair of 0.5 s with a sag to 60 % in phase B."""
    samples = round(0.5 * RATE_HZ)
    t_s = np.arange(samples) / RATE_HZ
    waves = [230 * np.sqrt(2) * np.sin(2 * np.pi * (50 * t_s - k / 3)) for k in range(3)]
    waves[1][round(0.2 * RATE_HZ) : round(0.3 * RATE_HZ)] *= 0.6
    channels = "\n".join(
        f"{k + 1},U{name},{name},,V,0.02,0,0,-32767,32767,1,1,P" for k, name in enumerate("ABC")
    )
    cfg = (
        f"Station <b>,1,1999\n3,3A,0D\n{channels}\n50\n1\n{RATE_HZ:g},{samples}\n"
        "20/11/2026,16:09:40.250000\n20/11/2026,16:09:40.450000\nASCII\n1\n"
    )
    counts = np.rint(np.array(waves) / 0.02).astype(int)
    rows = (f"{k + 1},,{a},{b},{c}" for k, (a, b, c) in enumerate(counts.T))
    return {"relay.cfg": cfg.encode(), "relay.dat": "\n".join(rows).encode()}


def zip_bomb(mib: int = 528) -> bytes:
    """Zeros; 528 MiB of them take 2.4 MB."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("volts.npy", "w") as member,
    ):
        for _ in range(mib >> 4):
            member.write(bytes(1 << 24))
    return packed.getvalue()


def claiming() -> bytes:
    """A .npy of 8 kB whose head states 2 GB."""
    head = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 28,)}
    np.lib.format.write_array_header_1_0(head, shape)
    return head.getvalue() + bytes(8000)


def send(browser: FormBrowser, files: dict[str, bytes], **fields: str) -> int:
    """As a browser sends the form."""
    browser.get("/examine")
    token = browser.text.partition('name="form_token" value="')[2].partition('"')[0]
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in {"form_token": token, **fields}.items()
    ]
    for name, content in files.items():
        head = f'--b\r\nContent-Disposition: form-data; name="recording"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    body = b"".join(parts) + b"--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return browser.send("POST", "/examine", body.decode("latin-1"), headers)


@pytest.fixture(autouse=True)
def left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, which is empty after each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def test_a_three_phase_recording_is_not_kept(eve: FormBrowser) -> None:
    assert send(eve, three_phases()) == 200, eve.text
    for words in (
        "COMTRADE 1999, ascii, channel UA: 0.5 s at 6,400 samples/s, from 2026-11-20 16:09:40 UTC",
        "Class <strong>none</strong>",
        "Waveform, V",
        "Urms(1/2), V",
        "Spectrum",
        "Three phases",
        "Not stated, assumed: nominal_volts = 230",
        "relay.cfg and relay.dat",
    ):
        assert words in eve.text, words
    assert "<td>sag</td>" in eve.text and "UB" in eve.text  # of the three together
    assert send(eve, three_phases(), channel="ub", nominal_v="240") == 200
    assert "Class <strong>sag</strong>" in eve.text and "nominal 240 V" in eve.text


def test_one_of_several_recordings_is_shown(eve: FormBrowser) -> None:
    content = io.BytesIO()
    wave = 325 * np.sin(2 * np.pi * 50 * np.arange(3200) / RATE_HZ)
    np.savez(content, v1=wave, v2=wave[:2000], fs=RATE_HZ)
    assert send(eve, {"two.npz": content.getvalue()}) == 200, eve.text
    assert "of these v1 was taken and v2 left out; choose with “Channel”" in eve.text
    assert send(eve, {"two.npz": content.getvalue()}, channel="v2") == 200
    assert "channel v2: 0.3125 s" in eve.text and "left out" not in eve.text
    assert send(eve, {"a.npy": _npy(), "b.npy": _npy()}, rate_hz="6400") == 400
    assert "a.npy, b.npy are 2 recordings; send one" in eve.text


def test_a_wrong_statement_is_named_by_field(eve: FormBrowser) -> None:
    for fields, sentence in (
        ({"nominal_v": "high"}, "Nominal voltage, V is 'high'; want a positive number."),
        ({"unit": "A"}, "Unit is 'A'; want"),
        ({"start": "yesterday"}, "Start is 'yesterday'; want a time such as"),
        ({"start": "2026-11-20 16:09 CET"}, "(its zone 'CET' is not known); want a time such as"),
        ({"side": "left"}, "primary or secondary"),
        ({}, "its rate is not known; put rate_hz into x.json or give “Samples per second”"),
    ):
        assert send(eve, {"x.npy": _npy()}, **fields) == 400
        assert sentence in eve.text
    assert send(eve, {}) == 400 and "Choose a recording" in eve.text
    for start in ("2026-11-20T16:09:40.25Z", "20 Nov 2026 5:09:40 PM +01:00"):
        assert send(eve, {"x.npy": _npy()}, rate_hz="6400", start=start) == 200
        assert "from 2026-11-20 16:09:40 UTC" in eve.text


def _npy() -> bytes:
    content = io.BytesIO()
    np.save(content, 325 * np.sin(2 * np.pi * 50 * np.arange(3200) / RATE_HZ))
    return content.getvalue()


def _hdf5() -> bytes:
    h5py = pytest.importorskip("h5py", reason="the extra `recordings` is not installed")
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        wave = 325 * np.sin(2 * np.pi * 50 * np.arange(3200) / RATE_HZ)
        file.create_dataset("u", data=wave).attrs.update(units="V", rate_hz=float(RATE_HZ))
    return content.getvalue()


def endless_hdf5() -> bytes:
    """Free space without a size among its texts, which libhdf5 2.0.0 reads without end."""
    content = bytearray(_hdf5())
    first = content.index(b"GCOL") + 16
    free = first + 16 + -(-int.from_bytes(content[first + 8 : first + 16], "little") // 8) * 8
    content[free + 8 : free + 16] = bytes(8)
    return bytes(content)


def test_a_file_that_a_library_reads_is_shown(eve: FormBrowser) -> None:
    assert send(eve, {"a.h5": _hdf5()}) == 200, eve.text
    assert "HDF5, channel u: 0.5 s at 6,400 samples/s" in eve.text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.cff", bytes, "empty.cff: is empty, no samples in it"),
        ("bomb.npz", zip_bomb, "bomb.npz: unpacks to more than 512 MiB"),
        ("claims.npy", claiming, "claims.npy: is not a readable .npy file"),
        ("deep.json", lambda: b"[" * 100_000, "deep.json: is not JSON"),
        pytest.param(
            "endless.h5",
            endless_hdf5,
            "endless.h5: is damaged; reading it does not end",
            marks=pytest.mark.slow,  # a process's whole limit; test_recordings_guarded.py always has it
        ),
        ("noise.pqd", lambda: bytes(range(256)) * 40, "noise.pqd: is not a readable PQDIF file"),
        ("..", lambda: b"x", "is not a name for a file"),
    ],
)
def test_a_hostile_file_is_one_sentence(
    name: str, content: Callable[[], bytes], sentence: str, eve: FormBrowser
) -> None:
    assert send(eve, {name: content()}) == 400
    (problem,) = [line for line in eve.text.splitlines() if 'role="alert"' in line]
    assert sentence in problem and "Traceback" not in eve.text and tempfile.gettempdir() not in problem


def test_a_too_large_file_is_refused_unread(eve: FormBrowser) -> None:
    eve.get("/examine")
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(2 << 30)}
    assert eve.send("POST", "/examine", "--b\r\n", headers) == 413 and "bytes that are allowed" in eve.text


def test_a_processs_limit_follows_the_largest_recording() -> None:
    bomb = SentFile("bomb.npz", io.BytesIO(zip_bomb(32)))
    examiner = recording_examiner.RecordingExaminer()
    with pytest.raises(recording_examiner.NotExaminedError, match="unpacks to more than 16 MiB"):
        examiner.examine([bomb], RecordingFacts(), 2)


def test_without_a_session_there_is_no_form(scene: demo.Scene) -> None:
    stranger = FormBrowser(scene.url)
    assert stranger.get("/examine") == 303 and "/sign-in?next=" in stranger.headers["location"]
    assert send(stranger, three_phases()) == 401


def test_a_too_long_analysis_is_ended(eve: FormBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that takes too much memory."""
    monkeypatch.setattr(recording_examiner, "LONGEST_S", 0.05)
    assert send(eve, three_phases()) == 413 and "takes longer than 0.05 s" in eve.text
    monkeypatch.undo()
    monkeypatch.setattr(recording_examiner, "WORKER", "opq_cloud.no_such_worker")
    assert send(eve, three_phases()) == 413 and "more memory or time than an upload may have" in eve.text


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)]
)
def test_a_person_uploads_a_file(
    scene: demo.Scene, page: "Page", width: int, scheme: str, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    paths = []
    for name, content in three_phases().items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.context.add_cookies([{"name": "opq_session", "value": _session(scene), "url": scene.url}])
    page.goto(f"{scene.url}/incidents")
    page.get_by_role("link", name="Examine a recording").click()
    page.locator("#recording").set_input_files(paths)
    page.get_by_role("button", name="Examine it").click()
    page.locator("h1", has_text="relay.cfg and relay.dat").wait_for(timeout=600_000)
    assert page.locator("svg .trace").count() == 5  # the wave, three rms, the frequency
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
