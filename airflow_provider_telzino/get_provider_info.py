"""What Airflow reads from this package: its modules and the form of its connection.

Airflow 3.2 and later draw the form from ``conn-fields`` and ``ui-field-behaviour`` below; older ones ask
the hook, which builds the same form from the same dictionaries.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_telzino import __version__

CONN_TYPE = "telzino"
HOOK_NAME = "Telzino"

CONN_FIELDS: dict[str, dict[str, Any]] = {
    "agent_id": {
        "label": "Agent ID",
        "description": "Default agent (UUID), for tasks that don't name one.",
        "schema": {"type": ["string", "null"]},
    },
    "audience": {
        "label": "OAuth audience",
        "description": "Audience of the access token; empty means https://api.telzino.com/",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Request timeout (seconds)",
        "description": "Seconds that one request may take; empty means 30.",
        "schema": {"type": ["number", "null"]},
    },
    "ca_bundle": {
        "label": "CA bundle",
        "description": "Path of a file with CA certificates (PEM), for a proxy that re-signs TLS.",
        "schema": {"type": ["string", "null"]},
    },
    "call_url": {
        "label": "Call URL",
        "description": "Where people can look at a call; {call_id} stands for its id. Tasks link to it.",
        "schema": {"type": ["string", "null"]},
    },
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "port", "extra"],
    "relabeling": {
        "host": "Base URL",
        "login": "Client ID",
        "password": "Client secret or access token",
    },
    "placeholders": {
        "host": "empty means https://api.telzino.com",
        "login": "OAuth client ID; empty means that the password is an access token",
        "password": "the client secret; without a client ID, an access token",
        "agent_id": "123e4567-e89b-12d3-a456-426614174000",
        "audience": "https://api.telzino.com/",
        "timeout": "30",
        "ca_bundle": "/etc/ssl/certs/company-ca.pem",
        "call_url": "https://calls.example.com/{call_id}",
    },
}


def get_provider_info() -> dict[str, Any]:
    """Describe this provider to Airflow, by the schema ``provider_info.schema.json``.

    Returns:
        The provider's metadata. Airflow asks for it through the entry point ``apache_airflow_provider``.
    """
    package, integration = "airflow_provider_telzino", "Telzino"
    return {
        "package-name": "airflow-provider-telzino",
        "name": "Telzino",
        "description": "Telzino, whose AI agents make phone calls.",
        "versions": [__version__],
        "integrations": [{"integration-name": integration, "tags": ["service"]}],
        "hooks": [{"integration-name": integration, "python-modules": [f"{package}.hooks.telzino"]}],
        "operators": [
            {
                "integration-name": integration,
                "python-modules": [
                    f"{package}.operators.call",
                    f"{package}.operators.campaign",
                    f"{package}.operators.transcript",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": integration,
                "python-modules": [f"{package}.sensors.call", f"{package}.sensors.batch"],
            }
        ],
        "triggers": [
            {
                "integration-name": integration,
                "python-modules": [
                    f"{package}.triggers.call",
                    f"{package}.triggers.batch",
                    f"{package}.triggers.ended_calls",
                ],
            }
        ],
        "extra-links": [f"{package}.waiting.call_link.TelzinoCallLink"],
        "connection-types": [
            {
                "connection-type": CONN_TYPE,
                "hook-class-name": f"{package}.hooks.telzino.TelzinoHook",
                "hook-name": HOOK_NAME,
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }
