"""A Telzino that costs little, so that contenders are measured and not the server.

It serves the documented API as far as a run needs it: calls, an agent's list, a token. Each run of a
contender gets a *world* of its own, created by requests to ``/worlds`` (see :mod:`benchmarks.worlds`).

``python -m benchmarks.server`` listens on a free port of loopback and prints it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from benchmarks.calls import ITEM, RECORD, Agent, World

MAX_PAGE_SIZE = 100

routes = web.RouteTableDef()
worlds: dict[str, World] = {}
agents: dict[str, Agent] = {}


@web.middleware
async def log_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Log each request for a call in its world, and answer 503 while that is unavailable."""
    agent = agents.get(request.match_info.get("agent", ""))
    if agent is None:
        return await handler(request) if "agent" not in request.match_info else not_found()
    now = time.time()
    request["agent"], request["now"], request["statuses"] = agent, now, 0
    if now < agent.world.unavailable_until:
        response: web.StreamResponse = web.json_response({"error": "Service unavailable"}, status=503)
    else:
        response = await handler(request)
    if agent.world.latency:
        await asyncio.sleep(agent.world.latency)
    if request.method == "POST":
        agent.world.placed.answered_at = time.time()
    port = request.transport.get_extra_info("peername")[1] if request.transport else 0
    agent.world.log.add(now, request["statuses"], port)
    return response


def not_found() -> web.Response:
    """Return a 404."""
    return web.json_response({"error": "Not found"}, status=404)


@routes.post("/oauth/token")
async def token(request: web.Request) -> web.Response:
    """Return a token."""
    return web.json_response({"access_token": "bench-token", "token_type": "Bearer", "expires_in": 86400})


@routes.post("/v1/agents/{agent}/outbound-calls")
async def place_call(request: web.Request) -> web.Response:
    """Place a call."""
    agent, now = request["agent"], request["now"]
    call = agent.world.place(agent, await request.json(), now)
    return web.Response(body=call.as_json(RECORD, now), status=202, content_type="application/json")


@routes.get("/v1/agents/{agent}/outbound-calls/{call}")
async def get_call(request: web.Request) -> web.Response:
    """Return the record of a call."""
    call = request["agent"].by_id.get(request.match_info["call"])
    if call is None:
        return not_found()
    request["statuses"] = 1
    return web.Response(body=call.as_json(RECORD, request["now"]), content_type="application/json")


@routes.get("/v1/agents/{agent}/outbound-calls")
async def list_calls(request: web.Request) -> web.Response:
    """Return a page of an agent's calls, newest first."""
    agent, now = request["agent"], request["now"]
    page, limit = int(request.query.get("page", 1)), int(request.query.get("limit", 50))
    if not (1 <= limit <= MAX_PAGE_SIZE and page >= 1):
        return web.json_response({"error": "Bad page or limit"}, status=400)
    agent.world.add_arrivals(now)
    calls = agent.calls
    if status := request.query.get("status"):
        calls = [call for call in calls if call.has_ended(now) is (status == "completed")]
    total = len(calls)
    end = max(0, total - (page - 1) * limit)
    shown = calls[max(0, end - limit) : end][::-1]
    request["statuses"] = sum(call.waited for call in shown)
    body = b'{"data": [%s], "pagination": {"page": %d, "limit": %d, "total": %d, "totalPages": %d, ' % (
        b", ".join([call.as_json(ITEM, now) for call in shown]),
        *(page, limit, total, -(-total // limit)),
    )
    body += b'"hasNext": %s, "hasPrev": %s}}' % (
        b"true" if end > limit else b"false",
        b"true" if page > 1 else b"false",
    )
    return web.Response(body=body, content_type="application/json")


@routes.get("/ended/{agent}/{call}")
async def has_ended(request: web.Request) -> web.Response:
    """Return 404 until the call has ended: ``HttpSensor`` can't read a record when it defers."""
    call = request["agent"].by_id.get(request.match_info["call"])
    request["statuses"] = 1
    return web.json_response({}) if call and call.has_ended(request["now"]) else not_found()


@routes.post("/worlds/{name}")
async def create_world(request: web.Request) -> web.Response:
    """Create a world, and return its agents and the calls that are waited for."""
    name = request.match_info["name"]
    world = worlds[name] = World(name, **await request.json())
    agents.update({agent.id: agent for agent in world.agents})
    return web.json_response({"agents": [agent.id for agent in world.agents], "calls": world.waited()})


@routes.get("/worlds/{name}")
async def read_log(request: web.Request) -> web.Response:
    """Summarise the requests for a world."""
    limits = {name: float(value) for name, value in request.query.items()}
    return web.json_response(worlds[request.match_info["name"]].log.summary(**limits))


@routes.get("/worlds/{name}/placed")
async def read_placed(request: web.Request) -> web.Response:
    """Summarise the calls that were placed in a world."""
    return web.json_response(worlds[request.match_info["name"]].placed.summary())


@routes.post("/worlds/{name}/outage")
async def begin_outage(request: web.Request) -> web.Response:
    """Answer 503 to all requests for a world, for a number of seconds."""
    worlds[request.match_info["name"]].unavailable_until = time.time() + (await request.json())["seconds"]
    return web.json_response({})


@routes.delete("/worlds/{name}")
async def drop_world(request: web.Request) -> web.Response:
    """Forget a world."""
    for agent in worlds.pop(request.match_info["name"]).agents:
        del agents[agent.id]
    return web.json_response({})


def main() -> None:
    """Serve until the end of the process."""
    app = web.Application(middlewares=[log_requests])
    app.add_routes(routes)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    web.run_app(app, sock=listener, backlog=4096, access_log=None, print=None)


if __name__ == "__main__":
    main()
