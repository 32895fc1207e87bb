/** A JSON value as a tree that opens and closes. */

import { html, useState } from "./html.js";
import { plural } from "./format.js";
import { Text } from "./text.js";

const AT_ONCE = 100;
const OPEN_DEPTH = 2;

/**
 * A value that holds no others.
 * @param {{ value: any }} props
 */
export function Scalar({ value }) {
  if (value === null || value === undefined) return html`<span class="null">null</span>`;
  if (typeof value === "string")
    return html`<span class="json-text">"<${Text} text=${value} links limit=${4000} />${value.length > 4000 ? "…" : ""}"</span>`;
  return html`<span class=${typeof value === "number" ? "json-number" : "json-word"}>${String(value)}</span>`;
}

/**
 * @param {{ value: any, depth?: number, label?: any }} props
 */
export function JsonTree({ value, depth = 0, label = null }) {
  const [open, setOpen] = useState(depth < OPEN_DEPTH);
  const [limit, setLimit] = useState(AT_ONCE);
  if (value === null || typeof value !== "object") return html`<div class="json-line">${label}<${Scalar} value=${value} /></div>`;
  const isList = Array.isArray(value);
  const entries = isList ? value.map((item, at) => [String(at), item]) : Object.entries(value);
  const summary = isList ? `[${plural(entries.length, "item")}]` : `{${plural(entries.length, "key")}}`;
  if (entries.length === 0) return html`<div class="json-line">${label}<span class="faint">${isList ? "[]" : "{}"}</span></div>`;
  return html`<div class="json-node">
    <button class="json-toggle" aria-expanded=${String(open)} onClick=${() => setOpen(!open)}>
      <span class="turn" aria-hidden="true">${open ? "▾" : "▸"}</span>${label}<span class="faint">${summary}</span>
    </button>
    ${open &&
    html`<div class="json-children">
      ${entries.slice(0, limit).map(([key, item]) => html`<${JsonTree} key=${key} value=${item} depth=${depth + 1} label=${keyLabel(key, isList)} />`)}
      ${entries.length > limit &&
      html`<button class="quiet" onClick=${() => setLimit(limit * 4)}>Show more of ${plural(entries.length, "item")}</button>`}
    </div>`}
  </div>`;
}

/** @param {string} key @param {boolean} isIndex */
const keyLabel = (key, isIndex) =>
  html`<span class=${isIndex ? "json-index" : "json-key"}>${isIndex ? key : html`<${Text} text=${key} />`}: </span>`;
