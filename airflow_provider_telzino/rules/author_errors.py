"""Errors that a DAG author's own function raised, reported without its message: it may contain a contact."""

from __future__ import annotations

from airflow_provider_telzino.exceptions import TelzinoError


def author_error(function: str, error: Exception) -> TelzinoError:
    """Build the error that is to be raised instead, ``from None``. Airflow may retry it.

    Args:
        function: What the message calls the function.
        error: What it raised.
    """
    return TelzinoError(
        f"{function} raised {type(error).__name__}{_line_of(error)}, so nobody is called. Correct the "
        "function, or retry the task once what it reads is available again."
    )


def _line_of(error: BaseException) -> str:
    """Return where an error was raised, for its author to find it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" (line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name})"
