"""CURVE key files: pyzmq reads ours and we read pyzmq's and the original's; bad ones say why."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
import zmq.auth
from hypothesis import given
from hypothesis import strategies as st

from opq_proto.errors import KeyFileError
from opq_proto.keys import key_files as keys


def one_line(caught: pytest.ExceptionInfo[KeyFileError], path: Path) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Files


def test_pyzmq_reads_what_we_write(tmp_path: Path) -> None:
    pair = keys.generate()
    keys.write_secret(tmp_path / "a_secret", pair, "7")
    keys.write_public(tmp_path / "a.key", pair, "7")
    assert zmq.auth.load_certificate(tmp_path / "a_secret") == (pair.public, pair.secret)
    assert zmq.auth.load_certificate(tmp_path / "a.key") == (pair.public, None)


def test_pyzmqs_loader_of_folders_reads_our_public_keys(tmp_path: Path) -> None:
    keys.KeyFolder(tmp_path).create(False, ["1", "2"])
    found = zmq.auth.load_certificates(tmp_path / "public_keys")
    assert set(found) == set(keys.KeyFolder(tmp_path).admitted()[0])


def test_we_read_what_pyzmq_writes(tmp_path: Path) -> None:
    public_file, secret_file = zmq.auth.create_certificates(tmp_path, "box", {"name": "Box 7", "key": "=x"})
    assert keys.read_key_file(secret_file) == keys.KeyPair(*zmq.auth.load_certificate(secret_file))
    assert keys.read_key_file(public_file).secret is None


def test_the_layout_is_the_originals(tmp_path: Path) -> None:
    pair = keys.KeyPair(
        b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
    )
    keys.write_secret(tmp_path / "s", pair, "1003")
    comment, *rest = (tmp_path / "s").read_text().split("\n")
    assert comment.startswith("#")
    assert rest == [
        "metadata",
        "    id = 1003",
        "curve",
        '    public-key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"',
        '    secret-key = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"',
        "",
    ]


@pytest.mark.parametrize(
    "text",
    [
        'curve\r\n\tpublic-key\t=\t"{p}"\r\n',
        '# made 1999\n\n\nmetadata\n  id = 4\n  other = "public"\ncurve\n  public-key   =   "{p}"  \n',
        'public-key = "{p}"\npublic-key = "{q}"\n',
        '\ufeffcurve\n    public-key = "{p}"',
        'x public-key = "{p}" trailing words',
        '    public-key="{q}"\n    public-key = "{p}"\n',
    ],
)
def test_the_first_match_around_the_sign_counts(text: str, tmp_path: Path) -> None:
    first, second = keys.generate().public.decode(), keys.generate().public.decode()
    path = tmp_path / "k"
    path.write_text(text.replace("{p}", first).replace("{q}", second), newline="")
    assert keys.read_key_file(path).public == first.encode()


def test_a_real_curve_connection_takes_our_files(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path)
    folder.create(True, ["1"])
    server, box = keys.read_secret_file(folder.server_secret), keys.read_secret_file(folder.box_secret("1"))
    context = zmq.Context()
    try:
        with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
            pull.curve_server = True
            pull.curve_publickey, pull.curve_secretkey = server.public, server.secret
            port = pull.bind_to_random_port("tcp://127.0.0.1")
            push.linger = 0
            push.curve_serverkey = keys.read_key_file(folder.server_public).public
            push.curve_publickey, push.curve_secretkey = box.public, box.secret
            push.connect(f"tcp://127.0.0.1:{port}")
            push.send(b"hello")
            assert pull.poll(240_000)
            assert pull.recv() == b"hello"
    finally:
        context.term()


# Bad files

GOOD = keys.KeyPair(b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs")
"""A fixed pair: it stands in the names of cases, which every process that runs them must agree on."""


OTHER_SECRET = b"JTKVSB%%)fK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"  # of the pair in libzmq's zmq_curve(7)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no line public-key"),
        (b"metadata\ncurve\n", "no line public-key"),
        (b'public-key="' + GOOD.public + b'"\n', "no line public-key"),
        (b'    public-key = "' + GOOD.public[:-1] + b'"\n', "public-key is not a key"),
        (b'    public-key = "' + GOOD.public[:-1] + b'\\"\n', "public-key is not a key"),
        (b'    public-key = "' + b"#" * 40 + b'"\n', "public-key is not a key"),
        (b'    public-key = "' + GOOD.public[:-1] + b"\xc3\xa9" + b'"\n', "public-key is not a key"),
        (b'    public-key = "' + GOOD.public + b"\n", "no line public-key"),
        (b'public-key = "' + GOOD.public + b'"\nsecret-key = "x"\n', "secret-key is not a key"),
        (
            b'public-key = "' + GOOD.public + b'"\nsecret-key = "' + OTHER_SECRET + b'"\n',
            "belong",
        ),
        (bytes(range(256)) * 8, "no line public-key"),
        (b"\0" * 100, "no line public-key"),
        (b"x" * 100_000, "more than 65536 bytes"),
    ],
)
def test_a_bad_file_is_reported_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError) as caught:
        keys.read_key_file(path)
    text = one_line(caught, path)
    assert says in text
    assert GOOD.public.decode()[:20] not in text


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "dangling", "loop", "device"])
def test_a_special_file_is_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "k"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(KeyFileError) as caught:
        keys.read_key_file(path)
    one_line(caught, path)


def test_a_file_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "k"
    keys.write_public(path, GOOD)
    path.chmod(0)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    if os.geteuid() == 0:  # root reads every file
        monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(KeyFileError, match="Permission denied"):
        keys.read_key_file(path)


def test_a_link_to_a_good_file_is_followed(tmp_path: Path) -> None:
    keys.write_public(tmp_path / "real", GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert keys.read_key_file(tmp_path / "link").public == GOOD.public


def test_a_public_file_is_no_secret_file(tmp_path: Path) -> None:
    keys.write_public(tmp_path / "k", GOOD)
    with pytest.raises(KeyFileError, match="no secret-key"):
        keys.read_secret_file(tmp_path / "k")


@given(st.binary(max_size=400))
def test_any_bytes_are_keys_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.key"
    for data in (content, keys.key_text(GOOD, "1", secret=True)[: len(content)] + content):
        path.write_bytes(data)
        try:
            pair = keys.read_key_file(path)
        except KeyFileError as error:
            assert "\n" not in str(error)
        else:
            assert len(pair.public) == 40


@given(st.integers(0, 400))
def test_a_truncated_file_never_gives_half_a_key(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.key"
    path.write_bytes(keys.key_text(GOOD, "1", secret=True)[:length])
    try:
        pair = keys.read_key_file(path)
    except KeyFileError:
        return
    assert pair in (GOOD, keys.KeyPair(GOOD.public))


def test_a_secret_is_never_in_a_pairs_text() -> None:
    assert (GOOD.secret or b"").decode() not in repr(GOOD)


# Writing


def test_private_files_are_0600_from_the_start(tmp_path: Path) -> None:
    """Watched with strace's eyes: every open of a secret's part file asks for 0600 at most."""
    code = """
