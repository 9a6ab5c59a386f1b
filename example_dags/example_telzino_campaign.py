"""Call everybody who is new in a table, in one task; write the outcomes back, and draw a report of them.

A contact belongs to the DAG run that has taken it, so that no other run calls it. The report is an HTML
file, one for each DAG run, with counts only; the Airflow Variable `telzino_reports` says where: a folder,
or a bucket such as `s3://aws@reports`.

- **Needs** the connection `telzino_default`, `apache-airflow-providers-sqlite` (for PostgreSQL its own
  provider and hook, and `%s` for `?`), `matplotlib` on the workers, and a connection `contacts_db` to a
  database with the table below.
- **Start it** when there are new contacts. It calls real people, unless `telzino_default` leads to a
  sandbox.
- **Change** the statements to fit your table, `call_context`, and how many calls are live at a time
  (`max_active_calls`).

The table, where `list` is where a contact comes from, such as `"Spring renewals"`:

    CREATE TABLE contacts (
        id INTEGER PRIMARY KEY, list TEXT NOT NULL, to_number TEXT NOT NULL, name TEXT, timezone TEXT,
        dag_run TEXT, outcome TEXT, attempts INTEGER, call_id TEXT, ended_at TEXT
    )
"""

from __future__ import annotations

import io
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pendulum
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from airflow.sdk import ObjectStoragePath, dag, task

from airflow_provider_telzino.operators.campaign import TelzinoCampaignOperator

TAKE = "UPDATE contacts SET dag_run = ? WHERE dag_run IS NULL"
READ = "SELECT id, to_number, name, timezone FROM contacts WHERE dag_run = ? ORDER BY id"
WRITE = "UPDATE contacts SET outcome = ?, attempts = ?, call_id = ?, ended_at = ? WHERE id = ?"
COUNT = "SELECT list, outcome, attempts, ended_at FROM contacts WHERE dag_run = ? ORDER BY id"

COLOURS = {
    "completed": "#1b9e83",
    "no_answer": "#f2c14e",
    "busy": "#ee8a45",
    "failed": "#c44536",
    "other": "#a7afb9",  # the call was refused, ruled out, or too late
}


def read_contacts(run_id: str) -> list[dict[str, Any]]:
    """Return the contacts of this run. It runs on the worker: they don't enter Airflow's database."""
    columns = ("id", "to_number", "name", "timezone")
    rows = SqliteHook("contacts_db").get_records(READ, (run_id,))
    return [dict(zip(columns, row, strict=True)) for row in rows]


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["example", "telzino"],
    doc_md=__doc__,  # the web interface shows it
)
def example_telzino_campaign() -> None:
    """Take the new contacts, call them, write the outcomes back, and draw the report."""

    @task(retries=2)
    def take(run_id: str | None = None) -> None:
        """Take the new contacts for this run. From then on its contacts are the same, whatever is added."""
        SqliteHook("contacts_db").run(TAKE, parameters=(run_id,))

    call = TelzinoCampaignOperator(
        task_id="call",
        contacts=read_contacts,
        call_context="You are calling {{ contact.name | default('a customer', true) }} to renew a contract.",
        max_active_calls=100,
        redial_on=["no_answer", "busy"],
        max_attempts=3,
        redial_delay=timedelta(hours=2),
        calling_hours=("09:00", "20:00"),  # of each contact's own time
        record_fields=["id", "ended_at"],  # no personal data in XCom
        retries=3,
    )

    @task(trigger_rule="all_done", retries=3)  # also those of a campaign that has failed
    def write_back(results: Any) -> None:
        """Write the outcomes into the table, however often this runs."""
        rows = []
        for result in results or []:
            record = result["record"] or {}
            outcome = (result["outcome"], result["attempts"], record.get("id"), record.get("ended_at"))
            rows.append((*outcome, result["contact"]))
        with closing(SqliteHook("contacts_db").get_conn()) as connection:
            connection.executemany(WRITE, rows)
            connection.commit()

    @task
    def report(folder: str, run_id: str | None = None) -> str:
        """Draw the report, and return where it is."""
        rows = SqliteHook("contacts_db").get_records(COUNT, (run_id,))
        path = ObjectStoragePath(folder) / f"{run_id}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(report_page(str(run_id), rows).encode())
        return str(path)

    take() >> call
    [call, write_back(call.output)] >> report(
        folder="{{ var.value.get('telzino_reports', 'file:///tmp/telzino_reports') }}"
    )


