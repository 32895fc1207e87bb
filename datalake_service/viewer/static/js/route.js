/** Where the page is. The address is the state; everything else follows from it. */

import { createStore } from "./store.js";
import { formatQuery, parseQuery } from "./url-text.js";
import { formatView, parseView } from "./view.js";

/**
 * @typedef {{ page: "lake" | "operations" | "rows" | "charts" | "row" | "nowhere", dataset: string | null, query: string }} Route
 */

/** @param {string} path @param {string} query @returns {Route} */
export function parseRoute(path, query) {
  const parts = path.split("/").filter((part) => part !== "").map(part);
  if (parts.length === 0) return { page: "lake", dataset: null, query };
  if (parts.length === 1 && parts[0] === "operations") return { page: "operations", dataset: null, query };
  if (parts[0] === "d" && parts.length === 2) return { page: "rows", dataset: parts[1], query };
  if (parts[0] === "d" && parts.length === 3 && (parts[2] === "charts" || parts[2] === "row"))
    return { page: parts[2], dataset: parts[1], query };
  return { page: "nowhere", dataset: null, query };
}

/** @param {string} text */
function part(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const here = () => parseRoute(location.pathname, location.search);

/** Where the page is now. */
export const route = createStore(here());

/** What each dataset was last looked at with, for the way back from a row. @type {Map<string, string>} */
const remembered = new Map();

function arrive() {
  const next = here();
  if ((next.page === "rows" || next.page === "charts") && next.dataset !== null) remembered.set(next.dataset, location.pathname + location.search);
  route.set(next);
}

/**
 * @param {string} address  of this page
 * @param {{ replace?: boolean }} [options]  replace: the way back does not lead here
 */
export function go(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  arrive();
  if (!replace) document.dispatchEvent(new CustomEvent("arrived"));
}

/** @param {string} dataset @param {import("./view.js").View} view @param {"rows" | "charts"} [page] */
export const viewAddress = (dataset, view, page = "rows") =>
  `/d/${encodeURIComponent(dataset)}${page === "charts" ? "/charts" : ""}${formatView(view)}`;

/** @param {string} dataset @param {string} batch @param {string} id */
export const rowAddress = (dataset, batch, id) =>
  `/d/${encodeURIComponent(dataset)}/row${formatQuery([["batch", batch], ["id", id]])}`;

/** @param {string} dataset */
export const backAddress = (dataset) => remembered.get(dataset) ?? `/d/${encodeURIComponent(dataset)}`;

/** The parameters of an address that is not a view's. @param {string} query @returns {Map<string, string>} */
export const parameters = (query) => new Map(parseQuery(query));

/**
 * Changes the view in the address.
 * @param {Partial<import("./view.js").View>} change
 * @param {{ replace?: boolean }} [options]
 */
export function changeView(change, options) {
  const { dataset, page, query } = route.get();
  if (dataset === null || (page !== "rows" && page !== "charts")) return;
  go(viewAddress(dataset, { ...parseView(query), ...change }, page), options);
}

/** Links of this page change its state instead of loading it again. */
export function start() {
  addEventListener("popstate", arrive);
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target.closest("a") : null;
    if (target === null || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (target.origin !== location.origin || target.target || target.hasAttribute("download")) return;
    if (target.pathname.startsWith("/api/") || target.pathname.startsWith("/static/")) return;
    event.preventDefault();
    go(target.pathname + target.search);
  });
  arrive();
}
