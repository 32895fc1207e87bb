/** A dataset: what rows and charts share. */

import { html, useEffect, useState } from "./html.js";
import { getDataset } from "./api.js";
import { ChartsPage } from "./charts-page.js";
import { FilterDialog } from "./filter-dialog.js";
import { news } from "./live.js";
import { changeView, go, viewAddress } from "./route.js";
import { RowsPage } from "./rows-page.js";
import { useAnswer, useSettled, useStore } from "./store.js";
import { Failure, Loading } from "./ui.js";
import { parseView } from "./view.js";

/**
 * @param {{ dataset: string, query: string, page: "rows" | "charts" }} props
 */
export function DatasetPage({ dataset, query, page }) {
  const version = useSettled(useStore(news)?.version ?? null, 1500);
  const info = useAnswer(JSON.stringify([dataset, version]), (signal) => getDataset(dataset, signal));
  const [filterFor, setFilterFor] = useState(/** @type {{ column: string | null } | null} */ (null));
  const view = parseView(query);
  useEffect(() => {
    const add = (/** @type {any} */ event) => setFilterFor({ column: event.detail });
    const chart = (/** @type {any} */ event) => go(viewAddress(dataset, event.detail, "charts"));
    document.addEventListener("add-filter", add);
    document.addEventListener("show-chart", chart);
    return () => {
      document.removeEventListener("add-filter", add);
      document.removeEventListener("show-chart", chart);
    };
  }, [dataset]);
  if (info.data === null) return info.error ? html`<${Failure} error=${info.error} again=${info.again} />` : html`<${Loading} what="the dataset" />`;
  if (info.data.name !== dataset) return html`<${Loading} what="the dataset" />`;
  const shared = { dataset, view, info: info.data, showFilter: (/** @type {string | null} */ column) => setFilterFor({ column }) };
  return html`
    ${page === "rows" ? html`<${RowsPage} key=${dataset} ...${shared} />` : html`<${ChartsPage} key=${dataset} ...${shared} />`}
    ${filterFor !== null && html`<${FilterDialog} dataset=${dataset} columns=${info.data.columns} view=${view} first=${filterFor.column} change=${(/** @type {any} */ what) => changeView({ ...what, open: null })} close=${() => setFilterFor(null)} />`}`;
}
