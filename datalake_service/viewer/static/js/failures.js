/** Annotations that failed, by kind. */

import { html } from "./html.js";
import { getFailures } from "./api.js";
import { cost, count, plural } from "./format.js";
import { usePaged } from "./paged.js";
import { rowAddress } from "./route.js";
import { Name, Text } from "./text.js";
import { Ago, Empty, Failure, Loading } from "./ui.js";
import { plain } from "./visible.js";

/**
 * @param {{ dataset: string, version: string, annotator: string | null, kind: string | null, choose: (what: { annotator: string | null, kind: string | null }) => void }} props
 */
export function Failures({ dataset, version, annotator, kind, choose }) {
  const list = usePaged(JSON.stringify([dataset, annotator, kind, version]), (cursor, signal) => getFailures(dataset, [["annotator", annotator], ["kind", kind], ["cursor", cursor], ["limit", 50]], signal));
  if (list.first === null) return list.error ? html`<${Failure} error=${list.error} />` : html`<${Loading} what="failures" />`;
  const kinds = /** @type {{ annotator: string, kind: string, rows: number }[]} */ (list.first.kinds);
  if (kinds.length === 0 && list.items.length === 0 && annotator === null && kind === null) return html`<${Empty} title="No annotation failed" />`;
  const most = Math.max(1, ...kinds.map((one) => one.rows));
  return html`
    <section class="card" aria-label="Failures by kind"><h2>${plural(kinds.reduce((sum, one) => sum + one.rows, 0), "failure")} by kind<span class="space"></span>${(annotator !== null || kind !== null) && html`<button class="quiet" onClick=${() => choose({ annotator: null, kind: null })}>All kinds</button>`}</h2>
      <ul class="bars" aria-label="Failures by kind">${kinds.map((one, at) => html`<li key=${at}><button class="bar-line" aria-label=${`${plain(one.annotator)}, ${plain(one.kind)}: ${count(one.rows)} rows. Show them.`} onClick=${() => choose({ annotator: one.annotator, kind: one.kind })}>
        <span class="bar-name"><span class="annotator"><${Name} name=${one.annotator} /></span> <${Text} text=${one.kind} /></span><span class="bar-space"><span class="bar failed" style=${{ width: `${(100 * one.rows) / most}%` }}></span></span><span class="bar-rows">${count(one.rows)}</span></button></li>`)}</ul></section>
    ${list.error && html`<${Failure} error=${list.error} />`}
    <div class="list-box" tabindex="0" role="region" aria-label="Failed annotations"><table class="list">
      <thead><tr><th scope="col">Row</th><th scope="col">Batch</th><th scope="col">Annotator</th><th scope="col">Kind</th><th scope="col">Message</th><th scope="col" class="right">Attempts</th><th scope="col" class="right">Cost</th><th scope="col">When</th></tr></thead>
      <tbody>${list.items.map((item, at) => html`<tr key=${at}><td><a href=${rowAddress(dataset, item.batch, item.id)}><${Name} name=${item.id} /></a></td><td><${Name} name=${item.batch} /></td><td><${Name} name=${item.annotator} /></td><td><${Text} text=${String(item.kind)} /></td><td class="wrap"><${Text} text=${String(item.message ?? "")} limit=${600} /></td><td class="right">${count(item.attempts)}</td><td class="right">${cost(item.cost)}</td><td><${Ago} iso=${item.at} /></td></tr>`)}</tbody></table></div>
    ${list.next !== null && html`<button disabled=${list.loading} onClick=${list.more}>Show more</button>`}`;
}
