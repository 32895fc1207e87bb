/** Everything about one row: its fields, what annotators said, where it came from. */

import { html, classes, useState } from "./html.js";
import { cellAddress, getCell } from "./api.js";
import { cost, count, duration, number, time } from "./format.js";
import { JsonTree } from "./json-tree.js";
import { LongText, Name, Text } from "./text.js";
import { Ago, CopyButton, Icon } from "./ui.js";
import { plain } from "./visible.js";

/**
 * A value with all of its text.
 * @param {{ value: any, type: string, cut?: { length: number, address: string } | null }} props  cut: the value is longer, and where the rest is
 */
export function Value({ value, type, cut = null }) {
  const [whole, setWhole] = useState(/** @type {string | null} */ (null));
  const [failed, setFailed] = useState(/** @type {string | null} */ (null));
  const shown = whole ?? value;
  const load = () => getCell(cut?.address ?? "").then(setWhole, (error) => setFailed(error.message));
  return html`<${Shown} value=${shown} type=${type} />
    ${cut !== null && whole === null && html`<p class="more"><button onClick=${load}>Show all ${count(cut.length)} characters</button>
      <a class="button quiet" href=${cut.address} download><${Icon} name="download" />Download</a>${failed && html`<span class="bad">${failed}</span>`}</p>`}`;
}

/** @param {{ value: any, type: string }} props */
function Shown({ value, type }) {
  if (value === null || value === undefined) return html`<span class="null">null</span>`;
  if (typeof value === "boolean") return html`<span class=${value ? "yes" : "no"}><${Icon} name=${value ? "check" : "close"} />${String(value)}</span>`;
  if (typeof value === "number") return html`<span class="number" title=${String(value)}>${number(value)}</span>`;
  if (typeof value === "object") return html`<${JsonTree} value=${value} />`;
  if (type === "time") return html`<span class="number">${time(value)}</span> <span class="faint"><${Ago} iso=${value} /></span>`;
  return html`<div class="value-text"><${LongText} text=${value} /></div>`;
}

/** @param {any} value */
const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/**
 * @param {{ fields: [string, any][], type: (name: string) => string, cut: (name: string) => any, label: string }} props
 */
function Fields({ fields, type, cut, label }) {
  return html`<dl class="fields" aria-label=${label}>
    ${fields.map(([name, value]) => html`<div class="field-row" key=${name}>
        <dt><span class="field-name"><${Name} name=${name} /></span><span class="faint type">${type(name)}</span>
          ${value !== null && value !== undefined && html`<${CopyButton} quiet label="" text=${() => asText(value)} title=${`Copy ${plain(name)}`} />`}</dt>
        <dd><${Value} value=${value} type=${type(name)} cut=${cut(name)} /></dd>
      </div>`)}
  </dl>`;
}

const STATUS = { done: "check", skipped: "minus", failed: "alert", pending: "dice" };

/** @param {{ annotation: any, types: any, cut: (name: string) => any }} props */
function Annotation({ annotation, types, cut }) {
  const facts = [
    annotation.version !== null && annotation.version !== undefined && ["version", html`<${Text} text=${String(annotation.version)} />`],
    annotation.code && ["code", html`<${Text} text=${String(annotation.code).slice(0, 16)} />`],
    annotation.cost !== null && annotation.cost !== undefined && ["cost", cost(annotation.cost)],
    annotation.seconds !== null && annotation.seconds !== undefined && ["took", duration(annotation.seconds)],
    annotation.attempts !== null && annotation.attempts !== undefined && ["attempts", count(annotation.attempts)],
    annotation.tokens && ["tokens", `${count(annotation.tokens.input)} in, ${count(annotation.tokens.output)} out`],
    annotation.at && ["at", html`<${Ago} iso=${annotation.at} />`],
  ].filter(Boolean);
  const status = /** @type {keyof typeof STATUS} */ (annotation.status ?? "pending");
  return html`<section class=${classes("card", "annotation", status)} aria-label=${`Annotation by ${plain(annotation.annotator)}`}>
    <h3><${Name} name=${annotation.annotator} /><span class=${classes("state", status)}><${Icon} name=${STATUS[status] ?? "dice"} />${status}</span></h3>
    ${facts.length > 0 && html`<ul class="facts">${facts.map(([label, value]) => html`<li key=${label}><span class="faint">${label}</span> ${value}</li>`)}</ul>`}
    ${annotation.error && html`<div class="notice bad"><div class="notice-text"><${Text} text=${String(annotation.error)} /></div></div>`}
    <${Fields} label=${`Columns of ${plain(annotation.annotator)}`} fields=${Object.entries(annotation.fields ?? {})} type=${(/** @type {string} */ name) => types[`${annotation.annotator}.${name}`] ?? ""} cut=${(/** @type {string} */ name) => cut(`${annotation.annotator}.${name}`)} />
    ${annotation.metadata !== null && annotation.metadata !== undefined && html`<div class="meta"><span class="faint">metadata</span><${JsonTree} value=${annotation.metadata} /></div>`}
  </section>`;
}

/** @param {any} source */
const sourceLines = (source) => Object.entries(source).filter(([, value]) => value !== null && value !== undefined);

/**
 * @param {{ dataset: string, row: any }} props  row: as the server tells it
 */
export function RowDetails({ dataset, row }) {
  const lengths = new Map((row.truncated ?? []).map((/** @type {[string, number]} */ [name, length]) => [name, length]));
  const cut = (/** @type {string} */ name) => (lengths.has(name) ? { length: lengths.get(name), address: cellAddress(dataset, row.batch, row.id, name) } : null);
  const type = (/** @type {string} */ name) => row.types?.[name] ?? "";
  const own = Object.entries(row.fields).filter(([name]) => !["id", "_batch", "_created_at"].includes(name));
  return html`
    <ul class="facts first">
      <li><span class="faint">id</span> <${Name} name=${row.id} /></li>
      <li><span class="faint">batch</span> <${Name} name=${row.batch} /></li>
      ${row.fields._created_at && html`<li><span class="faint">created</span> <${Ago} iso=${row.fields._created_at} /> <span class="faint">${time(row.fields._created_at)}</span></li>`}
      ${!row.merged && html`<li><span class="state pending"><span class="unmerged-mark"></span>not merged yet</span></li>`}
    </ul>
    <section class="card" aria-label="Fields"><h3>Fields</h3><${Fields} label="Fields of the row" fields=${own} type=${type} cut=${cut} /></section>
    ${row.annotations.map((/** @type {any} */ annotation) => html`<${Annotation} key=${annotation.annotator} annotation=${annotation} types=${row.types ?? {}} cut=${cut} />`)}
    ${row.source && html`<section class="card" aria-label="Source"><h3>Source</h3>
      <dl class="fields">${sourceLines(row.source).map(([name, value]) => html`<div class="field-row" key=${name}><dt><span class="field-name">${name}</span></dt><dd><${Value} value=${value} type="" /></dd></div>`)}</dl></section>`}`;
}

/** A row as JSON text: what it holds, and what was said of it. @param {any} row */
export function rowJson(row) {
  const annotations = Object.fromEntries(row.annotations.map((/** @type {any} */ { annotator, ...rest }) => [annotator, rest]));
  return JSON.stringify({ id: row.id, batch: row.batch, fields: row.fields, annotations, source: row.source ?? null }, null, 2);
}

