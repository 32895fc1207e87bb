/** One column closely: what values it has, how they change over time, how they go with those of another column. */

import { html } from "./html.js";
import { getChart } from "./api.js";
import { CrossTable, Histogram, TimeBars, ValueBars } from "./charts.js";
import { count, number, percent, plural, time } from "./format.js";
import { hasValue, isWithin } from "./filters.js";
import { grouped, isNumber, ownName } from "./columns.js";
import { facts, lengthWithin } from "./profiles.js";
import { changeView } from "./route.js";
import { useAnswer } from "./store.js";
import { ColumnName } from "./text.js";
import { Empty, Failure, Icon, Loading, Tile } from "./ui.js";
import { narrowed, selectionKey } from "./view.js";
import { plain } from "./visible.js";

export const BUCKETS = ["minute", "hour", "day", "week", "month"];

/** @param {any} props */
export function OneColumn({ dataset, view, info, column, pick, back }) {
  const key = JSON.stringify([dataset, selectionKey(view), column.name, info.version]);
  const profile = useAnswer(key, (signal) => getChart(dataset, "profile", view, [["column", column.name], ["buckets", 40], ["top", 20]], signal));
  const data = profile.data;
  return html`
    <div class="page-head"><button class="quiet" onClick=${back}><${Icon} name="left" />All columns</button><h2><${ColumnName} column=${column} /></h2><span class="faint">${column.type}</span>
      ${data?.sampled && html`<span class="faint">from a sample of ${plural(data.sampled.rows, "row")}</span>`}</div>
    ${profile.error && html`<${Failure} error=${profile.error} again=${profile.again} />`}
    ${data === null && profile.loading && html`<${Loading} what="the column" />`}
    ${data && html`<${Figures} data=${data} column=${column} />
      <div class="cards wide"><${Distribution} data=${data} column=${column} pick=${pick} /></div>`}
    <div class="cards wide"><${Trend} dataset=${dataset} view=${view} version=${info.version} column=${column} pick=${pick} />
    <${Against} dataset=${dataset} view=${view} info=${info} column=${column} /></div>`;
}

/** @param {any} props */
function Figures({ data, column }) {
  const shown = (/** @type {any} */ value) => (column.type === "time" && typeof value === "string" ? time(value) : number(value));
  const numeric = isNumber(column) || column.type === "time";
  return html`<div class="tiles" aria-label=${facts(data)} role="group">
    <${Tile} label="Rows" value=${count(data.rows)} />
    <${Tile} label="Null" value=${count(data.nulls)} note=${percent(data.rows ? data.nulls / data.rows : 0)} />
    ${data.distinct && html`<${Tile} label=${data.distinct.approximate ? "Distinct, approximate" : "Distinct"} value=${`${data.distinct.approximate ? "≈ " : ""}${count(data.distinct.count)}`} />`}
    ${numeric && data.min !== null && data.min !== undefined && html`<${Tile} label="Smallest" value=${shown(data.min)} /><${Tile} label="Largest" value=${shown(data.max)} />`}
    ${isNumber(column) && data.mean !== null && data.mean !== undefined && html`<${Tile} label="Mean" value=${number(data.mean)} />`}
  </div>`;
}

/** @param {any} props */
function Distribution({ data, column, pick }) {
  return html`
    ${data.histogram?.length > 0 && html`<section class="card" aria-label="Histogram"><h3>Values</h3><${Histogram} buckets=${data.histogram} type=${column.type} label=${`Values of ${plain(column.name)}`} pick=${(/** @type {any} */ from, /** @type {any} */ to, /** @type {boolean} */ last) => pick(isWithin(column, from, to, last))} /></section>`}
    ${data.top?.length > 0 && html`<section class="card" aria-label="Most frequent values"><h3>Most frequent values</h3><${ValueBars} items=${data.top} total=${data.rows} type=${column.type} label=${`Most frequent values of ${plain(column.name)}`} pick=${column.type === "json" ? null : (/** @type {any} */ value) => pick(hasValue(column, value))} /></section>`}
    ${data.lengths?.length > 1 && (data.distinct?.count ?? 99) > 20 && html`<section class="card" aria-label="Lengths"><h3>Lengths, in characters</h3><${Histogram} buckets=${data.lengths} label=${`Lengths of ${plain(column.name)}`} pick=${(/** @type {any} */ from, /** @type {any} */ to, /** @type {boolean} */ last) => pick(lengthWithin(column, from, to, last))} /></section>`}`;
}

