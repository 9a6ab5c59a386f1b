"""The routes of the API, on FastAPI: from a request, by the store, to an answer."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.routing import Match

from airflow_provider_telzino.sandbox import schemas
from airflow_provider_telzino.sandbox.access import Access
from airflow_provider_telzino.sandbox.clock import timestamp
from airflow_provider_telzino.sandbox.magic_numbers import NotScriptedError
from airflow_provider_telzino.sandbox.page import page_routes
from airflow_provider_telzino.sandbox.scope import ACCESS, STORE, TheAccess, TheStore
from airflow_provider_telzino.sandbox.store import ForbiddenError, NotFoundError, Store

if TYPE_CHECKING:
    from airflow_provider_telzino.sandbox.wire import Application, Receive, Scope, Send

ERROR_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    429: "too_many_requests",
    500: "internal_server_error",
}
BEARER = HTTPBearer(auto_error=False, description="A token of `POST /oauth/token`")
_DESCRIPTIONS = {
    400: "Bad parameters",
    401: "Missing or invalid token",
    403: "Not allowed",
    404: "Not found",
    429: "Too many requests; `Retry-After` may be present",
    500: "Server error",
}


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error answer. Telzino does not document the shape of its body."""
    code = ERROR_CODES.get(status, f"http_{status}")
    return JSONResponse({"error": code, "message": message}, status, headers)


def page_answer(items: list[dict[str, Any]], page: int, limit: int, total: int) -> JSONResponse:
    """Return one page of a list, with ``pagination``."""
    pages = math.ceil(total / limit)
    pagination = {
        "page": page,
        "limit": limit,
        "total": total,
        "totalPages": pages,
        "hasNext": page < pages,
        "hasPrev": page > 1,
    }
    return JSONResponse({"data": items, "pagination": pagination})


def build_app(store: Store, access: Access) -> Application:
    """Return the whole application of one sandbox: the API, the live page, and the OpenAPI document."""
    api = _api()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await api({**scope, STORE: store, ACCESS: access}, receive, send)

    return app


@functools.cache
def _api() -> FastAPI:
    """Return the application that all sandboxes of a process share, since building one takes long."""
    app = _SandboxApp(
        title="Telzino sandbox",
        description="A local stand-in for the Telzino API. No phone rings.",
        redirect_slashes=False,
    )
    app.include_router(_token_routes())
    app.include_router(_agent_routes())
    app.include_router(page_routes())
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(ForbiddenError, _forbidden)
    app.add_exception_handler(NotScriptedError, _not_scripted)
    return app


def _token_routes() -> APIRouter:
    routes = APIRouter(tags=["access"])

    @routes.post("/oauth/token", response_model=schemas.Token, responses=_problems(400, 401, 429, 500))
    async def fetch_token(body: schemas.TokenRequest, access: TheAccess) -> JSONResponse:
        """Exchange client credentials for an access token."""
        token = access.new_token(body.client_id, body.client_secret)
        if token is None:
            return problem(401, "The client ID or the client secret is wrong.")
        lifetime = int(access.token_lifetime)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": lifetime})

    return routes


