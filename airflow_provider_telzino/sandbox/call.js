// One call, in a dialog: what became of it, the run that placed it, summary, transcript, and the whole record.
"use strict";

import { element, fetchJson, link, seconds, setText, showStatus, span } from "./elements.js";

const dialog = document.getElementById("call");
const part = (name) => dialog.querySelector(`[data-part="${name}"]`);
let shownId = null;
let shownAnswer = "";
let addressOf = null;

/** Open a call. `address` returns the address of the list with other filters. */
export async function showCall(id, address) {
  addressOf = address;
  if (id === shownId) return;
  [shownId, shownAnswer] = [id, ""];
  part("content").hidden = true;
  setText(part("missing"), "");
  showStatus(part("status"), "");
  setText(part("title"), "Call");
  if (!dialog.open) dialog.showModal();
  await refreshCall();
}

export function closeCall() {
  shownId = null;
  if (dialog.open) dialog.close();
}

/** Fetch the open call again, and show it if anything has changed. */
export async function refreshCall() {
  const id = shownId;
  if (id === null) return;
  try {
    const answer = await fetchJson(`/sandbox/calls/${encodeURIComponent(id)}.json`);
    const text = await answer.text();
    if (id !== shownId || text === shownAnswer) return;
    shownAnswer = text;
    part("content").hidden = !answer.ok;
    setText(part("missing"), answer.ok ? ""
      : `There is no call ${id}. The sandbox keeps its calls in memory, until it is stopped.`);
    if (answer.ok) show(JSON.parse(text));
  } catch (error) {
    // The list says that the sandbox does not answer.
  }
}

function show({ record, agent, transcript }) {
  showStatus(part("status"), String(record.status));
  setText(part("title"), `Call to ${record.to_number}`);
  showFacts("facts", factsOf(record, agent));
  showFacts("run", runOf(record));
  showSection("summary", record.summary_text, markdown);
  showSection("transcript", transcript, conversation);
  showSection("context", record.call_context, (text) => [text]);
  setText(part("record"), JSON.stringify(record, null, 2));
}

function factsOf(record, agent) {
  const since = (moment) => `${clock(moment)}, ${span(seconds(record.created_at, moment))} later`;
  const calls = link(addressOf({ call: "", status: "", run: "", page: "", number: record.to_number }), "all calls to it");
  return [
    ["Number", element("span", "", `${record.to_number} (`, calls, ")")],
    ["Call id", element("code", "", String(record.id))],
    ["Agent", element("span", "", `${agent}, `, element("code", "", String(record.agent_id)))],
    ["Placed", clock(record.created_at)],
    ["Answered", record.answered_at === null ? null : since(record.answered_at)],
    ["Ended", record.ended_at === null ? null : since(record.ended_at)],
    ["Talk", record.duration === null ? null : span(record.duration)],
    ["SIP code", record.sip_status_code],
    ["Error", record.error],
  ];
}

/** Return what the call's metadata says: the task of Airflow that placed it, and the rest. */
function runOf(record) {
  const metadata = record.request_metadata;
  if (metadata === null || typeof metadata !== "object") return [];
  const { airflow, ...others } = metadata;
  const isTask = airflow !== null && typeof airflow === "object";
  const facts = Object.entries(isTask ? airflow : {}).map(([name, value]) => [name, shown(name, value)]);
  const rest = isTask ? others : metadata;
  return [...facts, ...Object.entries(rest).map(([name, value]) => [name, shown("", value)])];
}

function shown(name, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (!["dag_id", "run_id", "task_id", "contact"].includes(name)) return text;
  return link(addressOf({ call: "", status: "", number: "", page: "", run: text }), text);
}

function showFacts(name, facts) {
  const known = facts.filter(([, value]) => value !== null && value !== undefined);
  part(`${name}-section`).hidden = known.length === 0;
  part(name).replaceChildren(...known.flatMap(([title, value]) => [
    element("dt", "", title), element("dd", "", value instanceof Node ? value : String(value)),
  ]));
}

function showSection(name, content, children) {
  part(`${name}-section`).hidden = !content;
  part(name).replaceChildren(...(content ? children(content) : []));
}

/** Return the text with what is between ** and ** in bold; the rest of the Markdown is shown as it is. */
function markdown(text) {
  return String(text).split("**").map((piece, index) => (index % 2 ? element("strong", "", piece) : piece));
}

function conversation(entries) {
  return entries.filter((entry) => !entry.is_partial).map((entry) => {
    const speaker = entry.speaker === "agent" ? "agent" : "user";
    return element("li", speaker,
      element("small", "", `${entry.speaker}, ${Number(entry.timestamp).toFixed(1)} s`), element("p", "", entry.text));
  });
}

function clock(moment) {
  return `${String(moment).slice(0, 19).replace("T", " ")} UTC`;
}