/** @param {any} props */
function Trend({ dataset, view, version, column, pick }) {
  const bucket = BUCKETS.includes(view.chart.bucket) ? view.chart.bucket : "hour";
  const categorical = column.type === "text" || column.type === "bool" || column.type === "int";
  const key = JSON.stringify([dataset, selectionKey(view), column.name, bucket, version]);
  const trend = useAnswer(key, (signal) => getChart(dataset, "trend", view, [["column", categorical ? column.name : null], ["bucket", bucket], ["top", 5]], signal));
  const data = trend.data;
  const series = data === null ? [] : [...data.series.map((/** @type {any} */ one) => ({ name: categorical ? one.value : "rows", rows: one.rows })), ...(data.other?.some(Boolean) ? [{ name: undefined, rows: data.other }] : [])];
  return html`<section class="card span" aria-label="Over time" aria-busy=${String(trend.loading)}><h3>${categorical ? "Values over time" : "Rows over time"}
      <select aria-label="Bucket of time" value=${bucket} onChange=${(/** @type {any} */ event) => changeView({ chart: { ...view.chart, bucket: event.target.value } }, { replace: true })}>
        ${BUCKETS.map((name) => html`<option key=${name} value=${name}>per ${name}</option>`)}</select></h3>
    ${trend.error && html`<${Failure} error=${trend.error} again=${trend.again} />`}
    ${data === null && trend.loading && html`<${Loading} what="values over time" />`}
    ${data && (data.times.length ? html`<${TimeBars} times=${data.times} series=${series} bucket=${bucket} label=${`${plain(column.name)} over time`} pick=${categorical ? (/** @type {any} */ value) => pick(hasValue(column, value)) : null} />` : html`<${Empty} title="No rows" />`)}
  </section>`;
}

/** @param {any} props */
function Against({ dataset, view, info, column }) {
  const other = info.columns.find((/** @type {any} */ one) => one.name === view.chart.against) ?? null;
  const key = other === null ? null : JSON.stringify([dataset, selectionKey(view), column.name, other.name, info.version]);
  const table = useAnswer(key, (signal) => getChart(dataset, "crosstab", view, [["a", column.name], ["b", other?.name], ["top", 12]], signal));
  const pick = (/** @type {any} */ a, /** @type {any} */ b) => changeView({ filter: narrowed(narrowed(view, hasValue(column, a)), hasValue(other, b)).filter });
  return html`<section class="card span" aria-label="Against another column" aria-busy=${String(table.loading)}><h3>Against
      <select aria-label="Another column" value=${other?.name ?? ""} onChange=${(/** @type {any} */ event) => changeView({ chart: { ...view.chart, against: event.target.value === "" ? null : event.target.value } }, { replace: true })}>
        <option value="">choose a column</option>
        ${grouped(info.columns.filter((/** @type {any} */ one) => one.name !== column.name && one.type !== "json")).map((group, at) => html`<optgroup key=${at} label=${group.annotator === null ? "base" : plain(group.annotator)}>${group.columns.map((one) => html`<option key=${one.name} value=${one.name}>${plain(ownName(one))}</option>`)}</optgroup>`)}
      </select></h3>
    ${table.error && html`<${Failure} error=${table.error} again=${table.again} />`}
    ${key !== null && table.data === null && table.loading && html`<${Loading} what="both columns" />`}
    ${key !== null && table.data && html`<${CrossTable} a=${table.data.a} b=${table.data.b} cells=${table.data.cells} names=${[column.name, other.name]} pick=${pick} />
      ${(table.data.otherA > 0 || table.data.otherB > 0) && html`<p class="faint">Left out, with rarer values: ${plural(table.data.otherA, "row")} by ${plain(column.name)}, ${plural(table.data.otherB, "row")} by ${plain(other.name)}.</p>`}`}
  </section>`;
}
