/** Who holds what, and until when. */

import { html, classes } from "./html.js";
import { Name, Text } from "./text.js";
import { Ago } from "./ui.js";

/** @param {{ leases: any[] }} props */
export const Leases = ({ leases }) => html`<div class="list-box" tabindex="0" role="region" aria-label="Leases"><table class="list">
  <thead><tr><th scope="col">What</th><th scope="col">Dataset</th><th scope="col">Held by</th><th scope="col">Ends</th><th scope="col">State</th></tr></thead>
  <tbody>${leases.map((lease) => html`<tr key=${lease.key}>
    <td><${Text} text=${String(lease.what ?? "")} /> ${(lease.annotator ?? lease.batch) && html`<b><${Name} name=${lease.annotator ?? lease.batch} /></b>`}</td>
    <td>${lease.dataset && html`<a href=${`/d/${encodeURIComponent(lease.dataset)}`}><${Name} name=${lease.dataset} /></a>`}</td>
    <td><${Text} text=${String(lease.host ?? "")} />${lease.pid ? html` <span class="faint">process ${lease.pid}</span>` : null}</td>
    <td><${Ago} iso=${lease.until} /></td>
    <td><span class=${classes("state", lease.state === "expired" ? "failed" : "done")}>${lease.state}</span></td>
  </tr>`)}</tbody></table></div>`;
