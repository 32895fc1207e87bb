/** The rows of a dataset: a table, what narrows it, and the row that is open beside it. */

import { html, useEffect, useMemo, useReducer, useRef, useState } from "./html.js";
import { getCount, getRows } from "./api.js";
import { shownColumns } from "./columns.js";
import { ColumnsDialog } from "./columns-dialog.js";
import { ExportDialog } from "./export-dialog.js";
import { count, duration, plural } from "./format.js";
import { useKeys } from "./keyboard.js";
import { news } from "./live.js";
import { go, changeView, rowAddress } from "./route.js";
import { RowPanel } from "./row-panel.js";
import { RowPages } from "./row-pages.js";
import { useAnswer, useSettled, useStore } from "./store.js";
import { Table } from "./table.js";
import { Toolbar } from "./toolbar.js";
import { Empty, Failure, Icon, Loading } from "./ui.js";
import { selectionKey } from "./view.js";

const PAGE = 60;
const TEXT_LIMIT = 1500;
const SAMPLE = 100;

/**
 * The pages of the view; new ones when other rows, another order or more columns are wanted.
 * @param {string} dataset
 * @param {import("./view.js").View} view
 * @param {import("./columns.js").Column[]} columns
 * @param {number} generation
 */
function usePages(dataset, view, columns, generation) {
  const [, redraw] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const key = JSON.stringify([dataset, selectionKey(view), view.sort, view.sample, generation]);
  const held = useRef(/** @type {{ key: string, names: string[], pages: RowPages } | null} */ (null));
  const names = columns.map((column) => column.name);
  const old = held.current;
  if (old === null || old.key !== key || names.some((name) => !old.names.includes(name))) {
    old?.pages.stop();
    const ask = (/** @type {string | null} */ cursor, /** @type {AbortSignal} */ signal) => getRows(dataset, view, { columns: names, cursor, limit: PAGE, textLimit: TEXT_LIMIT }, signal);
    held.current = { key, names, pages: new RowPages(ask, () => redraw(0)) };
  }
  useEffect(() => () => held.current?.pages.stop(), []);
  return /** @type {RowPages} */ (held.current?.pages);
}

/**
 * How many rows there are, how many there were when the table was loaded, and whether anything changed since.
 * @param {string} dataset
 * @param {import("./view.js").View} view
 * @param {RowPages} pages
 */
function useCounts(dataset, view, pages) {
  const heard = useStore(news);
  const version = useSettled(heard?.version ?? null, 700);
  const answer = useAnswer(JSON.stringify([dataset, selectionKey(view), version]), async (signal) => ({ key: selectionKey(view), ...(await getCount(dataset, view, signal)) }));
  const first = useRef(/** @type {{ pages: RowPages, rows: number } | null} */ (null));
  const rows = answer.data !== null && answer.data.key === selectionKey(view) ? answer.data.rows : null;
  if (rows !== null && first.current?.pages !== pages && !answer.loading) first.current = { pages, rows };
  const fresh = rows !== null && first.current?.pages === pages ? Math.max(0, rows - first.current.rows) : 0;
  const changed = version !== null && pages.version !== null && version !== pages.version;
  return { rows, fresh, changed, error: answer.error };
}

/**
 * @param {{ dataset: string, view: import("./view.js").View, info: any, showFilter: (column: string | null) => void }} props
 */