def _agent_routes() -> APIRouter:
    async def authorize(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)], access: TheAccess
    ) -> None:
        if given is None or not access.allows(given.credentials):
            message = "The access token is missing, unknown or expired."
            raise HTTPException(401, message, {"WWW-Authenticate": "Bearer"})

    routes = APIRouter(prefix="/v1/agents", dependencies=[Depends(authorize)])
    of_all = _problems(400, 401, 429, 500)
    of_one = _problems(400, 401, 403, 404, 429, 500)

    @routes.get("", response_model=schemas.AgentPage, responses=of_all, tags=["agents"])
    async def list_agents(
        store: TheStore, page: schemas.PageNumber = 1, limit: schemas.PageSize = schemas.DEFAULT_PAGE_SIZE
    ) -> JSONResponse:
        """List the agents that this token can see."""
        agents = [agent.as_json for agent in store.agents]
        return page_answer(agents[(page - 1) * limit : page * limit], page, limit, len(agents))

    @routes.get("/{agentId}", response_model=schemas.AgentAnswer, responses=of_one, tags=["agents"])
    async def get_agent(agent_id: schemas.AgentId, store: TheStore) -> JSONResponse:
        """Get one agent."""
        return JSONResponse({"data": store.agent(agent_id).as_json})

    @routes.get("/{agentId}/call-logs", response_model=schemas.CallLogPage, responses=of_one, tags=["agents"])
    async def list_call_logs(
        agent_id: schemas.AgentId,
        store: TheStore,
        page: schemas.PageNumber = 1,
        limit: schemas.PageSize = schemas.DEFAULT_PAGE_SIZE,
    ) -> JSONResponse:
        """List the transcripts of the agent's calls, latest end first."""
        logs, total = store.page_of_logs(store.agent(agent_id), page, limit)
        return page_answer(logs, page, limit, total)

    @routes.post(
        "/{agentId}/outbound-calls",
        status_code=202,
        response_model=schemas.AcceptedCall,
        responses=of_one,
        tags=["outbound calls"],
    )
    async def place_call(
        agent_id: schemas.AgentId, body: schemas.CallRequest, store: TheStore
    ) -> JSONResponse:
        """Place a call. Not idempotent: two requests are two calls."""
        requested = body.model_dump(exclude_unset=True)
        requested["request_metadata"] = requested.pop("metadata", None)
        call = store.place(agent_id, **requested)
        answer = {"id": call.id, "status": "queued", "room_name": call.room_name}
        return JSONResponse({**answer, "created_at": timestamp(call.created_at)}, 202)

    @routes.get(
        "/{agentId}/outbound-calls",
        response_model=schemas.CallPage,
        responses=of_one,
        tags=["outbound calls"],
    )
    async def list_calls(
        agent_id: schemas.AgentId,
        store: TheStore,
        page: schemas.PageNumber = 1,
        limit: schemas.PageSize = schemas.DEFAULT_PAGE_SIZE,
        status: schemas.StatusFilter = None,
    ) -> JSONResponse:
        """List the agent's calls, newest first."""
        calls, total = store.page_of_calls(store.agent(agent_id), page, limit, status)
        return page_answer(calls, page, limit, total)

    @routes.get(
        "/{agentId}/outbound-calls/{callId}",
        response_model=schemas.CallRecord,
        responses=of_one,
        tags=["outbound calls"],
    )
    async def get_call(agent_id: schemas.AgentId, call_id: schemas.CallId, store: TheStore) -> JSONResponse:
        """Get the record of a call as it is now."""
        return JSONResponse(store.record(store.call(call_id, agent_id)))

    return routes


async def _bad_parameters(_: Request, error: Exception) -> JSONResponse:
    """Answer 400, and say which parameter is wrong but not its value: it may be personal."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type alone
    wrong: dict[str, str] = {}
    for each in error.errors():
        # The second part is the parameter's name; any further ones are inside of it.
        name = ".".join(str(part) for part in each["loc"][:2])
        wrong.setdefault(name, f"{name}: {each['msg']}")
    # A name in the body may contain a lone surrogate, which can't be encoded.
    return problem(400, "; ".join(wrong.values()).encode("utf-8", "replace").decode())


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101 - for the type alone
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return problem(error.status_code, str(error.detail), headers)


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes with the request's path; Starlette returns only those of the first."""
    matching = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in route.methods})


async def _not_found(_: Request, error: Exception) -> JSONResponse:
    return problem(404, str(error))


async def _not_scripted(_: Request, error: Exception) -> JSONResponse:
    return problem(400, str(error))


async def _forbidden(_: Request, error: Exception) -> JSONResponse:
    return problem(403, str(error))


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors that a route documents."""
    return {status: {"model": schemas.Problem, "description": _DESCRIPTIONS[status]} for status in statuses}


class _SandboxApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document without FastAPI's 422 answers: the API has 400 instead."""
        if self.openapi_schema is None:
            document = super().openapi()
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return super().openapi()
