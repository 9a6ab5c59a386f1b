"""The colours in which Airflow draws our tasks in a graph."""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator, BaseSensorOperator

from airflow_provider_telzino.get_provider_info import get_provider_info
from airflow_provider_telzino.operators.call import TelzinoGetCallOperator, TelzinoPlaceCallOperator
from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator
from airflow_provider_telzino.operators.transcript import TelzinoGetTranscriptOperator
from airflow_provider_telzino.sensors.batch import TelzinoCallBatchSensor
from airflow_provider_telzino.sensors.call import TelzinoCallSensor
from tests.support.contact_dags.dags import serialized

KINDS: list[set[Any]] = [
    {TelzinoCallSensor, TelzinoCallBatchSensor, TelzinoGetCallOperator},
    {TelzinoPlaceCallOperator},
    {TelzinoCampaignOperator},
    {TelzinoGetTranscriptOperator},
]
"""Tasks that wait, that place a call, that place many, and that get a transcript."""
ALL = sorted(set().union(*KINDS), key=lambda each: each.__name__)
READABLE = 4.5
"""The contrast that WCAG 2 asks for (AA, text of normal size)."""
APART = 30.0
"""A distance, in 8-bit RGB, at which two pale colours next to each other can be told apart."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "TelzinoPlaceCallOperator": {"to_number": "+15005550100"},
    "TelzinoCampaignOperator": {"contacts": ["+15005550100"]},
    "TelzinoGetTranscriptOperator": {"transcript_id": "{{ params.id }}"},
    "TelzinoCallBatchSensor": {"call_ids": "{{ params.ids }}"},
    "TelzinoCallSensor": {"call_id": "{{ params.id }}"},
    "TelzinoGetCallOperator": {"call_id": "{{ params.id }}"},
}


def channels(colour: str) -> tuple[float, ...]:
    """Return red, green and blue of ``#rrggbb``, 0 to 255."""
    colour = colour if len(colour) == 7 else "#" + "".join(each * 2 for each in colour[1:])
    return tuple(float(each) for each in bytes.fromhex(colour[1:]))


def luminance(rgb: tuple[float, ...]) -> float:
    """Return the relative luminance, as WCAG 2 defines it."""
    linear = (each / 255 for each in rgb)
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in linear
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast ratio, as WCAG 2 defines it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def distance(one: str, other: str) -> float:
    """Return how far apart two colours are."""
    return math.dist(channels(one), channels(other))


def faded(rgb: tuple[float, ...]) -> tuple[float, ...]:
    """Return the colour as Airflow 2.11 draws it: four fifths of it, with white."""
    return tuple(0.8 * each + 0.2 * 255 for each in rgb)


def test_contrast_is_what_wcag_says() -> None:
    """Black on white has 21, and its example of a grey that just passes has 4.5."""
    assert contrast(channels("#000"), channels("#ffffff")) == pytest.approx(21)
    assert contrast(channels("#767676"), channels("#fff")) == pytest.approx(4.54, abs=0.01)


def test_every_operator_and_sensor_has_a_kind() -> None:
    """Those that the provider info names."""
    info = get_provider_info()
    names = [
        name for kind in ("operators", "sensors") for each in info[kind] for name in each["python-modules"]
    ]
    modules = [importlib.import_module(name) for name in names]
    found = {
        each
        for module in modules
        for _, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__ and issubclass(each, BaseOperator)
    }

    assert found == set(ALL)


def test_a_kind_has_one_colour_of_its_own() -> None:
    """It can be told apart from the others', and from those of Airflow's own tasks and sensors."""
    backgrounds = [{each.ui_color for each in kind} for kind in KINDS]

    assert [len(each) for each in backgrounds] == [1] * len(KINDS)
    ours, airflows = (
        [each.pop() for each in backgrounds],
        [BaseOperator.ui_color, BaseSensorOperator.ui_color],
    )
    for pair in [*itertools.combinations(ours, 2), *itertools.product(ours, airflows)]:
        assert distance(*pair) >= APART, pair


@pytest.mark.parametrize("operator", ALL)
def test_the_text_can_be_read(operator: Any) -> None:
    """The operator's name, in its own colour, and the task's name, in black; on the faded colour, too."""
    background, text = channels(operator.ui_color), channels(operator.ui_fgcolor)

    for shown in (background, faded(background)):
        assert contrast(text, shown) >= READABLE
        assert contrast(channels("#000000"), shown) >= READABLE


@pytest.mark.parametrize("operator", ALL)
def test_airflow_stores_the_colours(operator: Any) -> None:
    """Also those of a mapped task, with its DAG, from where the web interface takes them."""
    arguments = ARGUMENTS[operator.__name__]
    with DAG("colours", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        operator(task_id="one", **arguments)
        operator.partial(task_id="mapped", **arguments).expand(telzino_conn_id=["one", "other"])

    for task in serialized(dag)["dag"]["tasks"]:
        stored = task["__var"]
        assert (stored["ui_color"], stored["ui_fgcolor"]) == (operator.ui_color, operator.ui_fgcolor)
