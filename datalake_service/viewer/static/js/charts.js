/** The marks that charts are made of. Numbers stand beside every mark: no chart is read by colour alone. */

import { html, classes } from "./html.js";
import { compact, count, number, percent, tick, time } from "./format.js";
import { Text } from "./text.js";
import { plain } from "./visible.js";

/** How many colours there are for series (css: --series-1 and on). */
export const SERIES = 7;

/** A value of a column in a chart. @param {{ value: any, type?: string }} props */
export function ChartValue({ value, type = "" }) {
  if (value === null || value === undefined) return html`<span class="null">null</span>`;
  if (value === "") return html`<span class="nothing">empty</span>`;
  if (typeof value === "number") return number(value);
  return html`<${Text} text=${typeof value === "string" ? (type === "time" ? time(value) : value) : JSON.stringify(value)} limit=${120} />`;
}

/** @param {any} value */
const named = (value) => plain(value === null ? "null" : value === "" ? "empty" : String(value)).slice(0, 120);

/**
 * Values with bars, one below the other.
 * @param {{ items: { value: any, rows: number }[], total: number, type?: string, pick: ((value: any) => void) | null, label: string }} props
 */
export function ValueBars({ items, total, type, pick, label }) {
  const most = Math.max(1, ...items.map((item) => item.rows));
  return html`<ul class="bars" aria-label=${label}>
    ${items.map((item, at) => {
      const content = html`<span class="bar-name"><${ChartValue} value=${item.value} type=${type} /></span>
        <span class="bar-space"><span class="bar" style=${{ width: `${(100 * item.rows) / most}%` }}></span></span>
        <span class="bar-rows">${count(item.rows)}</span><span class="bar-share faint">${percent(total ? item.rows / total : 0)}</span>`;
      return html`<li key=${at}>${pick === null ? html`<div class="bar-line">${content}</div>` : html`<button class="bar-line" aria-label=${`${named(item.value)}: ${count(item.rows)} rows. Filter by it.`} onClick=${() => pick(item.value)}>${content}</button>`}</li>`;
    })}
  </ul>`;
}

/**
 * A histogram.
 * @param {{ buckets: { from: any, to: any, rows: number }[], type?: string, pick: ((from: any, to: any, last: boolean) => void) | null, label: string, small?: boolean }} props
 */
export function Histogram({ buckets, type, pick, label, small = false }) {
  const most = Math.max(1, ...buckets.map((bucket) => bucket.rows));
  const bound = (/** @type {any} */ value) => (type === "time" ? time(value).replace(":00 UTC", "") : number(value));
  const last = buckets.length - 1;
  return html`<div class=${classes("histogram", small && "small")} role="group" aria-label=${label} style=${{ maxWidth: `${Math.max(3, buckets.length) * 56}px` }}>
    <div class="columns">
      ${buckets.map((bucket, at) => {
        const title = `${bound(bucket.from)} to ${bound(bucket.to)}: ${count(bucket.rows)} rows`;
        const bar = html`<span class="column" style=${{ height: bucket.rows ? `max(1px, ${(100 * bucket.rows) / most}%)` : "0" }}></span>`;
        return pick === null
          ? html`<span key=${at} class="slot" title=${title}>${bar}</span>`
          : html`<button key=${at} class="slot" title=${title} aria-label=${`${title}. Filter by it.`} onClick=${() => pick(bucket.from, bucket.to, at === last)}>${bar}</button>`;
      })}
    </div>
    ${buckets.length > 0 && html`<div class="axis"><span>${bound(buckets[0].from)}</span>${!small && html`<span class="faint">most: ${count(most)}</span>`}<span>${bound(buckets[last].to)}</span></div>`}
  </div>`;
}

const [WIDTH, HEIGHT] = [960, 180];

/**
 * Numbers over time, stacked.
 * @param {{ times: string[], series: { name: any, rows: number[] }[], bucket: string, label: string, pick?: ((name: any) => void) | null }} props
 */
