/** A row beside the table. */

import { html } from "./html.js";
import { getRow } from "./api.js";
import { rowAddress } from "./route.js";
import { RowDetails, rowJson } from "./row-details.js";
import { useAnswer } from "./store.js";
import { CopyButton, Failure, Icon, Loading } from "./ui.js";

/**
 * @param {{ dataset: string, batch: string, id: string, close: () => void, step: (by: number) => void }} props
 */
export function RowPanel({ dataset, batch, id, close, step }) {
  const answer = useAnswer(JSON.stringify([dataset, batch, id]), (signal) => getRow(dataset, batch, id, signal));
  const row = answer.data !== null && answer.data.id === id && answer.data.batch === batch ? answer.data : null;
  return html`<aside class="panel" aria-label="Row">
    <div class="panel-head">
      <button class="square quiet" aria-label="Previous row" title="Previous row (k)" onClick=${() => step(-1)}><${Icon} name="up" /></button>
      <button class="square quiet" aria-label="Next row" title="Next row (j)" onClick=${() => step(1)}><${Icon} name="down" /></button>
      <span class="space"></span>
      ${row && html`<${CopyButton} quiet text=${() => rowJson(row)} label="JSON" title="Copy the row as JSON" />`}
      <a class="button quiet" href=${rowAddress(dataset, batch, id)} title="The row on its own page (o)"><${Icon} name="expand" />Page</a>
      <button class="square quiet" aria-label="Close the row" title="Close (esc)" onClick=${close}><${Icon} name="close" /></button>
    </div>
    <div class="panel-body" tabindex="0" role="region" aria-label="Details of the row">
      ${answer.error && !answer.loading && html`<${Failure} error=${answer.error} again=${answer.again} />`}
      ${row === null && !answer.error && html`<${Loading} what="the row" />`}
      ${row && html`<${RowDetails} key=${`${batch}\n${id}`} dataset=${dataset} row=${row} />`}
    </div>
  </aside>`;
}
