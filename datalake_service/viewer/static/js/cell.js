/** One value in a table. */

import { html } from "./html.js";
import { compact, number, time } from "./format.js";
import { Text } from "./text.js";
import { Icon } from "./ui.js";

const DRAWN = 1200; // characters: more than a clamped cell has room for

/**
 * @param {{ value: any, type: string, full?: number, open: boolean }} props  full: length of a text that was cut
 */
export function Cell({ value, type, full, open }) {
  if (value === null || value === undefined) return html`<span class="null">null</span>`;
  if (typeof value === "boolean") return html`<span class=${value ? "yes" : "no"}><${Icon} name=${value ? "check" : "close"} />${String(value)}</span>`;
  if (typeof value === "number") return html`<span class="number" title=${String(value)}>${number(value)}</span>`;
  if (type === "int" || type === "float") return html`<span class="number"><${Text} text=${String(value)} /></span>`;
  if (type === "time" && typeof value === "string") return html`<span class="number" title=${value}>${time(value).replace(" UTC", "")}</span>`;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (text === "") return html`<span class="nothing">empty</span>`;
  const limit = open ? 20_000 : DRAWN;
  const length = full ?? text.length;
  return html`<span class=${typeof value === "string" ? "prose" : "prose json"}><${Text} text=${text} links limit=${limit} /></span>
    ${length > Math.min(limit, text.length) && html`<span class="cut" title="The value is longer">… ${compact(length)} characters</span>`}`;
}
