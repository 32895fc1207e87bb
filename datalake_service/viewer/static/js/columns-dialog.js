/** Which columns to show, and in which order. */

import { html, useState } from "./html.js";
import { moved, shownColumns } from "./columns.js";
import { ColumnName, Name } from "./text.js";
import { Dialog, Icon } from "./ui.js";
import { plain } from "./visible.js";

/**
 * @param {{
 *   all: import("./columns.js").Column[],
 *   view: import("./view.js").View,
 *   change: (change: Partial<import("./view.js").View>, options?: { replace?: boolean }) => void,
 *   close: () => void,
 * }} props
 */
export function ColumnsDialog({ all, view, change, close }) {
  const [wanted, setWanted] = useState("");
  const shown = shownColumns(all, view.columns);
  const names = shown.map((column) => column.name);
  const set = (/** @type {string[]} */ columns) => change({ columns: columns.length ? columns : null }, { replace: true });
  const fits = (/** @type {import("./columns.js").Column} */ column) => column.name.toLowerCase().includes(wanted.toLowerCase());
  const hidden = all.filter((column) => !names.includes(column.name) && fits(column));
  const annotators = [...new Set(all.map((column) => column.annotator))];
  return html`<${Dialog} title="Columns" close=${close} actions=${html`
      <button onClick=${() => change({ columns: null, widths: {} }, { replace: true })}>Usual columns</button>
      <button onClick=${() => set(all.map((column) => column.name))}>Show all</button>
      <span class="space"></span><button class="main" onClick=${close}>Done</button>`}>
    <label class="field">Find a column
      <input type="search" value=${wanted} onInput=${(/** @type {any} */ event) => setWanted(event.target.value)} autocomplete="off" spellcheck=${false} />
    </label>
    <h3>Shown, in this order</h3>
    <ul class="pick" aria-label="Columns that are shown">
      ${shown.map((column, at) => fits(column) && html`<li key=${column.name}>
          <label><input type="checkbox" checked onChange=${() => set(names.filter((name) => name !== column.name))} disabled=${names.length === 1} /><${ColumnName} column=${column} /></label>
          <span class="faint">${column.type}</span>
          <button class="quiet square" aria-label=${`Move ${plain(column.name)} up`} disabled=${at === 0} onClick=${() => set(moved(names, column.name, -1))}><${Icon} name="up" /></button>
          <button class="quiet square" aria-label=${`Move ${plain(column.name)} down`} disabled=${at === names.length - 1} onClick=${() => set(moved(names, column.name, 1))}><${Icon} name="down" /></button>
        </li>`)}
    </ul>
    ${hidden.length > 0 && html`<h3>Hidden</h3>`}
    ${annotators.map((annotator) => {
      const columns = hidden.filter((column) => column.annotator === annotator);
      if (columns.length === 0) return null;
      const label = annotator === null ? "base columns" : `columns of ${plain(annotator)}`;
      return html`<div class="pick-group" key=${annotator ?? ""}>
        <div class="pick-title">${annotator === null ? "base" : html`<${Name} name=${annotator} />`}
          <button class="quiet" onClick=${() => set([...names, ...columns.map((column) => column.name)])} aria-label=${`Show all ${label}`}>Show these</button></div>
        <ul class="pick" aria-label=${`Hidden ${label}`}>
          ${columns.map((column) => html`<li key=${column.name}>
              <label><input type="checkbox" checked=${false} onChange=${() => set([...names, column.name])} /><${ColumnName} column=${column} /></label>
              <span class="faint">${column.type}${column.system ? ", system" : ""}</span>
            </li>`)}
        </ul></div>`;
    })}
  </${Dialog}>`;
}
