"""The link from a task to its call, for Airflow's web interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_telzino.api.arguments import is_uuid
from airflow_provider_telzino.api.settings import CALL_ID, Settings
from airflow_provider_telzino.xcom import ATTEMPTS, RETURN_VALUE

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


class TelzinoCallLink(BaseOperatorLink):
    """A button that opens the call, at the URL that the connection's ``call_url`` gives.

    Telzino documents no address of a call, so there is no link without that.
    """

    name = "Call"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the URL of the task's call; empty if there is none.

        Airflow 3 asks on the worker, when the task has run. Airflow 2 asks in its web server, whenever
        somebody looks at the task.
        """
        settings = getattr(operator, "settings_in_use", None)
        if settings is not None:
            return call_link(settings, getattr(operator, "call_id", None))
        return _link_from_xcom(operator, ti_key)


def call_link(settings: Settings, call: object) -> str:
    """Return the URL of a call, given its id or record; empty if the connection gives none."""
    call_id = call.get("id") if isinstance(call, Mapping) else call
    if settings.call_url is None or not is_uuid(call_id):
        return ""
    return settings.call_url.replace(CALL_ID, str(call_id).lower())


def _link_from_xcom(operator: Any, ti_key: Any) -> str:
    from airflow.providers.common.compat.sdk import BaseHook, XCom

    attempts = XCom.get_value(ti_key=ti_key, key=ATTEMPTS)
    call = attempts[-1] if attempts else XCom.get_value(ti_key=ti_key, key=RETURN_VALUE)
    conn_id = getattr(operator, "telzino_conn_id", "")
    if call is None or not conn_id:
        return ""
    return call_link(Settings.from_connection(BaseHook.get_connection(conn_id), conn_id), call)
