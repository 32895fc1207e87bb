/** The lake: its datasets, who works on them, and how it grows. */

import { html, useState } from "./html.js";
import { getActivity, getLake } from "./api.js";
import { TimeBars } from "./charts.js";
import { bytes, compact, cost, count, percent, plural } from "./format.js";
import { Leases } from "./leases.js";
import { versions } from "./live.js";
import { go, parameters } from "./route.js";
import { useAnswer, useNow, useSettled, useStore } from "./store.js";
import { Name, Text } from "./text.js";
import { Ago, Empty, Failure, Icon, Loading, Tile } from "./ui.js";
import { formatQuery, parseQuery } from "./url-text.js";
import { plain } from "./visible.js";

const WINDOWS = { minute: ["last hour", 60], hour: ["last 3 days", 72], day: ["last 60 days", 60] };
const MILLISECONDS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** @param {{ query: string }} props */
export function LakePage({ query }) {
  const version = useSettled(JSON.stringify(useStore(versions)), 700);
  const lake = useAnswer(version, getLake);
  if (lake.data === null) return lake.error ? html`<${Failure} error=${lake.error} again=${lake.again} />` : html`<${Loading} what="the lake" />`;
  const { datasets, leases } = lake.data;
  const sum = (/** @type {string} */ key) => datasets.reduce((/** @type {number} */ total, /** @type {any} */ dataset) => total + (dataset[key] ?? 0), 0);
  return html`<div class="page">
    <h1 class="offscreen">Lake</h1>
    <div class="tiles">
      <${Tile} label="Datasets" value=${count(datasets.length)} />
      <${Tile} label="Rows" value=${compact(sum("rows"))} title=${count(sum("rows"))} />
      <${Tile} label="Not merged yet" value=${compact(sum("unmergedRows"))} note=${plural(sum("unmergedChunks"), "chunk")} />
      <${Tile} label="Size" value=${bytes(sum("bytes"))} />
      <${Tile} label="Runs at work" value=${count(sum("runs"))} note=${sum("runs") > 0 && html`<a href="/operations">Look at them</a>`} />
      <${Tile} label="Rejections" value=${count(sum("rejections"))} note=${sum("rejections") > 0 && html`<a href="/operations?show=rejections">Look at them</a>`} />
    </div>
    ${lake.error && html`<${Failure} error=${lake.error} again=${lake.again} />`}
    <${Activity} datasets=${datasets} query=${query} version=${version} />
    <${Datasets} datasets=${datasets} />
    ${leases.length > 0 && html`<section class="card" aria-label="Leases"><h2>Leases</h2><${Leases} leases=${leases} /></section>`}
  </div>`;
}

/** @param {any} props */
function Activity({ datasets, query, version }) {
  const given = parameters(query);
  const bucket = /** @type {keyof typeof WINDOWS} */ (Object.hasOwn(WINDOWS, given.get("bucket") ?? "") ? given.get("bucket") : "hour");
  const only = parseQuery(query).filter(([key]) => key === "dataset").map(([, name]) => name);
  const now = Math.ceil(useNow() / MILLISECONDS[bucket]) * MILLISECONDS[bucket];
  const wanted = /** @type {[string, any][]} */ ([["bucket", bucket], ["from", new Date(now - WINDOWS[bucket][1] * MILLISECONDS[bucket]).toISOString()], ["to", new Date(now).toISOString()], ...only.map((name) => ["dataset", name])]);
  const activity = useAnswer(JSON.stringify([wanted, version]), (signal) => getActivity(wanted, signal));
  const data = activity.data;
  const set = (/** @type {string} */ name, /** @type {string[]} */ names) => go(`/${formatQuery([["bucket", name === "hour" ? null : name], ...names.map((one) => /** @type {[string, any]} */ (["dataset", one]))])}`, { replace: true });
  const series = data === null ? [] : folded(data.series);
  return html`<section class="card" aria-label="Activity" aria-busy=${String(activity.loading)}>
    <h2>Activity <span class="faint">rows written per ${bucket}, ${WINDOWS[bucket][0]}</span><span class="space"></span>
      ${only.length > 0 && html`<button class="quiet" onClick=${() => set(bucket, [])}>All datasets</button>`}
      <span class="switch" role="group" aria-label="Bucket of time">${Object.keys(WINDOWS).map((name) => html`<button key=${name} aria-pressed=${String(name === bucket)} onClick=${() => set(name, only)}>${name}</button>`)}</span></h2>
    ${activity.error && html`<${Failure} error=${activity.error} again=${activity.again} />`}
    ${data === null && !activity.error && html`<div class="chart-space"><${Loading} what="activity" /></div>`}
    ${data && html`<${TimeBars} times=${data.times} series=${series} bucket=${bucket} label="Rows written" pick=${datasets.length > 1 ? (/** @type {string} */ name) => set(bucket, only.length ? [] : [name]) : null} />`}
  </section>`;
}

/** The largest series, and all others as one. @param {{ dataset: string, rows: number[] }[]} series */
function folded(series) {
  const total = (/** @type {number[]} */ rows) => rows.reduce((a, b) => a + b, 0);
  const sorted = series.filter((one) => total(one.rows) > 0).sort((a, b) => total(b.rows) - total(a.rows));
  const first = sorted.slice(0, 7).map((one) => ({ name: /** @type {any} */ (one.dataset), rows: one.rows }));
  const rest = sorted.slice(7);
  if (rest.length) first.push({ name: undefined, rows: rest[0].rows.map((_, at) => rest.reduce((sum, one) => sum + one.rows[at], 0)) });
  return first;
}

