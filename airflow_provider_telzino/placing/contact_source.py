"""Where a campaign's contacts come from, and how a task gets them without having Airflow store them."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.rules.author_errors import author_error
from airflow_provider_telzino.version_compat import ResolveMixin, named_in_context

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
else:
    BaseOperator = object  # a mixin, as `ParseChecks`


class ContactSource(ResolveMixin):
    """What a DAG author gave as ``contacts``. The task has it as a template field.

    Airflow takes it for a value that is known when the task runs: it finds in it the task whose output the
    contacts are, and neither renders the contacts nor looks into them. What Airflow stores and shows of it,
    in the serialized DAG and as a rendered field, is a description without contacts, the same at each parse.

    Args:
        given: A list, the output of a task, a template, or a function that returns them.
        is_rendered: Whether this is what a running task has: nothing is left to be rendered.
    """

    def __init__(self, given: object, *, is_rendered: bool = False) -> None:
        self.given = given
        self._is_rendered = is_rendered

    @classmethod
    def of(cls, given: object) -> ContactSource:
        """Keep what was given; a mapped task has done so already."""
        return given if isinstance(given, ContactSource) else cls(given)

    def iter_references(self) -> Iterable[Any]:
        """Yield the tasks whose output the contacts are, for Airflow to run them first."""
        return self.given.iter_references() if isinstance(self.given, ResolveMixin) else ()

    def rendered(self, render: Callable[[Any], Any]) -> ContactSource:
        """Render a template and get an output, but leave contacts as they are.

        Args:
            render: Airflow's own way to render a value.
        """
        if self._is_rendered or not isinstance(self.given, (str, ResolveMixin)):
            return self
        return ContactSource(render(self.given), is_rendered=True)

    def read(self, context: Mapping[str, Any]) -> Iterable[Any]:
        """Return the contacts one by one; call the function that has them.

        Raises:
            TelzinoArgumentError: They are no list, or the function needs what the context doesn't have.
            TelzinoError: The function raised.
        """
        return _called(self.given, context) if callable(self.given) else listed(self.given)

    def __repr__(self) -> str:
        if isinstance(self.given, (list, tuple)):
            return f"<contacts: {len(self.given):,}>"
        if isinstance(self.given, ResolveMixin):
            return "<contacts of another task>"
        if callable(self.given):
            return f"<contacts of the function {name_of(self.given)}>"
        return "<contacts>" if self._is_rendered else "<contacts of a template>"


class TakesContacts(BaseOperator):
    """A task with ``contacts``, which Airflow renders but for the contacts themselves. A mixin."""

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task as Airflow does, but keep the contacts out of the serialized DAG."""
        if "contacts" in kwargs:
            kwargs["contacts"] = ContactSource.of(kwargs["contacts"])
        return super().partial(**kwargs)

    def render_template(
        self, content: Any, context: Any, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """Render a value as Airflow does, but not the contacts."""
        if not isinstance(content, ContactSource):
            return super().render_template(content, context, jinja_env, seen_oids)
        # Airflow remembers in `seen_oids` which text is the output of a task: that isn't rendered either.
        return content.rendered(
            lambda given: super(TakesContacts, self).render_template(given, context, jinja_env, seen_oids)
        )


def _called(function: Callable[..., Any], context: Mapping[str, Any]) -> list[Any]:
    """Call the function that has the contacts, and return them."""
    arguments = named_in_context(function, context)
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    missing = [
        f"`{each.name}`"
        for each in inspect.signature(function).parameters.values()
        if each.kind in by_name and each.default is each.empty and each.name not in arguments
    ]
    if missing:
        raise TelzinoArgumentError(
            f"The function for `contacts` needs {', '.join(missing)}, which Airflow's context doesn't have "
            "in this run. (A run that was triggered without a logical date has no `ds` and other dates, but "
            "`dag_run`, with `run_after`.) Correct the name, or give it a default."
        )
    try:
        return list(listed(function(**arguments)))  # all of them: a generator raises only here
    except (AirflowFailException, AirflowSkipException):  # what the author wants of Airflow, or a bad list
        raise
    except Exception as error:  # the function is the DAG author's, and may raise anything
        raise author_error("The function for `contacts`", error) from None


def name_of(function: object) -> str:
    """Return the name of a function, or of the class of an object that can be called.

    It is without the module: Airflow makes up one for each version of a DAG file.
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    return str(named.__qualname__)


def listed(given: object) -> Iterable[Any]:
    """Return the contacts one by one.

    Args:
        given: A list, or another iterable that has an order; or the text of a list, JSON or Python, which a
            rendered template is.

    Raises:
        TelzinoArgumentError: It is something else.
    """
    if isinstance(given, str):
        given = _parsed_list(given)
    if isinstance(given, Mapping):
        problem = "is a single dict. Put it into a list"
    elif isinstance(given, (set, frozenset)):
        problem = "is a set, which has no order. Sort it into a list"
    elif isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        problem = f"is of type {type(given).__name__}. Use the XCom or the function that has the list"
    else:
        return given
    raise TelzinoArgumentError(f"`contacts` should be a list of numbers or dicts, but {problem}.")


def parsed(text: str) -> object:
    """Read text, JSON or Python, which a rendered template is unless the DAG renders native objects.

    Raises:
        ValueError: It is neither.
    """
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError("neither JSON nor Python")


def _parsed_list(text: str) -> object:
    try:
        return parsed(text)
    except ValueError:
        raise TelzinoArgumentError(
            f"`contacts` should be a list of numbers or dicts, but is text ({len(text):,} characters) that "
            "is neither JSON nor Python. Pass the XCom itself (`contacts=task.output`), or end the template "
            "with `| tojson`."
        ) from None
