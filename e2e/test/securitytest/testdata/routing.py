"""Says which of an inference server's handlers Starlette calls for each request on standard input.

Input: {"routes": {path: name}, "requests": [[method, target], ...]}. Output: for each request the handler's name and the route's
model, where the path has one; "" where no handler is called. Redirects to the same host are followed, as clients do.
"""

import asyncio
import json
import sys
import urllib.parse

import starlette
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route


def application(routes):
    called = []

    def handler(name):
        async def handle(request):
            called.append([name, request.path_params.get("model", "")])
            return PlainTextResponse("")
        return handle

    routes = [Route(path, handler(name), methods=["POST"]) for path, name in routes.items()]
    # The same again behind a prefix, as behind --root-path or a gateway that doesn't strip it.
    return Starlette(routes=[*routes, Mount("/prefix", routes=routes)]), called


async def ask(app, called, method, target, redirects=4):
    # What uvicorn makes of a request's target: h11_impl.py, RequestReceived.
    raw_path, _, query = target.encode().partition(b"?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": urllib.parse.unquote(raw_path.decode("ascii")), "raw_path": raw_path, "query_string": query, "root_path": "",
        "headers": [(b"host", b"llm")], "server": ("llm", 80), "client": ("127.0.0.1", 1), "state": {},
    }
    called.clear()
    answer = {}

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.update(status=message["status"], headers=dict(message["headers"]))

    await app(scope, receive, send)
    if called:
        return called[0]
    location = urllib.parse.urlsplit(answer["headers"].get(b"location", b"").decode())
    if answer["status"] == 307 and location.netloc == "llm" and redirects:
        return await ask(app, called, method, location.path + ("?" + location.query if location.query else ""), redirects - 1)
    return ["", ""]


async def main():
    job = json.load(sys.stdin)
    app, called = application(job["routes"])
    answers = [await ask(app, called, method, target) for method, target in job["requests"]]
    json.dump({"version": starlette.__version__, "answers": answers}, sys.stdout)


asyncio.run(main())