/** @param {any} props */
function Datasets({ datasets }) {
  const [wanted, setWanted] = useState("");
  const fitting = datasets.filter((/** @type {any} */ dataset) => dataset.name.toLowerCase().includes(wanted.toLowerCase()));
  if (datasets.length === 0) return html`<${Empty} title="This lake is empty">Datasets appear here as soon as a row is written.</${Empty}>`;
  return html`<section class="card" aria-label="Datasets">
    <h2>Datasets <span class="space"></span>${datasets.length > 8 && html`<input type="search" aria-label="Find a dataset" placeholder="Find" value=${wanted} onInput=${(/** @type {any} */ event) => setWanted(event.target.value)} />`}</h2>
    <ul class="datasets">${fitting.map((/** @type {any} */ dataset) => html`<${Dataset} key=${dataset.name} dataset=${dataset} />`)}</ul>
  </section>`;
}

/** @param {any} props */
function Dataset({ dataset }) {
  const live = dataset.runs ?? 0;
  return html`<li class="dataset">
    <div class="dataset-head">
      <a class="dataset-name" href=${`/d/${encodeURIComponent(dataset.name)}`}><${Name} name=${dataset.name} /></a>
      ${live > 0 && html`<span class="state done"><span class="pulse" aria-hidden="true"></span>${plural(live, "run")} at work</span>`}
      <span class="space"></span>
      <span class="faint"><${Ago} iso=${dataset.lastActivity} /></span>
    </div>
    <ul class="facts">
      <li><b>${count(dataset.rows)}</b> ${dataset.rows === 1 ? "row" : "rows"}</li>
      ${dataset.unmergedRows > 0 && html`<li><span class="unmerged-mark"></span><b>${count(dataset.unmergedRows)}</b> not merged, in ${plural(dataset.unmergedChunks, "chunk")}</li>`}
      <li>${plural(dataset.batches, "batch", "batches")}</li><li>${bytes(dataset.bytes)}</li><li>${plural(Array.isArray(dataset.columns) ? dataset.columns.length : dataset.columns, "column")}</li>
      ${(dataset.problems ?? []).map((/** @type {any} */ problem, /** @type {number} */ at) => html`<li key=${at} class="bad"><${Icon} name="alert" /><${Text} text=${typeof problem === "string" ? problem : (problem.message ?? JSON.stringify(problem))} /></li>`)}
      ${dataset.rejections > 0 && html`<li><a href=${`/operations${formatQuery([["dataset", dataset.name], ["show", "rejections"]])}`}>${plural(dataset.rejections, "rejection")}</a></li>`}
      <li><a href=${`/d/${encodeURIComponent(dataset.name)}/charts`}><${Icon} name="chart" />Charts</a></li>
    </ul>
    ${dataset.annotators.length > 0 && html`<ul class="coverages" aria-label=${`Annotators of ${plain(dataset.name)}`}>${dataset.annotators.map((/** @type {any} */ annotator) => html`<${Coverage} key=${annotator.name} annotator=${annotator} dataset=${dataset.name} />`)}</ul>`}
  </li>`;
}

/** How far an annotator is: done, skipped, failed, pending. @param {any} props */
function Coverage({ annotator, dataset }) {
  const parts = /** @type {[string, number][]} */ ([["done", annotator.done], ["skipped", annotator.skipped], ["failed", annotator.failed], ["pending", annotator.pending]]);
  const total = parts.reduce((sum, [, rows]) => sum + (rows ?? 0), 0);
  const said = parts.map(([name, rows]) => `${name} ${count(rows)}`).join(", ");
  const share = annotator.share ?? (total ? (annotator.done + annotator.skipped) / total : 0);
  return html`<li class="coverage">
    <span class="coverage-name"><${Name} name=${annotator.name} /></span>
    <span class="meter" role="img" aria-label=${said} title=${said}>${parts.map(([name, rows]) => rows > 0 && html`<span key=${name} class=${`part ${name}`} style=${{ flexGrow: String(rows) }}></span>`)}</span>
    <b class="coverage-share">${percent(share)}</b>
    <span class="coverage-facts">
      <span><span class="swatch done"></span>${compact(annotator.done)} done</span>
      ${annotator.skipped > 0 && html`<span><span class="swatch skipped"></span>${compact(annotator.skipped)} skipped</span>`}
      ${annotator.failed > 0 && html`<a href=${`/operations${formatQuery([["dataset", dataset], ["show", "failures"], ["annotator", annotator.name]])}`}><span class="swatch failed"></span>${compact(annotator.failed)} failed</a>`}
      ${annotator.pending > 0 && html`<span><span class="swatch pending"></span>${compact(annotator.pending)} pending</span>`}
      ${annotator.cost > 0 && html`<span class="faint">cost ${cost(annotator.cost)}</span>`}
      <span class="faint"><${Ago} iso=${annotator.lastActivity} /></span>
    </span>
  </li>`;
}