# --- The report ---


def report_page(run_id: str, rows: list[tuple[Any, ...]]) -> str:
    """Return the report as an HTML page that needs nothing else, neither files nor scripts.

    Args:
        run_id: The DAG run.
        rows: List, outcome, number of calls and end of the last call of each contact.
    """
    from jinja2 import Template  # Airflow's own

    by_list: dict[str, Counter[str]] = {}
    ends: dict[str, list[datetime]] = {outcome: [] for outcome in COLOURS}
    reached_by: Counter[int] = Counter()
    calls = 0
    for name, outcome, attempts, ended_at in rows:
        shown = outcome if outcome in COLOURS else "other"
        by_list.setdefault(name, Counter())[shown] += 1
        calls += attempts or 0
        if ended_at:
            ends[shown].append(datetime.fromisoformat(ended_at).astimezone(timezone.utc))
        if outcome == "completed":
            reached_by[attempts] += 1
    times = [end for each in ends.values() for end in each]
    reached = reached_by.total()
    page: str = Template(PAGE, autoescape=True).render(
        run_id=run_id,
        first=min(times, default=None),
        last=max(times, default=None),
        tiles={
            "contacts": f"{len(rows):,}",
            "reached": f"{reached / len(rows):.0%}" if rows else "none",
            "calls": f"{calls:,}",
            "calls per contact reached": f"{calls / reached:.1f}" if reached else "none",
        },
        charts={
            "Outcomes by contact list": draw(lists_chart, by_list),
            "Which call reached them": draw(attempts_chart, reached_by, len(rows)),
            "When the last call to each contact ended (UTC)": draw(time_chart, ends) if times else "",
        },
        colours=COLOURS,
        by_list=by_list,
    )
    return page


def draw(chart: Any, *figures: Any) -> str:
    """Draw a chart as SVG, in the page's own font."""
    import matplotlib as mpl  # not on the scheduler, and not each time that the DAG file is parsed
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "text.color": "#243240",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#c9d1d9",
        "axes.axisbelow": True,
        "xtick.color": "#5b6875",
        "ytick.color": "#5b6875",
        "grid.color": "#e6eaee",
    }
    with mpl.rc_context(style), io.StringIO() as svg:
        figure = Figure(layout="constrained")
        chart(figure, *figures)
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        return svg.getvalue()[svg.getvalue().index("<svg") :]


def lists_chart(figure: Any, by_list: dict[str, Counter[str]]) -> None:
    """Draw one bar for each list, from those who were reached to those who weren't."""
    figure.set_size_inches(6, max(2.9, 0.5 * len(by_list)))
    axes = figure.subplots()
    names = list(by_list)
    left = [0.0] * len(names)
    for outcome, colour in COLOURS.items():
        shares = [by_list[name][outcome] / by_list[name].total() for name in names]
        axes.barh(names, shares, left=left, color=colour, height=0.62, edgecolor="white")
        left = [start + share for start, share in zip(left, shares, strict=True)]
    for row, name in enumerate(names):
        share = by_list[name]["completed"] / by_list[name].total()
        axes.text(1.02, row, f"{share:.0%} reached", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)


