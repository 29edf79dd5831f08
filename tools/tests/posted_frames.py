"""Frames of ZMTP 1.0 in the body of a form, as a stranger's page posts them to a ZeroMQ address.

libzmq without a ZAP domain reads the first bytes of such a request as a peer's name and the next ones as
frames. The page knows what a browser sends before the body, so it chooses a path with which one frame ends
where those of the body begin.
"""

import socket
from typing import Any

MORE, LAST = 1, 2
"""Flags of a frame, of which libzmq reads the lowest bit; NUL cannot be in a form."""
SLED = bytes([1, MORE]) * 130 + bytes([1, LAST])
"""Empty frames: a frame of the head may end before any of them."""
LONG = 255


def message(*frames: bytes) -> bytes:
    """The frames of one message; a form changes line ends, and some others need two bytes."""
    flags = [MORE] * (len(frames) - 1) + [LAST]
    found = b"".join(bytes([len(each) + 1, flag]) + each for each, flag in zip(frames, flags, strict=True))
    assert not set(found) & {0, *b"\r\n", *range(128, 256)}, found
    return found


class PostingPages:
    """Pages of a stranger in a browser, which stay open."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    def post(self, port: int, *messages: bytes) -> None:
        """Posts the messages to a port of this machine, as a form of text/plain."""
        frames = SLED + b"".join(messages)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            own = listener.getsockname()[1]
            self._submit(f"http://127.0.0.1:{own}/", frames)
            accepted, _ = listener.accept()
            with accepted:
                head = accepted.recv(65536).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        head = head.replace(b":%d" % own, b":%d" % port)
        self._submit(f"http://127.0.0.1:{port}/{'a' * _filler(head)}", frames)

    def _submit(self, url: str, frames: bytes) -> None:
        page = self._browser.new_page()
        page.set_content(f'<form method=post enctype="text/plain" action="{url}"><input type=hidden>')
        page.eval_on_selector("input", "(input, text) => { input.name = text }", frames.decode("ascii"))
        page.eval_on_selector("form", "form => form.submit()")


def _filler(head: bytes) -> int:
    """How many letters the path gets, so that a frame of the head ends before a frame of the sled."""
    for count in range(250):
        whole, at = head.replace(b" / ", b" /" + b"a" * count + b" ", 1), 0
        while at < len(whole):
            if whole[at] in (0, LONG):
                break
            at += 1 + whole[at]
        else:
            if at - len(whole) < len(SLED) and (at - len(whole)) % 2 == 0:
                return count
    raise AssertionError(f"no path aligns {head!r}")
