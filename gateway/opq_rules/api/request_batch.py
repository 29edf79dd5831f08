"""Batch: makes the requests of one body, one after the other, in the same process."""

import httpx
from starlette.applications import Starlette

from opq_rules.api.bodies import SingleRequest
from opq_rules.values.batch import JsonObject

MAX_ANSWER_CHARACTERS = 64 << 20
"""Most characters of all answers to a batch; beyond it the other requests are not made."""
_NOT_IN_BATCH = ("batch", "stop", "query")
"""Batches in batches, the end of the server, and requests whose answers take minutes or do not end."""


async def answers_of(app: Starlette, requests: list[SingleRequest]) -> list[JsonObject]:
    """The code and the text of each answer, in order."""
    answers: list[JsonObject] = []
    characters = 0
    inside = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=inside, base_url="http://127.0.0.1") as client:
        for each in requests:
            if characters > MAX_ANSWER_CHARACTERS:
                answers.append({"code": 413, "response": f"the answers have {characters} characters already"})
                continue
            answers.append(await _answer(client, each))
            characters += len(answers[-1]["response"])
    return answers


async def _answer(client: httpx.AsyncClient, single: SingleRequest) -> JsonObject:
    """Makes one request of a batch. Its path is checked as the routes will see it: decoded, without dots."""
    try:
        content = single.body.encode() if single.body else None
        request = client.build_request(single.method, "/" + single.path.lstrip("/"), content=content)
    except (httpx.InvalidURL, UnicodeError) as error:
        return {"code": 400, "response": f"path: {error}"}
    if request.url.path.split("/")[1] in _NOT_IN_BATCH:
        return {"code": 400, "response": f"{request.url.path[:200]} is not for a batch"}
    response = await client.send(request)
    return {"code": response.status_code, "response": response.text}
