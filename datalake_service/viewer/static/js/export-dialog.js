/** Takes what is on the screen along: a file, or the command that makes it. */

import { html, useState } from "./html.js";
import { exportAddress, getExportCommand } from "./api.js";
import { count } from "./format.js";
import { useAnswer } from "./store.js";
import { CopyButton, Dialog, Failure, Icon } from "./ui.js";
import { plain } from "./visible.js";

const FORMATS = { jsonl: "JSON Lines", csv: "CSV", parquet: "Parquet" };

/**
 * @param {{ dataset: string, view: import("./view.js").View, columns: string[], rows: number | null, close: () => void }} props
 */
export function ExportDialog({ dataset, view, columns, rows, close }) {
  const [format, setFormat] = useState("jsonl");
  const address = exportAddress(dataset, view, columns, format);
  const command = useAnswer(address, (signal) => getExportCommand(dataset, view, columns, format, signal));
  return html`<${Dialog} title="Export" close=${close} actions=${html`<span class="space"></span><a class="button main" href=${address} download><${Icon} name="download" />Download ${FORMATS[/** @type {keyof typeof FORMATS} */ (format)]}</a>`}>
    <p>${rows === null ? (view.sample !== null ? "The sample" : "All rows") : html`<b>${count(rows)}</b> ${rows === 1 ? "row" : "rows"}`} with ${columns.length === 1 ? "one column" : html`<b>${columns.length}</b> columns`}${view.filter !== null || view.search !== null || view.batch !== null ? ", as filtered" : ""}${view.sample !== null ? ", at random" : view.sort !== null ? ", as sorted" : ", newest first"}.</p>
    <div class="switch" role="group" aria-label="Format">
      ${Object.entries(FORMATS).map(([name, label]) => html`<button key=${name} aria-pressed=${String(format === name)} onClick=${() => setFormat(name)}>${label}</button>`)}
    </div>
    <h3>On the command line</h3>
    ${command.error && html`<${Failure} error=${command.error} again=${command.again} />`}
    ${command.data && html`<pre class="code" tabindex="0" role="region" aria-label="Command">${plain(command.data.command)}</pre><${CopyButton} text=${command.data.command} label="Copy command" />
      ${command.data.notes.length > 0 && html`<ul class="hint">${command.data.notes.map((/** @type {string} */ note) => html`<li key=${note}>${plain(note)}</li>`)}</ul>`}`}
  </${Dialog}>`;
}