export function TimeBars({ times, series, bucket, label, pick = null }) {
  const sums = times.map((_, at) => series.reduce((sum, one) => sum + (one.rows[at] ?? 0), 0));
  const most = Math.max(1, ...sums);
  const slot = WIDTH / Math.max(1, times.length);
  const gap = Math.min(2, slot * 0.18);
  const shape = (/** @type {number} */ at) => {
    let below = 0;
    return series.map((one, index) => {
      const tall = ((one.rows[at] ?? 0) / most) * HEIGHT;
      below += tall;
      return tall > 0 && html`<rect key=${index} class=${`series-${tone(one.name, index)}`} x=${at * slot + gap / 2} width=${Math.max(0.5, slot - gap)} y=${HEIGHT - below} height=${tall} />`;
    });
  };
  const said = (/** @type {number} */ at) => [`${time(times[at])}: ${count(sums[at])} rows`, ...series.map((one) => [named(one.name), one.rows[at] ?? 0]).filter(([, rows]) => rows).map(([name, rows]) => `${name}: ${count(/** @type {number} */ (rows))}`)].join("\n");
  const marks = ticks(times.length);
  const width = { maxWidth: `${times.length * 56}px` };
  return html`<figure class="over-time" aria-label=${label}>
    <div class="plot" style=${width}><span class="most">${compact(most)}</span>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`${label}: ${count(sums.reduce((a, b) => a + b, 0))} rows, at most ${count(most)} in one ${bucket}`}>
        ${[0.25, 0.5, 0.75].map((share) => html`<line key=${share} class="rule" x1="0" x2=${WIDTH} y1=${HEIGHT * share} y2=${HEIGHT * share} vector-effect="non-scaling-stroke" />`)}
        ${times.map((iso, at) => html`<g key=${iso}><title>${said(at)}</title><rect class="catch" x=${at * slot} width=${slot} y="0" height=${HEIGHT} />${shape(at)}</g>`)}
      </svg></div>
    <div class="axis" style=${width}>${marks.map((at) => html`<span key=${at}>${times[at] && tick(times[at], bucket)}</span>`)}</div>
    ${series.length > 0 && html`<ul class="legend">${series.map((one, index) => html`<li key=${index}>${pick && one.name !== undefined
          ? html`<button class="quiet" aria-label=${`${named(one.name)}. Filter by it.`} onClick=${() => pick(one.name)}><${Key} name=${one.name} index=${index} rows=${one.rows} /></button>`
          : html`<${Key} name=${one.name} index=${index} rows=${one.rows} />`}</li>`)}</ul>`}
  </figure>`;
}

/** @param {any} props */
const Key = ({ name, index, rows }) => html`<span class=${`swatch series-${tone(name, index)}`} aria-hidden="true"></span>${name === undefined ? html`<span class="faint">other</span>` : html`<${ChartValue} value=${name} />`}<span class="faint"> ${compact(rows.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0))}</span>`;

/** @param {any} name @param {number} index  undefined is what is left over */
const tone = (name, index) => (name === undefined ? "other" : (index % SERIES) + 1);

/** Which times get a mark. @param {number} length */
function ticks(length) {
  const wanted = Math.min(6, length);
  return Array.from({ length: wanted }, (_, at) => (wanted === 1 ? 0 : Math.round((at * (length - 1)) / (wanted - 1))));
}

/**
 * Two columns against each other: a table of counts, shaded.
 * @param {{ a: any[], b: any[], cells: number[][], pick: (a: any, b: any) => void, names: [string, string] }} props
 */
export function CrossTable({ a, b, cells, pick, names }) {
  const most = Math.max(1, ...cells.flat());
  return html`<div class="cross-box" tabindex="0" role="region" aria-label=${`${plain(names[0])} against ${plain(names[1])}`}><table class="cross">
    <thead><tr><th scope="col"><${Text} text=${names[0]} /> ╲ <${Text} text=${names[1]} /></th>${b.map((value, at) => html`<th key=${at} scope="col"><${ChartValue} value=${value} /></th>`)}</tr></thead>
    <tbody>${a.map((value, row) => html`<tr key=${row}><th scope="row"><${ChartValue} value=${value} /></th>
      ${b.map((other, column) => {
        const rows = cells[row]?.[column] ?? 0;
        return html`<td key=${column}>${rows === 0 ? html`<span class="faint">0</span>` : html`<button style=${{ "--share": String(Math.round(8 + 46 * Math.sqrt(rows / most))) }} class="cross-cell" aria-label=${`${named(value)}, ${named(other)}: ${count(rows)} rows. Filter by both.`} onClick=${() => pick(value, other)}>${compact(rows)}</button>`}</td>`;
      })}</tr>`)}</tbody>
  </table></div>`;
}