export function RowsPage({ dataset, view, info, showFilter }) {
  const [generation, reload] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const [dialog, setDialog] = useState(/** @type {"columns" | "export" | null} */ (null));
  const [selected, setSelected] = useState(-1);
  const [opened, setOpened] = useState(/** @type {Map<number, number>} */ (new Map()));
  const columns = useMemo(() => shownColumns(info.columns, view.columns), [info, JSON.stringify(view.columns)]);
  const pages = usePages(dataset, view, columns, generation);
  const counts = useCounts(dataset, view, pages);
  useEffect(() => {
    setSelected(-1);
    setOpened(new Map());
  }, [pages]);
  useEffect(() => {
    if (counts.fresh > 0 && pages.started && pages.length === 0) reload(0);
  }, [counts.fresh]);

  useEffect(() => {
    if (selected < 0 && view.open !== null && pages.started) setSelected(pages.find(view.open.batch, view.open.id));
  }, [pages, pages.started]);

  const open = (/** @type {number} */ index) => {
    const row = pages.row(index);
    if (row !== null) changeView({ open: { batch: row.batch, id: row.id } }, { replace: view.open !== null });
  };
  const select = (/** @type {number} */ index, show = view.open !== null) => {
    if (index < 0 || index >= pages.length) return;
    setSelected(index);
    if (show) open(index);
  };
  const toggle = (/** @type {number} */ index, /** @type {number | undefined} */ height) =>
    setOpened((old) => {
      if (index < 0 || (height !== undefined && old.get(index) === height)) return old;
      const next = new Map(old);
      if (height !== undefined) next.set(index, height);
      else if (!next.delete(index)) next.set(index, 0);
      return next;
    });
  const change = (/** @type {any} */ what, /** @type {any} */ options) => changeView(what, options);
  const sample = () => change({ sample: { rows: view.sample?.rows ?? SAMPLE, seed: Math.floor(Math.random() * 1e6) }, open: null });
  useKeys([
    { key: "j ArrowDown", does: "Next row", run: () => select(selected + 1) },
    { key: "k ArrowUp", does: "Previous row", run: () => select(Math.max(0, selected - 1)) },
    { key: "Enter", does: "Open the row beside the table", run: () => select(Math.max(0, selected), true) },
    { key: "o", does: "Open the row on its own page", run: () => selected >= 0 && pages.row(selected) && go(rowAddress(dataset, pages.row(selected)?.batch ?? "", pages.row(selected)?.id ?? "")) },
    { key: "x", does: "Unfold or fold the row", run: () => toggle(selected, undefined) },
    { key: "g Home", does: "To the first row", run: () => select(0) },
    { key: "G End", does: "To the last row that is loaded", run: () => select(pages.length - 1) },
    { key: "Escape", does: "Close what is open", run: () => (view.open !== null ? change({ open: null }) : setSelected(-1)) },
    { key: "/", does: "Search", run: () => /** @type {HTMLElement | null} */ (document.querySelector("#search"))?.focus() },
    { key: "f", does: "Filter", run: () => showFilter(null) },
    { key: "c", does: "Columns", run: () => setDialog("columns") },
    { key: "e", does: "Export", run: () => setDialog("export") },
    { key: "r", does: "Rows at random", run: sample },
    { key: "n", does: "Load new rows", run: () => reload(0) },
  ]);

  const table = columns.map((column) => column.name);
  const shifted = pages.columns.length > 0 && table.join("\n") !== pages.columns.join("\n") ? arranged(pages, table) : pages;
  return html`
    <${Toolbar} dataset=${dataset} view=${view} info=${info} change=${change} showFilter=${showFilter} showColumns=${() => setDialog("columns")} showExport=${() => setDialog("export")} sample=${sample} page="rows"
      status=${html`<${Status} view=${view} pages=${pages} counts=${counts} />`}
      chip=${html`<${NewRows} counts=${counts} load=${() => reload(0)} />`} />
    ${view.unreadable !== null && html`<${Failure} error=${new Error(view.unreadable)}><button onClick=${() => change({ filter: null })}>Remove the filter</button></${Failure}>`}
    ${pages.error && html`<${Failure} error=${pages.error} again=${() => pages.again()}>${view.filter !== null && html`<button onClick=${() => showFilter(null)}>Edit the filter</button>`}</${Failure}>`}
    <div class="beside">
      <div class="beside-main">
        ${view.unreadable === null && html`<${Table} pages=${shifted} columns=${columns} view=${view} total=${counts.rows} selected=${selected} select=${select} opened=${opened} toggle=${toggle} change=${change} />`}
        ${!pages.started && pages.error === null && view.unreadable === null && html`<div class="over"><${Loading} what="rows" /></div>`}
        ${pages.started && pages.length === 0 && html`<div class="over"><${NoRows} view=${view} change=${change} /></div>`}
      </div>
      ${view.open !== null && html`<${RowPanel} dataset=${dataset} batch=${view.open.batch} id=${view.open.id} columns=${info.columns} close=${() => change({ open: null })} step=${(/** @type {number} */ by) => select(Math.max(0, selected + by), true)} />`}
    </div>
    ${dialog === "columns" && html`<${ColumnsDialog} all=${info.columns} view=${view} change=${change} close=${() => setDialog(null)} />`}
    ${dialog === "export" && html`<${ExportDialog} dataset=${dataset} view=${view} columns=${table} rows=${counts.rows} close=${() => setDialog(null)} />`}`;
}

/** The same pages with their cells in another order of columns. @param {RowPages} pages @param {string[]} names @returns {any} */
function arranged(pages, names) {
  const places = names.map((name) => pages.columns.indexOf(name));
  return {
    length: pages.length,
    complete: pages.complete,
    loading: pages.loading,
    longest: pages.longest === null ? null : places.map((at) => pages.longest?.[at] ?? 4),
    want: (/** @type {number} */ from, /** @type {number} */ to) => pages.want(from, to),
    row(/** @type {number} */ index) {
      const row = pages.row(index);
      if (row === null) return null;
      return { ...row, cells: places.map((at) => row.cells[at]), cut: new Map(places.map((at, to) => [to, row.cut.get(at)])) };
    },
  };
}

/** @param {any} props */
function Status({ view, pages, counts }) {
  const narrowed = view.filter !== null || view.search !== null || view.batch !== null;
  const rows = view.sample !== null && pages.complete ? pages.length : counts.rows;
  return html`<span class="status" role="status" aria-label="Rows">${rows === null ? "…" : html`<b>${count(rows)}</b> ${rows === 1 ? "row" : "rows"}${narrowed && view.sample === null ? (rows === 1 ? " matches" : " match") : ""}`}
    ${pages.started && html`<span class="faint took">${duration(pages.tookMs / 1000)}</span>`}</span>`;
}

/** @param {any} props */
function NewRows({ counts, load }) {
  if (counts.fresh > 0) return html`<button class="fresh" onClick=${load} title="Load them (n)"><${Icon} name="up" />${plural(counts.fresh, "new row")}</button>`;
  if (counts.changed) return html`<button class="fresh quiet" onClick=${load} title="Load it again (n)">Changed, load again</button>`;
  return null;
}

/** @param {any} props */
function NoRows({ view, change }) {
  if (view.filter === null && view.search === null && view.batch === null) return html`<${Empty} title="No rows yet">They appear here as soon as a chunk is written.</${Empty}>`;
  return html`<${Empty} title="No rows match"><button onClick=${() => change({ filter: null, search: null, batch: null })}>Show all rows</button></${Empty}>`;
}

