/** Charts of a dataset: every column at a glance, then one of them closely. */

import { html, useEffect, useRef, useState } from "./html.js";
import { getChart, getCount } from "./api.js";
import { Histogram, ValueBars } from "./charts.js";
import { OneColumn } from "./column-charts.js";
import { count } from "./format.js";
import { hasValue, isWithin } from "./filters.js";
import { useKeys } from "./keyboard.js";
import { facts, lengthWithin } from "./profiles.js";
import { changeView, viewAddress } from "./route.js";
import { useAnswer } from "./store.js";
import { ColumnName, Name } from "./text.js";
import { Toolbar } from "./toolbar.js";
import { Failure, Icon } from "./ui.js";
import { narrowed, selectionKey } from "./view.js";
import { grouped } from "./columns.js";

/**
 * @param {{ dataset: string, view: import("./view.js").View, info: any, showFilter: (column: string | null) => void }} props
 */
export function ChartsPage({ dataset, view, info, showFilter }) {
  const total = useAnswer(JSON.stringify([dataset, selectionKey(view), info.version]), (signal) => getCount(dataset, view, signal));
  const columns = info.columns.filter((/** @type {any} */ column) => !column.system || column.name === view.chart.column);
  const chosen = info.columns.find((/** @type {any} */ column) => column.name === view.chart.column) ?? null;
  const pick = (/** @type {any} */ condition) => changeView({ filter: narrowed(view, condition).filter });
  const show = (/** @type {string | null} */ column) => changeView({ chart: { column, against: null, bucket: view.chart.bucket } });
  useKeys([
    { key: "Escape", does: "All columns", run: () => show(null) },
    { key: "f", does: "Filter", run: () => showFilter(null) },
    { key: "/", does: "Search", run: () => /** @type {HTMLElement | null} */ (document.querySelector("#search"))?.focus() },
  ]);
  return html`
    <${Toolbar} dataset=${dataset} view=${view} info=${info} page="charts" change=${changeView} showFilter=${showFilter}
      status=${html`<span class="status" role="status" aria-label="Rows">${total.data && html`<b>${count(total.data.rows)}</b> ${total.data.rows === 1 ? "row" : "rows"}`} <a href=${viewAddress(dataset, { ...view, open: null }, "rows")}>Show them</a></span>`} />
    ${view.unreadable !== null && html`<${Failure} error=${new Error(view.unreadable)}><button onClick=${() => changeView({ filter: null })}>Remove the filter</button></${Failure}>`}
    ${total.error && html`<${Failure} error=${total.error} again=${total.again} />`}
    ${view.unreadable === null && html`<div class="charts" tabindex="0" role="region" aria-label="Charts">
      ${chosen !== null
        ? html`<${OneColumn} key=${chosen.name} dataset=${dataset} view=${view} info=${info} column=${chosen} pick=${pick} back=${() => show(null)} />`
        : grouped(columns).map((group, at) => html`<section key=${at} class="chart-group" aria-label=${group.annotator ?? "base"}>
            <h2>${group.annotator === null ? "base" : html`<${Name} name=${group.annotator} />`}</h2>
            <div class="cards">${group.columns.map((column) => html`<${ColumnCard} key=${column.name} dataset=${dataset} view=${view} version=${info.version} column=${column} pick=${pick} show=${() => show(column.name)} />`)}</div></section>`)}
    </div>`}`;
}

/** One column at a glance; asked for when it comes into sight. @param {any} props */
function ColumnCard({ dataset, view, version, column, pick, show }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (element.current === null) return undefined;
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setSeen(true), { rootMargin: "200px" });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  const key = seen ? JSON.stringify([dataset, selectionKey(view), column.name, version]) : null;
  const profile = useAnswer(key, (signal) => getChart(dataset, "profile", view, [["column", column.name], ["buckets", 24], ["top", 6]], signal));
  const data = profile.data;
  return html`<article class="card chart-card" ref=${element} aria-busy=${String(profile.loading)}>
    <h3><button class="quiet card-title" onClick=${show}><${ColumnName} column=${{ ...column, annotator: null, name: column.annotator === null ? column.name : column.name.slice(column.annotator.length + 1) }} /><${Icon} name="right" /></button><span class="faint type">${column.type}</span></h3>
    ${profile.error && html`<${Failure} error=${profile.error} again=${profile.again} />`}
    ${data && html`<p class="facts-line">${facts(data)}</p><${Glance} data=${data} column=${column} pick=${pick} />`}
  </article>`;
}

/** @param {any} props */
function Glance({ data, column, pick }) {
  if (data.rows === 0 || data.rows === data.nulls) return html`<p class="nothing">nothing but nulls</p>`;
  const few = data.top?.length > 0 && ((data.distinct?.count ?? 0) <= 20 || data.top[0].rows > 0.02 * (data.rows - data.nulls));
  if (data.histogram?.length > 0 && !(few && data.distinct.count <= 8))
    return html`<${Histogram} small buckets=${data.histogram} type=${column.type} label=${`Values of ${column.name}`} pick=${(/** @type {any} */ from, /** @type {any} */ to, /** @type {boolean} */ last) => pick(isWithin(column, from, to, last))} />`;
  if (few || !data.lengths?.length) return html`<${ValueBars} items=${(data.top ?? []).slice(0, 6)} total=${data.rows} type=${column.type} label=${`Most frequent values of ${column.name}`} pick=${column.type === "json" ? null : (/** @type {any} */ value) => pick(hasValue(column, value))} />`;
  return html`<p class="faint">Lengths, in characters</p><${Histogram} small buckets=${data.lengths} label=${`Lengths of ${column.name}`} pick=${(/** @type {any} */ from, /** @type {any} */ to, /** @type {boolean} */ last) => pick(lengthWithin(column, from, to, last))} />`;
}
