/** What is looked at, and how: everything that the address of a dataset's pages holds. All pure. */

import { filterFromText, filterToText } from "./filter-text.js";
import { formatQuery, parseQuery } from "./url-text.js";

/**
 * @typedef {{
 *   columns: string[] | null,
 *   widths: Record<string, number>,
 *   filter: any,
 *   search: { column: string, text: string } | null,
 *   sort: { column: string, order: "asc" | "desc" } | null,
 *   batch: string | null,
 *   sample: { rows: number, seed: number } | null,
 *   open: { batch: string, id: string } | null,
 *   lines: number,
 *   chart: { column: string | null, against: string | null, bucket: string | null },
 *   unreadable: string | null,
 * }} View
 */

export const LINES = [1, 3, 8];
const USUAL_LINES = 3;

/** @returns {View} */
export const emptyView = () => ({
  columns: null,
  widths: {},
  filter: null,
  search: null,
  sort: null,
  batch: null,
  sample: null,
  open: null,
  lines: USUAL_LINES,
  chart: { column: null, against: null, bucket: null },
  unreadable: null,
});

/**
 * @param {string} query
 * @returns {View} what cannot be understood is said in `unreadable`; a filter is never silently left out
 */
export function parseView(query) {
  const view = emptyView();
  const pairs = parseQuery(query);
  const last = (/** @type {string} */ name) => pairs.findLast(([key]) => key === name)?.[1] ?? null;
  const columns = pairs.filter(([key]) => key === "columns").map(([, value]) => value);
  if (columns.length) view.columns = [...new Set(columns)];
  for (const [key, value] of pairs) if (key === "width") addWidth(view, value);
  readFilter(view, last("filter"));
  const [text, column, sort] = [last("search"), last("in"), last("sort")];
  if (text !== null && column !== null && text !== "") view.search = { column, text };
  if (sort !== null) view.sort = { column: sort, order: last("order") === "asc" ? "asc" : "desc" };
  view.batch = last("batch");
  readSample(view, last("sample"), last("seed"));
  const [id, batch] = [last("open"), last("openBatch")];
  if (id !== null && batch !== null) view.open = { batch, id };
  if (LINES.includes(Number(last("lines")))) view.lines = Number(last("lines"));
  view.chart = { column: last("column"), against: last("against"), bucket: last("bucket") };
  return view;
}

/** @param {View} view @param {string} value  320:name */
function addWidth(view, value) {
  const found = /^([0-9]{2,4}):([^]*)$/.exec(value);
  if (found) view.widths[found[2]] = Number(found[1]);
}

/** @param {View} view @param {string | null} text */
function readFilter(view, text) {
  if (text === null || text === "") return;
  view.filter = filterFromText(text);
  if (view.filter === null) view.unreadable = `This is no filter: ${text}`;
}

/** @param {View} view @param {string | null} rows @param {string | null} seed */
function readSample(view, rows, seed) {
  const wanted = Number(rows);
  if (rows === null || !Number.isInteger(wanted) || wanted < 1) return;
  view.sample = { rows: Math.min(wanted, 1000), seed: Math.abs(Math.trunc(Number(seed))) || 0 };
}

/**
 * @param {View} view
 * @returns {string} with its question mark, or nothing
 */
export function formatView(view) {
  /** @type {[string, any][]} */
  const pairs = [
    ["filter", view.filter === null ? null : filterToText(view.filter)],
    ["search", view.search?.text],
    ["in", view.search?.column],
    ["batch", view.batch],
    ["sort", view.sort?.column],
    ["order", view.sort?.order],
    ["sample", view.sample?.rows],
    ["seed", view.sample?.seed],
    ["column", view.chart.column],
    ["against", view.chart.against],
    ["bucket", view.chart.bucket],
    ...(view.columns ?? []).map((name) => /** @type {[string, any]} */ (["columns", name])),
    ...Object.entries(view.widths).map(([name, width]) => /** @type {[string, any]} */ (["width", `${width}:${name}`])),
    ["lines", view.lines === USUAL_LINES ? null : view.lines],
    ["openBatch", view.open?.batch],
    ["open", view.open?.id],
  ];
  return formatQuery(pairs);
}

/**
 * Narrows what is looked at by one more condition.
 * @param {View} view
 * @param {any} condition
 * @returns {View}
 */
export function narrowed(view, condition) {
  const { filter } = view;
  const same = (/** @type {any} */ node) => JSON.stringify(node) === JSON.stringify(condition);
  if (filter === null) return { ...view, filter: { type: "all", filters: [condition] } };
  if (filter.type !== "all") return { ...view, filter: { type: "all", filters: [filter, condition] } };
  return filter.filters.some(same) ? view : { ...view, filter: { ...filter, filters: [...filter.filters, condition] } };
}

/** The part of a view that decides which rows there are, as a key. @param {View} view */
export const selectionKey = (view) => JSON.stringify([view.filter, view.search, view.batch]);
