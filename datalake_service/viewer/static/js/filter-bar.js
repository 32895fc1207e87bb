/** The conditions that hold, as chips: what they say, and a way to drop each. */

import { html } from "./html.js";
import { describe } from "./filters.js";
import { Text } from "./text.js";
import { Icon } from "./ui.js";
import { plain } from "./visible.js";

/**
 * @param {{
 *   view: import("./view.js").View,
 *   change: (change: Partial<import("./view.js").View>, options?: { replace?: boolean }) => void,
 *   edit: () => void,
 *   batches: string[],
 * }} props
 */
export function FilterBar({ view, change, edit }) {
  const parts = view.filter === null ? [] : view.filter.type === "all" ? view.filter.filters : [view.filter];
  if (parts.length === 0 && view.search === null && view.batch === null && view.sample === null && view.sort === null) return null;
  const without = (/** @type {number} */ at) => {
    const rest = parts.filter((/** @type {any} */ _, /** @type {number} */ index) => index !== at);
    change({ filter: rest.length ? { type: "all", filters: rest } : null });
  };
  const chip = (/** @type {string} */ text, /** @type {() => void} */ drop, /** @type {(() => void) | null} */ open = null) => html`<li class="chip">
      ${open === null ? html`<span class="chip-text"><${Text} text=${text} limit=${160} /></span>` : html`<button class="chip-text" title="Edit the filter" onClick=${open}><${Text} text=${text} limit=${160} /></button>`}
      <button class="chip-drop" aria-label=${`Remove: ${plain(text).slice(0, 80)}`} onClick=${drop}><${Icon} name="close" /></button>
    </li>`;
  return html`<ul class="chips" aria-label="What narrows and orders the rows">
    ${view.batch !== null && chip(`batch ${view.batch}`, () => change({ batch: null }))}
    ${view.search !== null && chip(`${view.search.column} has “${view.search.text}”`, () => change({ search: null }))}
    ${parts.map((/** @type {any} */ node, /** @type {number} */ at) => chip(describe(node), () => without(at), edit))}
    ${view.sort !== null && chip(`sorted by ${view.sort.column}, ${view.sort.order === "asc" ? "smallest" : "largest"} first`, () => change({ sort: null }))}
    ${view.sample !== null && chip(`${view.sample.rows} rows at random`, () => change({ sample: null }))}
    ${(parts.length > 0 || view.search !== null || view.batch !== null) && html`<li><button class="quiet" onClick=${() => change({ filter: null, search: null, batch: null })}>Clear</button></li>`}
  </ul>`;
}
