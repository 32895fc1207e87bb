/** What runs, what is held, what went wrong. Read only. */

import { html, classes, useState } from "./html.js";
import { getLake, getOperations } from "./api.js";
import { Failures } from "./failures.js";
import { bytes, count, duration } from "./format.js";
import { Leases } from "./leases.js";
import { versions } from "./live.js";
import { Rejections } from "./rejections.js";
import { go, parameters } from "./route.js";
import { useAnswer, useSettled, useStore } from "./store.js";
import { Name, Text } from "./text.js";
import { Ago, Empty, Failure, Loading } from "./ui.js";
import { formatQuery } from "./url-text.js";
import { plain } from "./visible.js";

const AT_ONCE = 200;
const SHOWS = { work: "At work", rejections: "Rejections", failures: "Failed annotations" };

/** @param {{ query: string }} props */
export function OperationsPage({ query }) {
  const version = useSettled(JSON.stringify(useStore(versions)), 700);
  const given = parameters(query);
  const show = Object.hasOwn(SHOWS, given.get("show") ?? "") ? /** @type {string} */ (given.get("show")) : "work";
  const lake = useAnswer(version, getLake);
  const datasets = /** @type {any[]} */ (lake.data?.datasets ?? []);
  const usual = datasets.find((one) => (show === "failures" ? one.annotators.some((/** @type {any} */ annotator) => annotator.failed > 0) : one.rejections > 0)) ?? datasets[0];
  const dataset = given.get("dataset") ?? usual?.name ?? null;
  const set = (/** @type {Record<string, any>} */ change) => go(`/operations${formatQuery(Object.entries({ show, ...Object.fromEntries(given), ...change }))}`, { replace: !("show" in change) });
  return html`<div class="page">
    <div class="page-head"><h1>Operations</h1><span class="space"></span>
      ${show !== "work" && dataset !== null && html`<label class="inline">Dataset <select value=${dataset} onChange=${(/** @type {any} */ event) => set({ dataset: event.target.value, reason: null, kind: null, annotator: null })}>
        ${!datasets.some((one) => one.name === dataset) && html`<option value=${dataset}>${plain(dataset)}</option>`}
        ${datasets.map((one) => html`<option key=${one.name} value=${one.name}>${plain(one.name)}</option>`)}</select></label>`}
    </div>
    <nav class="tabs" aria-label="Operations">${Object.entries(SHOWS).map(([name, label]) => html`<a key=${name} class=${classes("tab", name === show && "here")} aria-current=${name === show ? "page" : undefined} href=${`/operations${formatQuery([["show", name === "work" ? null : name], ["dataset", given.get("dataset")]])}`}>${label}</a>`)}</nav>
    ${lake.error && html`<${Failure} error=${lake.error} again=${lake.again} />`}
    ${show === "work" && html`<${Work} version=${version} />`}
    ${show === "rejections" && dataset !== null && html`<${Rejections} key=${dataset} dataset=${dataset} version=${version} reason=${given.get("reason") ?? null} choose=${(/** @type {string | null} */ reason) => set({ reason })} />`}
    ${show === "failures" && dataset !== null && html`<${Failures} key=${dataset} dataset=${dataset} version=${version} annotator=${given.get("annotator") ?? null} kind=${given.get("kind") ?? null} choose=${(/** @type {any} */ what) => set(what)} />`}
    ${show !== "work" && dataset === null && !lake.loading && html`<${Empty} title="This lake is empty" />`}
  </div>`;
}

