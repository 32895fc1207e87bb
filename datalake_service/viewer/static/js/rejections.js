/** What could not be used, by reason, with its bytes. */

import { html } from "./html.js";
import { getRejections } from "./api.js";
import { ValueBars } from "./charts.js";
import { plural } from "./format.js";
import { Bytes } from "./hex.js";
import { usePaged } from "./paged.js";
import { Name, Text } from "./text.js";
import { Ago, Empty, Failure, Loading } from "./ui.js";

/** @param {any} offsets */
const placed = (offsets) => (Array.isArray(offsets) ? offsets.join("–") : typeof offsets === "object" ? Object.entries(offsets).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ") : String(offsets));

/**
 * @param {{ dataset: string, version: string, reason: string | null, choose: (reason: string | null) => void }} props
 */
export function Rejections({ dataset, version, reason, choose }) {
  const list = usePaged(JSON.stringify([dataset, reason, version]), (cursor, signal) => getRejections(dataset, [["reason", reason], ["cursor", cursor], ["limit", 20]], signal));
  if (list.first === null) return list.error ? html`<${Failure} error=${list.error} />` : html`<${Loading} what="rejections" />`;
  const reasons = /** @type {{ reason: string, rows: number }[]} */ (list.first.reasons);
  if (reasons.length === 0 && list.items.length === 0) return html`<${Empty} title="Nothing was rejected" />`;
  const total = reasons.reduce((sum, one) => sum + one.rows, 0);
  return html`
    <section class="card" aria-label="Rejections by reason"><h2>${plural(total, "rejection")} by reason${list.first.partial && html`<span class="faint">of the newest; there are more</span>`}<span class="space"></span>${reason !== null && html`<button class="quiet" onClick=${() => choose(null)}>All reasons</button>`}</h2>
      <${ValueBars} items=${reasons.map((one) => ({ value: one.reason, rows: one.rows }))} total=${total} label="Rejections by reason" pick=${choose} /></section>
    ${list.error && html`<${Failure} error=${list.error} />`}
    ${list.items.map((item, at) => html`<section key=${at} class="card rejection" aria-label="Rejection">
      <h3><${Text} text=${String(item.reason)} /><span class="faint">${item.kind && html`<${Text} text=${String(item.kind)} />`}</span><span class="space"></span><span class="faint"><${Ago} iso=${item.at} /></span></h3>
      ${item.message && html`<p><${Text} text=${String(item.message)} limit=${2000} /></p>`}
      <ul class="facts"><li><span class="faint">batch</span> <${Name} name=${item.batch} /></li>
        ${item.source && html`<li><span class="faint">source</span> <${Text} text=${typeof item.source === "string" ? item.source : JSON.stringify(item.source)} /></li>`}
        ${item.offsets && html`<li><span class="faint">at</span> <${Text} text=${placed(item.offsets)} /></li>`}</ul>
      <${Bytes} base64=${item.bytes ?? ""} size=${item.size ?? 0} />
    </section>`)}
    ${list.next !== null && html`<button disabled=${list.loading} onClick=${list.more}>Show more</button>`}`;
}
