"""The page at ``/`` that shows the calls live. It loads nothing from other hosts."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse, Response

from airflow_provider_telzino.sandbox.magic_numbers import TABLE
from airflow_provider_telzino.sandbox.schemas import PageNumber
from airflow_provider_telzino.sandbox.scope import TheStore
from airflow_provider_telzino.sandbox.search import call_with_transcript, found_calls

# The page shows what clients sent. It escapes that, and this policy blocks whatever it may have missed.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
ASSETS = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "call.js": "text/javascript",
    "elements.js": "text/javascript",
}


def html_page() -> str:
    """Return the page with the table of magic numbers; its script fills in the calls."""
    rows = "\n".join(
        f"<tr><td><code>{escape(magic.number)}</code></td><td>{escape(magic.description)}</td></tr>"
        for magic in TABLE
    )
    return _asset("page.html").replace("<!-- magic numbers -->", rows)


def page_routes() -> APIRouter:
    """Return the routes of the page. They need no token."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def show_page() -> HTMLResponse:
        return HTMLResponse(html_page(), headers=HEADERS)

    @routes.get("/sandbox/calls.json")
    async def show_calls(
        store: TheStore, page: PageNumber = 1, status: str | None = None, number: str = "", run: str = ""
    ) -> JSONResponse:
        found = found_calls(store, page, status=status, number=number, run=run)
        return JSONResponse(found, headers=HEADERS)

    @routes.get("/sandbox/calls/{call_id}.json")
    async def show_call(call_id: str, store: TheStore) -> JSONResponse:
        return JSONResponse(call_with_transcript(store, call_id), headers=HEADERS)

    @routes.get("/sandbox/{name}")
    async def show_asset(name: str) -> Response:
        if name not in ASSETS:
            return Response(status_code=404)
        return Response(_asset(name), media_type=ASSETS[name], headers=HEADERS)

    return routes


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
