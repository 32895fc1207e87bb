/** A row on its own page, with an address to share. */

import { html } from "./html.js";
import { getRow } from "./api.js";
import { useKeys } from "./keyboard.js";
import { backAddress, go, parameters, rowAddress } from "./route.js";
import { RowDetails, rowJson } from "./row-details.js";
import { useAnswer } from "./store.js";
import { Name } from "./text.js";
import { CopyButton, Empty, Failure, Icon, Loading } from "./ui.js";

/**
 * @param {{ dataset: string, query: string }} props
 */
export function RowPage({ dataset, query }) {
  const given = parameters(query);
  const [batch, id] = [given.get("batch"), given.get("id")];
  const known = batch !== undefined && id !== undefined;
  const answer = useAnswer(known ? JSON.stringify([dataset, batch, id]) : null, (signal) => getRow(dataset, batch ?? "", id ?? "", signal));
  const row = answer.data !== null && answer.data.id === id && answer.data.batch === batch ? answer.data : null;
  const to = (/** @type {{ batch: string, id: string } | null | undefined} */ other) => other && go(rowAddress(dataset, other.batch, other.id));
  useKeys([
    { key: "j ArrowRight", does: "Next row", run: () => to(row?.neighbours?.next) },
    { key: "k ArrowLeft", does: "Previous row", run: () => to(row?.neighbours?.previous) },
    { key: "Escape", does: "Back to the rows", run: () => go(backAddress(dataset)) },
  ]);
  if (!known) return html`<${Empty} title="This address names no row"><a href=${backAddress(dataset)}>All rows</a></${Empty}>`;
  const neighbour = (/** @type {"previous" | "next"} */ which, /** @type {any} */ icon, /** @type {string} */ label) => {
    const other = row?.neighbours?.[which];
    return other
      ? html`<a class="button" href=${rowAddress(dataset, other.batch, other.id)}><${Icon} name=${icon} />${label}</a>`
      : html`<button disabled><${Icon} name=${icon} />${label}</button>`;
  };
  return html`<div class="page narrow">
    <div class="page-head">
      <h1><${Name} name=${id} /></h1><span class="space"></span>
      ${neighbour("previous", "left", "Previous")}${neighbour("next", "right", "Next")}
      ${row && html`<${CopyButton} text=${() => rowJson(row)} label="Copy JSON" />`}
      <${CopyButton} text=${() => location.href} label="Copy link" />
    </div>
    ${answer.error && !answer.loading && html`<${Failure} error=${answer.error} again=${answer.again} />`}
    ${row === null && !answer.error && html`<${Loading} what="the row" />`}
    ${row && html`<${RowDetails} key=${`${batch}\n${id}`} dataset=${dataset} row=${row} />`}
  </div>`;
}
