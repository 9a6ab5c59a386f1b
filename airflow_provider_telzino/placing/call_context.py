"""A campaign's ``call_context``: a template of the DAG author's, rendered for each contact.

It isn't one of the task's template fields, so that no contact's data is in the fields that Airflow stores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from airflow_provider_telzino.api.arguments import checked_context, is_literal
from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.version_compat import render_to_text, text_environment


def compiled_context(call_context: object, task: Any) -> jinja2.Template:
    """Compile the template once for all contacts, as the task's DAG has set up Jinja.

    Args:
        call_context: The template.
        task: The task that has it.

    Raises:
        TelzinoArgumentError: It is no text, or no template. Without a placeholder it may also be too long.
    """
    if not isinstance(call_context, str) or is_literal(call_context):
        call_context = checked_context(call_context)
    try:
        template: jinja2.Template = text_environment(task).from_string(call_context)
    except jinja2.TemplateSyntaxError as error:
        raise TelzinoArgumentError(
            f"`call_context` is not a valid Jinja template: there is a mistake in line {error.lineno}."
        ) from None
    return template


def context_renderer(
    template: jinja2.Template, context: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that renders the template for a contact.

    Args:
        template: See :func:`compiled_context`.
        context: Airflow's context, all of which the template may use beside ``contact``.
    """
    scope: Any = copy.copy(context)

    def render(contact: Mapping[str, Any]) -> str:
        scope["contact"] = contact
        return render_to_text(template, scope)

    return render