def attempts_chart(figure: Any, reached_by: Counter[int], contacts: int) -> None:
    """Draw how many were reached by the first call, the second, and so on."""
    figure.set_size_inches(6, 2.9)
    axes = figure.subplots()
    last = max(reached_by, default=1)
    bars = {f"call {attempt}": reached_by[attempt] for attempt in range(1, last + 1)}
    bars["not reached"] = contacts - reached_by.total()
    colours = [COLOURS["completed"]] * last + [COLOURS["other"]]
    drawn = axes.bar(list(bars), list(bars.values()), color=colours, width=0.62)
    axes.bar_label(drawn, [f"{count:,}" for count in bars.values()], padding=3, weight="bold")
    axes.margins(y=0.14)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def time_chart(figure: Any, ends: dict[str, list[datetime]]) -> None:
    """Draw when the contacts' last calls ended, and how."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    figure.set_size_inches(12, 2.9)
    axes = figure.subplots()
    times = [date2num(each) for each in ends.values()]
    axes.hist(times, bins=48, stacked=True, color=list(COLOURS.values()), rwidth=0.86)
    locator = AutoDateLocator(maxticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_ylabel("contacts", color="#5b6875")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Campaign {{ run_id }}</title>
<style>
  body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.5rem; color: #243240; background: #f6f8f9; }
  body, svg text { font-family: system-ui, "Segoe UI", "Liberation Sans", sans-serif !important; }
  h1 { margin: 0; font-size: 1.7rem; }
  h2 { margin: 0 0 .6rem; font-size: 1.05rem; }
  p { margin: .3rem 0 1.4rem; color: #5b6875; }
  section, dl div { padding: 1rem 1.2rem; background: white; border: 1px solid #e1e6ea; border-radius: 9px; }
  dl, main { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1rem; margin: 0 0 1rem; }
  dl div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
  dt { color: #5b6875; }
  dd { margin: 0; font-size: 2rem; font-weight: 650; }
  section { grid-column: span 2; overflow: auto; }
  section.wide { grid-column: 1 / -1; }
  svg { display: block; width: 100%; height: auto; }
  table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
  td, th { padding: .35rem .5rem; text-align: right; border-top: 1px solid #e1e6ea; font-weight: normal; }
  thead th { border: 0; color: #5b6875; }
  td:first-child, th:first-child { text-align: left; }
  ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 0 .2rem 1rem; padding: 0; }
  li { list-style: none; }
  i { display: inline-block; width: .8em; height: .8em; border-radius: .2em; margin-right: .35em; }
  @media (max-width: 46rem) { dl { grid-template-columns: 1fr 1fr; } section { grid-column: 1 / -1; } }
</style>
<h1>How the campaign went</h1>
<p>DAG run {{ run_id }}{% if first %}: calls ended between
  {{ first.strftime("%Y-%m-%d %H:%M") }} and {{ last.strftime("%Y-%m-%d %H:%M") }} UTC{% endif %}</p>
<dl>{% for name, figure in tiles.items() %}
  <div><dt>{{ name }}</dt><dd>{{ figure }}</dd></div>{% endfor %}</dl>
{% if by_list %}
<ul>{% for outcome, colour in colours.items() %}
  <li><i style="background: {{ colour }}"></i>{{ outcome.replace("_", " ") }}</li>{% endfor %}</ul>
<main>
  {% for title, svg in charts.items() if svg %}
  <section{% if loop.last %} class="wide"{% endif %}><h2>{{ title }}</h2>{{ svg | safe }}</section>
  {% endfor %}
  <section class="wide">
    <h2>All numbers</h2>
    <table>
      <thead><tr><th></th>{% for outcome in colours %}
        <th>{{ outcome.replace("_", " ") }}</th>{% endfor %}
        <th>contacts</th></tr></thead>
      {% for name, outcomes in by_list.items() %}<tr><th>{{ name }}</th>{% for outcome in colours %}
        <td>{{ outcomes[outcome] }}</td>{% endfor %}<td>{{ outcomes.values() | sum }}</td></tr>{% endfor %}
    </table>
  </section>
</main>
{% else %}<section>Nobody was to be called.</section>{% endif %}
</html>
"""


example_telzino_campaign()
