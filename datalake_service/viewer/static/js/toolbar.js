/** What stands over the rows and the charts of a dataset: search, filter, columns, sample, export. */

import { html, classes, useEffect, useRef, useState } from "./html.js";
import { FilterBar } from "./filter-bar.js";
import { LINES } from "./view.js";
import { viewAddress } from "./route.js";
import { Icon } from "./ui.js";
import { plain } from "./visible.js";

const TYPING = 350;

/**
 * @param {{
 *   dataset: string, view: import("./view.js").View, info: any, page: "rows" | "charts",
 *   change: (change: Partial<import("./view.js").View>, options?: { replace?: boolean }) => void,
 *   showFilter: (column: string | null) => void, showColumns?: () => void, showExport?: () => void, sample?: () => void,
 *   status: any, chip?: any,
 * }} props
 */
export function Toolbar({ dataset, view, info, page, change, showFilter, showColumns, showExport, sample, status, chip }) {
  const conditions = view.filter === null ? 0 : (view.filter.type === "all" ? view.filter.filters.length : 1);
  const tab = (/** @type {"rows" | "charts"} */ name, /** @type {string} */ label) => html`<a class=${classes("tab", page === name && "here")} aria-current=${page === name ? "page" : undefined} href=${viewAddress(dataset, { ...view, open: null }, name)}><${Icon} name=${name === "rows" ? "rows" : "chart"} />${label}</a>`;
  return html`<div class="toolbar">
      <nav class="tabs" aria-label="Views of the dataset">${tab("rows", "Rows")}${tab("charts", "Charts")}</nav>
      <${Search} view=${view} info=${info} change=${change} />
      <button class=${classes(conditions > 0 && "lit")} onClick=${() => showFilter(null)} title="Filter (f)"><${Icon} name="filter" /><span class="label">Filter</span>${conditions > 0 && html`<span class="badge">${conditions}</span>`}</button>
      ${info.batches.length > 1 && html`<select class="batch" aria-label="Batch" value=${view.batch ?? ""} onChange=${(/** @type {any} */ event) => change({ batch: event.target.value === "" ? null : event.target.value, open: null })}>
          <option value="">All batches</option>${info.batches.map((/** @type {any} */ batch) => html`<option key=${batch.name} value=${batch.name}>${plain(batch.name)}</option>`)}</select>`}
      ${showColumns && html`<button onClick=${showColumns} title="Columns (c)"><${Icon} name="columns" /><span class="label">Columns</span></button>`}
      ${sample && html`<button class=${classes(view.sample !== null && "lit")} onClick=${sample} title="Rows at random (r)"><${Icon} name="dice" /><span class="label">Sample</span></button>`}
      ${showExport && html`<button onClick=${showExport} title="Export (e)"><${Icon} name="download" /><span class="label">Export</span></button>`}
      ${page === "rows" && html`<button class="square" onClick=${() => change({ lines: LINES[(LINES.indexOf(view.lines) + 1) % LINES.length] }, { replace: true })} aria-label=${`Lines in a row: ${view.lines}`} title=${`Lines in a row: ${view.lines}`}><${Icon} name="lines" /></button>`}
      <span class="space"></span>${chip}${status}
    </div>
    <${FilterBar} view=${page === "charts" ? { ...view, sort: null, sample: null } : view} change=${change} edit=${() => showFilter(null)} />`;
}

/** @param {any} props */
function Search({ view, info, change }) {
  const texts = info.columns.filter((/** @type {any} */ column) => column.type === "text" || column.type === "json");
  const usual = texts.find((/** @type {any} */ column) => !column.system)?.name ?? "id";
  const [column, setColumn] = useState(/** @type {string | null} */ (null));
  const [text, setText] = useState(view.search?.text ?? "");
  const timer = useRef(/** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined));
  const where = column ?? view.search?.column ?? usual;
  useEffect(() => {
    clearTimeout(timer.current);
    setText(view.search?.text ?? "");
  }, [view.search?.text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = (/** @type {string} */ wanted, /** @type {string} */ place) => {
    clearTimeout(timer.current);
    change({ search: wanted === "" ? null : { column: place, text: wanted }, open: null }, { replace: true });
  };
  const type = (/** @type {any} */ event) => {
    const wanted = event.target.value;
    setText(wanted);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => search(wanted, where), TYPING);
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter") search(text, where);
    if (event.key === "Escape" && text !== "") {
      event.preventDefault();
      setText("");
      search("", where);
    }
  };
  const choose = (/** @type {any} */ event) => {
    setColumn(event.target.value);
    if (text !== "") search(text, event.target.value);
  };
  return html`<div class="search" role="search">
    <${Icon} name="search" />
    <input id="search" type="search" placeholder="Search" aria-label="Search" value=${text} onInput=${type} onKeyDown=${key} spellcheck=${false} autocomplete="off" />
    <select aria-label="Column to search" value=${where} onChange=${choose}>
      ${!texts.some((/** @type {any} */ other) => other.name === where) && html`<option value=${where}>${plain(where)}</option>`}
      ${texts.map((/** @type {any} */ other) => html`<option key=${other.name} value=${other.name}>${plain(other.name)}</option>`)}
    </select>
  </div>`;
}
