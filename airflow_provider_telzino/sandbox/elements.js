// Elements and texts that list and call share. Text from a call is set as text, never as HTML.
"use strict";

export const STATUSES = [
  "queued", "dispatching", "dispatched", "dialing", "in_progress", "completed", "no_answer", "busy", "failed",
];

/** Return a new element with this class and these children: elements, or texts. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Return a link to a place of this page. */
export function link(address, text) {
  const made = element("a", "", text);
  made.href = address;
  return made;
}

/** Set an element's text, unless it has it already: so a selection and a screen reader's place stay. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function showStatus(target, status) {
  setText(target, status);
  target.className = STATUSES.includes(status) ? `status ${status}` : "status";
}

/** Return a number as people write it, such as 5,000. */
export function figure(number) {
  return number.toLocaleString("en");
}

export function seconds(from, to) {
  return (Date.parse(to) - Date.parse(from)) / 1000;
}

export function span(length) {
  const whole = Math.max(0, Math.floor(length));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export async function fetchJson(address) {
  return fetch(address, { cache: "no-store", signal: AbortSignal.timeout(10_000) });
}
