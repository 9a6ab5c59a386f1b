"""What belongs to the one sandbox that received a request: all sandboxes of a process share their routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from airflow_provider_telzino.sandbox.access import Access
from airflow_provider_telzino.sandbox.store import Store

STORE, ACCESS = "sandbox_store", "sandbox_access"
"""Names in the ASGI scope."""


async def _store(request: Request) -> Store:
    store: Store = request.scope[STORE]
    return store


async def _access(request: Request) -> Access:
    access: Access = request.scope[ACCESS]
    return access


TheStore = Annotated[Store, Depends(_store)]
TheAccess = Annotated[Access, Depends(_access)]