import os, sys
from pathlib import Path
from opq_proto.keys import key_files as keys
os.umask(0)
seen = []
real = os.open
def watched(path, flags, mode=0o777, **more):
    if flags & os.O_CREAT:
        seen.append(mode)
    return real(path, flags, mode, **more)
os.open = watched
keys.KeyFolder(sys.argv[1]).create(True, ["1"])
assert seen and all(mode == 0o600 for mode in seen), seen
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "curve")], check=True, timeout=240)
    folder = keys.KeyFolder(tmp_path / "curve")
    assert {mode(path) for path in folder.private_keys.iterdir()} == {0o600}
    assert {mode(path) for path in folder.public_keys.iterdir()} == {0o644}
    assert mode(folder.private_keys) == 0o700
    assert mode(folder.public_keys) == 0o755


def test_replacing_goes_through_a_link_to_nobody(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "k").symlink_to(victim)
    keys.write_secret(tmp_path / "k", GOOD)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "k").is_symlink()
    assert mode(tmp_path / "k") == 0o600


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    with pytest.raises(KeyFileError) as caught:
        keys.write_secret(tmp_path / "k", GOOD)
    one_line(caught, tmp_path / "k")
    assert names(tmp_path) == ["k"]
    with pytest.raises(KeyFileError, match="cannot be written"):
        keys.write_public(tmp_path / "no" / "folder", GOOD)
