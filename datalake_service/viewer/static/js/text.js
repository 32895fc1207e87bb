/** Draws any text: isolated from its surroundings, odd characters as symbols, web addresses as links. */

import { html, useState } from "./html.js";
import { count } from "./format.js";
import { safeLink, segments, withLinks } from "./visible.js";

const AT_ONCE = 20_000;

/** @param {import("./visible.js").Segment} part */
function drawn(part) {
  if (part.kind === "symbol") return html`<span class="symbol" title=${part.title}>${part.text}</span>`;
  if (part.kind === "text") return part.text;
  return html`<a href=${safeLink(part.text)} target="_blank" rel="noopener noreferrer nofollow">${part.text}</a>`;
}

/**
 * Text on which nothing depends but its looks.
 * @param {{ text: string, links?: boolean, limit?: number }} props  limit: characters that are drawn
 */
export function Text({ text, links = false, limit }) {
  const shown = limit !== undefined && text.length > limit ? text.slice(0, limit) : text;
  return html`<bdi class="text">${(links ? withLinks : segments)(shown).map(drawn)}</bdi>`;
}

/**
 * Text of any length: what is long is drawn part by part, when asked for.
 * @param {{ text: string }} props
 */
export function LongText({ text }) {
  const [limit, setLimit] = useState(AT_ONCE);
  if (text === "") return html`<span class="nothing">empty text</span>`;
  return html`
    <${Text} text=${text} links limit=${limit} />
    ${text.length > limit &&
    html`<p class="more">
      <button onClick=${() => setLimit(limit * 4)}>Show more</button>
      <span class="faint">${count(limit)} of ${count(text.length)} characters</span>
    </p>`}
  `;
}

/** A name from the lake: a dataset, a column, an id. @param {{ name: string }} props */
export const Name = ({ name }) => (name === "" ? html`<span class="nothing">(no name)</span>` : html`<${Text} text=${name} />`);

/** The name of a column, its annotator set off. @param {{ column: { name: string, annotator: string | null } }} props */
export function ColumnName({ column }) {
  if (column.annotator === null) return html`<${Name} name=${column.name} />`;
  return html`<span><span class="annotator"><${Name} name=${column.annotator} /><span class="dot">.</span></span><${Name} name=${column.name.slice(column.annotator.length + 1)} /></span>`;
}
