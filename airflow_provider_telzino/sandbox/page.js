// Shows the sandbox's calls, and refreshes them every second. Text from a call is set as text, never as HTML.
"use strict";

const REFRESH_MS = 1000;
const CLASSES = ["status", "number", "placed", "talk", "outcome", "id"];
const state = document.getElementById("state");
const rows = document.querySelector("#calls tbody");

function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function between(from, to) {
  return (Date.parse(to) - Date.parse(from)) / 1000;
}

function talk(call, now) {
  if (call.duration !== null) return span(call.duration);
  if (call.answered_at !== null && call.ended_at === null) return span(between(call.answered_at, now));
  return "";
}

function outcome(call) {
  const sip = call.sip_status_code === null ? "" : `SIP ${call.sip_status_code}`;
  const summary = (call.summary_text ?? "").split("\n", 1)[0];
  const said = [summary, sip, call.error].filter(Boolean).join(" · ");
  return said || (call.ended_at === null ? call.call_context ?? "" : "");
}

function row(call, now) {
  const line = document.createElement("tr");
  const texts = [
    call.status, call.to_number, `${span(between(call.created_at, now))} ago`, talk(call, now), outcome(call), call.id,
  ];
  texts.forEach((text, column) => {
    const cell = document.createElement("td");
    cell.className = CLASSES[column];
    cell.textContent = String(text).slice(0, 200);
    line.append(cell);
  });
  if (/^[a-z_]+$/.test(call.status)) line.firstChild.classList.add(call.status);
  return line;
}

async function refresh() {
  try {
    const answer = await fetch("/sandbox/calls.json", { cache: "no-store" });
    const seen = await answer.json();
    rows.replaceChildren(...seen.calls.map((call) => row(call, seen.now)));
    document.getElementById("empty").hidden = seen.calls.length > 0;
    document.getElementById("total").textContent =
      seen.total > seen.calls.length ? `the newest ${seen.calls.length} of ${seen.total}` : `${seen.total}`;
    const pace = seen.speed === 0 ? "its clock stands still" : seen.speed === 1 ? "real time" : `${seen.speed} times as fast`;
    state.textContent = `Live, ${pace}.`;
    state.className = "";
  } catch (error) {
    state.textContent = "The sandbox does not answer. Has it been stopped?";
    state.className = "lost";
  }
  setTimeout(refresh, REFRESH_MS);
}

refresh();
