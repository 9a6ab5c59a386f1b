// The list of calls, which is fetched every second, one page of it. What it shows is in the address, after the #:
// status, number, run, page, and the call that is open.
"use strict";

import { STATUSES, element, fetchJson, figure, link, seconds, setText, showStatus, span } from "./elements.js";
import { closeCall, refreshCall, showCall } from "./call.js";

const REFRESH_MS = 1000;
const TYPING_MS = 250;
const FILTERS = ["status", "number", "run"];
const COLUMNS = ["status", "number", "placed", "talk", "outcome", "run", "contact"];

const find = (id) => document.getElementById(id);
const rows = document.querySelector("#calls tbody");
const dialog = find("call");
const shownRows = new Map();
const chips = new Map();
let newestRequest = 0;
let shownRuns = "";

function wanted() {
  return new URLSearchParams(location.hash.slice(1));
}

/** Return the address of what is shown now, with these changes. */
function address(changes) {
  const parameters = wanted();
  for (const [name, value] of Object.entries(changes)) {
    if (value) parameters.set(name, value);
    else parameters.delete(name);
  }
  return `#${parameters}`;
}

function isFiltered() {
  return FILTERS.some((name) => wanted().get(name));
}

function newRow() {
  const line = element("tr", "");
  for (const column of COLUMNS) line.append(element("td", column));
  line.children[1].append(link("", ""));
  line.addEventListener("click", (event) => {
    if (String(getSelection()) !== "" || event.target.closest("a")) return;
    const opening = line.querySelector("a");
    opening.focus(); // It gets the focus back when the call is closed.
    opening.click();
  });
  return line;
}

function fill(line, call, now) {
  const [status, number, placed, talk, outcome, run, contact] = line.children;
  showStatus(status, String(call.status));
  setText(number.firstChild, String(call.to_number));
  const open = address({ call: call.id });
  if (number.firstChild.getAttribute("href") !== open) number.firstChild.href = open;
  setText(placed, `${span(seconds(call.created_at, now))} ago`);
  setText(talk, talkTime(call, now));
  setText(outcome, call.outcome);
  setText(run, [call.run.dag_id, call.run.task_id, call.run.run_id].filter(Boolean).join(" › "));
  setText(contact, call.run.contact ?? (Number(call.run.map_index) >= 0 ? `#${call.run.map_index}` : ""));
}

function talkTime(call, now) {
  if (call.duration !== null) return span(call.duration);
  if (call.answered_at !== null && call.ended_at === null) return span(seconds(call.answered_at, now));
  return "";
}

/** Show these calls. Rows that stay are kept, so that they keep the focus. */
function showRows(calls, now) {
  const ids = new Set(calls.map((call) => call.id));
  for (const [id, line] of shownRows) {
    if (!ids.has(id)) {
      line.remove();
      shownRows.delete(id);
    }
  }
  let next = rows.firstChild;
  for (const call of calls) {
    const line = shownRows.get(call.id) ?? newRow();
    shownRows.set(call.id, line);
    fill(line, call, now);
    if (line === next) next = next.nextSibling;
    else rows.insertBefore(line, next);
  }
}

function showChips(seen) {
  const all = Object.values(seen.counts).reduce((sum, count) => sum + count, 0);
  const counts = { "": all, live: seen.live };
  const others = Object.keys(seen.counts).filter((status) => !STATUSES.includes(status)).sort();
  for (const status of [...STATUSES, ...others]) counts[status] = seen.counts[status] ?? 0;
  const chosen = wanted().get("status") ?? "";
  for (const [status, count] of Object.entries(counts)) {
    if (!chips.has(status)) {
      const chip = element("button", "", element("span", ""), " ", element("b", ""));
      chip.type = "button";
      chip.addEventListener("click", () => { location.hash = address({ status, page: "" }); });
      showStatus(chip.firstChild, status || "all");
      chips.set(status, chip);
      find("statuses").append(chip);
    }
    const chip = chips.get(status);
    setText(chip.lastChild, figure(count));
    chip.setAttribute("aria-pressed", String(status === chosen));
  }
}

function showRuns(runs) {
  const known = JSON.stringify(runs);
  if (known === shownRuns) return;
  shownRuns = known;
  find("runs").replaceChildren(...runs.map((run) => {
    const option = element("option", "", `${run.dag_id}, ${run.calls} calls`);
    option.value = run.run_id;
    return option;
  }));
}

function showState(seen) {
  const pace = seen.speed === 0 ? "its clock stands still"
    : seen.speed === 1 ? "real time" : `${seen.speed} times as fast`;
  setText(find("state"), `Live, ${pace}.`);
  find("state").className = "";
  const limit = seen.max_concurrent_calls;
  if (limit === null) return;
  const each = seen.agents > 1 ? ` for each of ${seen.agents} agents` : "";
  setText(find("limit"),
    `${figure(seen.concurrent)} concurrent calls (the limit is ${figure(limit)}${each}), ${figure(seen.queued)} queued.`);
}

function showPages(seen) {
  const last = seen.first + seen.calls.length;
  setText(find("position"), seen.total === 0 ? "No calls"
    : `${figure(seen.first + 1)} to ${figure(last)} of ${figure(seen.total)}`);
  for (const [id, page] of [["newer", seen.page - 1], ["older", seen.page + 1]]) {
    find(id).disabled = page < 1 || page > seen.pages;
    find(id).value = page;
  }
  find("none").hidden = seen.total > 0 || isFiltered();
  find("no-match").hidden = seen.total > 0 || !isFiltered();
}

async function refresh() {
  const request = ++newestRequest;
  const parameters = wanted();
  parameters.delete("call");
  try {
    const answer = await fetchJson(`/sandbox/calls.json?${parameters}`);
    if (!answer.ok) throw new Error(answer.status);
    const seen = await answer.json();
    if (request !== newestRequest) return; // Another one was sent since.
    showRows(seen.calls, seen.now);
    showChips(seen);
    showRuns(seen.runs);
    showState(seen);
    showPages(seen);
  } catch (error) {
    setText(find("state"), "The sandbox does not answer. Has it been stopped?");
    find("state").className = "lost";
  }
}

/** Show what the address says. */
function follow() {
  const parameters = wanted();
  for (const name of ["number", "run"]) find(name).value = parameters.get(name) ?? "";
  find("clear").hidden = !isFiltered();
  const call = parameters.get("call");
  if (call) showCall(call, address);
  else closeCall();
  return refresh();
}

async function repeat() {
  if (!document.hidden) await Promise.all([refresh(), refreshCall()]);
  setTimeout(repeat, REFRESH_MS);
}

let typing;
for (const name of ["number", "run"]) {
  find(name).addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      history.replaceState(null, "", address({ [name]: find(name).value.trim(), page: "" }));
      find("clear").hidden = !isFiltered();
      refresh();
    }, TYPING_MS);
  });
}
for (const id of ["newer", "older"]) {
  find(id).addEventListener("click", () => { location.hash = address({ page: find(id).value }); });
}
find("clear").addEventListener("click", () => {
  location.hash = address({ status: "", number: "", run: "", page: "" });
});
dialog.addEventListener("close", () => {
  if (wanted().has("call")) location.hash = address({ call: "" });
});
find("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
addEventListener("hashchange", follow);

follow().then(() => setTimeout(repeat, REFRESH_MS));