/** @param {any} props */
function Work({ version }) {
  const answer = useAnswer(version, getOperations);
  if (answer.data === null) return answer.error ? html`<${Failure} error=${answer.error} again=${answer.again} />` : html`<${Loading} what="what is at work" />`;
  const { runs, tasks, leases, stops } = answer.data;
  return html`
    <section class="card" aria-label="Runs"><h2>Runs</h2>${runs.length ? html`<${Runs} runs=${runs} />` : html`<${Empty} title="No runs" />`}</section>
    <section class="card" aria-label="Tasks"><h2>Tasks</h2>${tasks.length ? html`<${Tasks} tasks=${tasks} />` : html`<${Empty} title="No tasks">Tasks come from dataset files.</${Empty}>`}</section>
    <section class="card" aria-label="Leases"><h2>Leases</h2>${leases.length ? html`<${Leases} leases=${leases} />` : html`<${Empty} title="Nobody holds a lease" />`}</section>
    ${stops.length > 0 && html`<section class="card" aria-label="Stops"><h2>Asked to stop</h2><ul class="facts">${stops.map((/** @type {any} */ stop, /** @type {number} */ at) => html`<li key=${at}><${Stop} stop=${stop} /></li>`)}</ul></section>`}`;
}

/** @param {any} props */
const Stop = ({ stop }) => (typeof stop === "string" ? html`<${Name} name=${stop} />` : html`<b><${Name} name=${String(stop.dataset ?? "")} /></b> ${Object.entries(stop).filter(([key, value]) => key !== "dataset" && value !== null).map(([key, value]) => html`<span key=${key}><span class="faint">${key}</span> <${Text} text=${String(value)} /> </span>`)}`);

const STATES = { done: "done", completed: "done", succeeded: "done", running: "live", live: "live", failed: "failed", errored: "failed", dead: "failed" };

/** @param {{ state: string }} props */
const State = ({ state }) => html`<span class=${classes("state", STATES[/** @type {keyof typeof STATES} */ (String(state).toLowerCase())] ?? "pending")}>${String(state).toLowerCase()}</span>`;

/** @param {any} props */
const Runs = ({ runs }) => html`<div class="list-box" tabindex="0" role="region" aria-label="List of runs"><table class="list">
  <thead><tr><th scope="col">Dataset</th><th scope="col">Run</th><th scope="col">Kind</th><th scope="col">Batch or annotator</th><th scope="col">State</th><th scope="col" class="right">Rows</th><th scope="col">Started</th><th scope="col">Last activity</th></tr></thead>
  <tbody>${runs.map((/** @type {any} */ run, /** @type {number} */ at) => html`<tr key=${at}><td><a href=${`/d/${encodeURIComponent(run.dataset)}`}><${Name} name=${run.dataset} /></a></td><td><code>${run.run}</code></td><td>${run.kind}</td><td><${Name} name=${run.batch ?? run.annotator ?? "–"} /></td><td><${State} state=${run.state} /></td><td class="right">${count(run.rows)}</td><td><${Ago} iso=${run.started} /></td><td><${Ago} iso=${run.lastActivity} /></td></tr>`)}</tbody></table></div>`;

/** What a task has counted. @param {Record<string, number>} counts */
const counted = (counts) => Object.entries(counts).filter(([, value]) => value).map(([name, value]) => (name === "bytes" ? bytes(value) : `${count(value)} ${name}`)).join(", ");

/** @param {any} props */
function Tasks({ tasks }) {
  const [limit, setLimit] = useState(AT_ONCE);
  return html`<div class="list-box" tabindex="0" role="region" aria-label="List of tasks"><table class="list">
    <thead><tr><th scope="col">Dataset</th><th scope="col">Reads</th><th scope="col">State</th><th scope="col">Counts</th><th scope="col" class="right">Time</th><th scope="col">Last error</th></tr></thead>
    <tbody>${tasks.slice(0, limit).map((/** @type {any} */ task, /** @type {number} */ at) => html`<tr key=${at}><td><a href=${`/d/${encodeURIComponent(task.dataset)}`}><${Name} name=${task.dataset} /></a></td><td class="wrap" title=${`Task ${plain(String(task.task))}`}><${Name} name=${String(task.item ?? task.task)} /></td><td><${State} state=${task.state} /></td><td class="wrap">${counted(task.counts ?? {})}</td><td class="right">${duration(task.seconds)}</td><td class="wrap">${task.lastError && html`<${Text} text=${String(task.lastError)} limit=${400} />`}</td></tr>`)}</tbody></table></div>
    ${tasks.length > limit && html`<button onClick=${() => setLimit(limit * 4)}>Show more of ${count(tasks.length)} tasks</button>`}`;
}
