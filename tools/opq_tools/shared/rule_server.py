"""REST client of the rule engine for the commands: returns the answer or raises one clear error."""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import httpx

from opq_proto.errors import OpqError
from opq_proto.keys.rest_token import CHALLENGE, UnprovedError, new_challenge, proved_token
from opq_proto.kit.origin_guard import is_loopback
from opq_proto.kit.ports import with_offset
from opq_proto.kit.shared_options import data_dir_option, port_offset_option
from opq_proto.kit.system_place import find_system
from opq_tools.shared.input_file import read_input, read_input_text

_F = TypeVar("_F", bound=Callable[..., Any])


class ServerRefusedError(OpqError):
    """The engine refuses the request, or does not answer."""


class _EngineToken(httpx.Auth):
    """Sends the token; where none was given, the one in the file that an engine of this machine names.

    At an address of this machine each request, with the token, waits for the proof that the program there has
    the token (`rest_token`).
    """

    def __init__(self, given: str | None) -> None:
        self._given = given

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._given
        if is_loopback(request.url.netloc.decode()):
            challenge = new_challenge()
            root = request.url.copy_with(raw_path=b"/")
            answer = yield httpx.Request("GET", root, headers={CHALLENGE: challenge})
            port = request.url.port or (443 if request.url.scheme == "https" else 80)
            refusal = answer.read()
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                raise UnprovedError(f"the program at port {port} is not a rule engine of this project")
            token = proved_token(refusal, challenge, port, self._given)
            if token is None:
                return  # its refusal, which names the file, is the answer
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


class RuleServer:
    """REST client. `sql`, where a call has it: the text in which an error's place is shown."""

    def __init__(self, url: Callable[[], str], token_file: Path | None) -> None:
        """`url`: called at the first request; what needs no engine needs no running system."""
        self._find_url, self._token_file = url, token_file

    @cached_property
    def _url(self) -> str:
        return self._find_url().rstrip("/")

    @cached_property
    def _http(self) -> httpx.Client:
        token = None if self._token_file is None else read_input_text(self._token_file).strip()
        checks = self._url.startswith("https:")  # else no certificates are read, 20 ms
        return httpx.Client(
            base_url=self._url, auth=_EngineToken(token), timeout=60.0, trust_env=False, verify=checks
        )

    def request(self, method: str, path: str, body: Any = None, sql: str | None = None) -> Any:
        """Sends a request; returns JSON as objects, anything else as text. Raises ServerRefusedError."""
        given = {} if body is None else {"json": body}
        return self._send(method, path, given, sql)

    def upload(self, file: Path, name: str) -> str:
        """Uploads a file as `name`; returns its place at the engine.

        Raises:
            InputFileError: the file cannot be read.
            ServerRefusedError: the engine refuses it.
        """
        return self.upload_bytes(read_input(file), name)

    def upload_bytes(self, content: bytes, name: str) -> str:
        """Uploads bytes, as `upload`."""
        given = {"files": {"uploadFile": (name, content)}}
        return str(self._send("POST", "/config/uploads", given, None))

    def _send(self, method: str, path: str, given: dict[str, Any], sql: str | None) -> Any:
        try:
            answer = self._http.request(method, path, **given)
        except httpx.TransportError as error:
            raise self._nobody(error) from error
        except UnprovedError as error:
            raise self._unproved(error) from error
        if answer.status_code >= 400:
            raise ServerRefusedError(_refusal(answer, sql))
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.json() if is_json else answer.text

    def events(self, path: str, body: Any, sql: str) -> Iterator[str]:
        """Yields `data:` of server-sent events as they come, without comments. Raises ServerRefusedError."""
        try:
            with self._http.stream("POST", path, json=body, timeout=None) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise ServerRefusedError(_refusal(answer, sql))
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield line.removeprefix("data: ")
        except httpx.TransportError as error:
            raise self._nobody(error) from error
        except UnprovedError as error:
            raise self._unproved(error) from error

    def _unproved(self, error: UnprovedError) -> ServerRefusedError:
        return ServerRefusedError(
            f"{self._url}: {error}; --url or --port-offset names another engine, --token-file another token"
        )

    def _nobody(self, error: httpx.TransportError) -> ServerRefusedError:
        return ServerRefusedError(
            f"no rule engine answers at {self._url} ({error}); a cloud has one with"
            " `[triggering_service.rules] enabled = true`, a gateway with `[rules] enabled = true`,"
            " `opq-gateway rules` is one alone; --url or --port-offset names another"
        )


def _refusal(answer: httpx.Response, sql: str | None) -> str:
    try:
        body = answer.json()
        text = str(body["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}: {answer.text[:500]}"
    if hint := body.get("hint"):
        text += f"; {hint}"
    if answer.status_code == 401:
        text += "; --token-file names another file with one"
    line, column = body.get("line"), body.get("column")
    if line is None or column is None:
        return text
    text = f"line {line}, column {column}: {text}"
    lines = (sql or "").splitlines()
    if 0 < line <= len(lines):
        text += f"\n  {lines[line - 1]}\n  {' ' * (column - 1)}^"
    return text


def server_command(function: _F) -> _F:
    """Decorator: adds the options of the address and the token, and passes a `RuleServer` first."""

    has_folder = "data_dir" in signature(function).parameters

    def with_server(url: str | None, port_offset: int | None, token_file: Path | None, **others: Any) -> Any:
        folder = others["data_dir"] if has_folder else others.pop("data_dir")
        given = {"url": url, "port_offset": port_offset, "token_file": token_file, "data_dir": folder}
        return function(server_of(given), **others)

    with_server.__name__, with_server.__doc__ = function.__name__, function.__doc__
    with_server.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    url = click.option(
        "--url",
        envvar="OPQ_RULES_URL",
        show_envvar=True,
        default=None,
        help=f"Address of the rule engine's REST interface.  [default: {_at(0)}, moved by the port offset]",
    )
    token = click.option(
        "--token-file",
        envvar="OPQ_RULES_TOKEN_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        help="File with the access token.  [default: the one that an engine of this machine names]",
    )
    decorated = port_offset_option(token(with_server))  # a command with data_dir has the option itself
    return cast("_F", url(decorated if has_folder else data_dir_option(decorated)))


def server_of(given: Mapping[str, Any]) -> RuleServer:
    """The engine that the values of --url, --data-dir, --port-offset and --token-file name."""
    url, port_offset, data_dir = (given.get(name) for name in ("url", "port_offset", "data_dir"))
    if url is not None and port_offset is not None:
        raise click.UsageError(f"--port-offset and --url (or OPQ_RULES_URL, {url}) are both given; want one")
    return RuleServer(lambda: url or _at(find_system(data_dir, port_offset)[1]), given.get("token_file"))


def _at(port_offset: int) -> str:
    return f"http://127.0.0.1:{with_offset('rules', port_offset)}"


def text_of(given: str | None, file: str | None, what: str) -> str:
    """The argument, or the text of the file of `-f` (`-`: stdin). Raises UsageError unless one is given."""
    if (given is None) == (file is None):
        raise click.UsageError(f"want {what} as an argument, or -f FILE (- for stdin)")
    return read_input_text(file) if file is not None else given or ""


def show_answer(answer: object) -> None:
    """Prints what the engine answers: a sentence, or a document as JSON."""
    click.echo(answer if isinstance(answer, str) else json.dumps(answer))
