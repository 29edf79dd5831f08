"""Makes a PDF of the page on standard input, in a separate process.

Setting pages takes seconds of one core, which a service with live pages does not have. A separate file,
because it is a program.
"""

import subprocess
import sys

from opq_cloud.reports.page import html_as_pdf
from opq_proto.errors import OpqError

MOST_S = 120.0


class PdfFailedError(OpqError):
    """The process made no PDF."""


def pdf_apart(page: str) -> bytes:
    """The page as PDF, by another process. Raises PdfFailedError."""
    command = [sys.executable, "-m", "opq_cloud.reports.pdf_process"]
    try:
        done = subprocess.run(command, input=page.encode(), capture_output=True, timeout=MOST_S, check=False)
    except subprocess.TimeoutExpired:
        raise PdfFailedError(f"a PDF of this report takes more than {MOST_S:g} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["PDF: the process ended"]
        raise PdfFailedError(lines[-1][:300])
    return done.stdout


def main() -> int:
    try:
        sys.stdout.buffer.write(html_as_pdf(sys.stdin.buffer.read().decode()))
    except OpqError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
