/** Everything that is asked of the server. One function for each route; docs/design/019-viewer.md says what they answer. */

import { formatQuery } from "./url-text.js";

/** What the server answered instead of what was asked for. */
export class ApiError extends Error {
  /**
   * @param {number} status  0: there was no answer
   * @param {{ message?: string, field?: string | null, kind?: string }} error
   */
  constructor(status, error) {
    super(error.message || `the server answered ${status}`);
    this.status = status;
    this.field = error.field ?? null;
    this.kind = error.kind ?? "";
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "the viewer does not answer; is it still running?" });
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new ApiError(response.status, body.error ?? {});
}

/** @param {string} path @param {[string, any][]} [query] @param {AbortSignal} [signal] */
const getJson = async (path, query = [], signal) => (await ask(path + formatQuery(query), { signal })).json();

/** @param {string} dataset */
export const datasetPath = (dataset) => `/api/datasets/${encodeURIComponent(dataset)}`;

/**
 * What rows a view selects, as the server wants it.
 * @param {import("./view.js").View} view
 * @returns {[string, any][]}
 */
export const selection = (view) => [
  ["filter", view.filter === null ? null : JSON.stringify(view.filter)],
  ["search", view.search === null ? null : `${view.search.column.replaceAll(":", "::")}:${view.search.text}`],
  ["batch", view.batch],
];

/** @param {import("./view.js").View} view @returns {[string, any][]} */
const sorting = (view) => [
  ["sort", view.sort?.column],
  ["order", view.sort?.order],
];

/** @param {string[]} columns @returns {[string, any][]} */
const named = (columns) => columns.map((name) => ["columns", name]);

/** @param {AbortSignal} [signal] */
export const getLake = (signal) => getJson("/api/lake", [], signal);

/** @param {[string, any][]} query @param {AbortSignal} [signal] */
export const getActivity = (query, signal) => getJson("/api/activity", query, signal);

/** @param {string} dataset @param {AbortSignal} [signal] */
export const getDataset = (dataset, signal) => getJson(datasetPath(dataset), [], signal);

/**
 * @param {string} dataset
 * @param {import("./view.js").View} view
 * @param {{ columns: string[], cursor: string | null, limit: number, textLimit: number }} page
 * @param {AbortSignal} [signal]
 */
export const getRows = (dataset, view, page, signal) =>
  getJson(
    `${datasetPath(dataset)}/rows`,
    [
      ...named(page.columns),
      ...selection(view),
      ...sorting(view),
      ["sample", view.sample?.rows],
      ["seed", view.sample?.seed],
      ["cursor", page.cursor],
      ["limit", page.limit],
      ["textLimit", page.textLimit],
    ],
    signal,
  );

/** @param {string} dataset @param {import("./view.js").View} view @param {AbortSignal} [signal] */
export const getCount = (dataset, view, signal) => getJson(`${datasetPath(dataset)}/count`, selection(view), signal);

/** @param {string} dataset @param {string} batch @param {string} id @param {AbortSignal} [signal] */
export const getRow = (dataset, batch, id, signal) =>
  getJson(`${datasetPath(dataset)}/row`, [["batch", batch], ["id", id]], signal);

/** @param {string} dataset @param {string} batch @param {string} id @param {string} column */
export const cellAddress = (dataset, batch, id, column) =>
  `${datasetPath(dataset)}/cell${formatQuery([["batch", batch], ["id", id], ["column", column]])}`;

/** The whole of a value that was cut. @param {string} address @param {AbortSignal} [signal] */
export const getCell = async (address, signal) => (await ask(address, { signal })).text();

/** @param {string} dataset @param {string} what  profile, trend or crosstab @param {import("./view.js").View} view @param {[string, any][]} query @param {AbortSignal} [signal] */
export const getChart = (dataset, what, view, query, signal) =>
  getJson(`${datasetPath(dataset)}/${what}`, [...query, ...selection(view)], signal);

/** @param {string} dataset @param {[string, any][]} query @param {AbortSignal} [signal] */
export const getRejections = (dataset, query, signal) => getJson(`${datasetPath(dataset)}/rejections`, query, signal);

/** @param {string} dataset @param {[string, any][]} query @param {AbortSignal} [signal] */
export const getFailures = (dataset, query, signal) => getJson(`${datasetPath(dataset)}/failures`, query, signal);

/** @param {AbortSignal} [signal] */
export const getOperations = (signal) => getJson("/api/operations", [], signal);

/** @param {import("./view.js").View} view @param {string[]} columns @param {string} format @returns {[string, any][]} */
const exporting = (view, columns, format) => [
  ["format", format],
  ...named(columns),
  ...selection(view),
  ...sorting(view),
  ["sample", view.sample?.rows],
  ["seed", view.sample?.seed],
];

/** @param {string} dataset @param {import("./view.js").View} view @param {string[]} columns @param {string} format */
export const exportAddress = (dataset, view, columns, format) =>
  `${datasetPath(dataset)}/export${formatQuery(exporting(view, columns, format))}`;

/** @param {string} dataset @param {import("./view.js").View} view @param {string[]} columns @param {string} format @param {AbortSignal} [signal] */
export const getExportCommand = (dataset, view, columns, format, signal) =>
  getJson(`${datasetPath(dataset)}/export/command`, exporting(view, columns, format), signal);

/**
 * A filter in all its forms, from any of them.
 * @param {{ json: any } | { python: string } | { sql: string }} given
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ filter: any, python: string, problems: { path: string, message: string }[] }>}
 */
export const convertFilter = async (given, signal) =>
  (
    await ask("/api/filters", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(given),
      signal,
    })
  ).json();
