/** The form of a filter: groups within groups, conditions, expressions. */

import { html, classes } from "./html.js";
import { firstCondition, makeGroup, operatorsFor, OPERATORS, readCondition, readGroup, typed } from "./filters.js";
import { grouped } from "./columns.js";
import { Icon } from "./ui.js";
import { plain } from "./visible.js";

const HOW = { all: "All of these hold", any: "At least one holds", none: "None of these holds" };

/**
 * @param {{
 *   node: import("./filters.js").Node,
 *   columns: import("./columns.js").Column[],
 *   change: (node: import("./filters.js").Node) => void,
 *   remove: (() => void) | null,
 *   depth: number,
 * }} props
 */
export function Group({ node, columns, change, remove, depth }) {
  const group = /** @type {import("./filters.js").Group} */ (readGroup(node));
  const set = (/** @type {import("./filters.js").Node[]} */ filters) => change(makeGroup({ ...group, filters }));
  const add = (/** @type {import("./filters.js").Node} */ filter) => set([...group.filters, filter]);
  const usual = columns.find((column) => !column.system) ?? columns[0];
  return html`<div class=${classes("group-box", depth % 2 && "odd")} role="group" aria-label=${HOW[group.how]}>
    <div class="group-head">
      <select aria-label="How the conditions are joined" value=${group.how} onChange=${(/** @type {any} */ event) => change(makeGroup({ ...group, how: event.target.value }))}>
        ${Object.entries(HOW).map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
      </select>
      <span class="space"></span>
      ${remove && html`<button class="quiet square" aria-label="Remove the group" onClick=${remove}><${Icon} name="close" /></button>`}
    </div>
    ${group.filters.map((filter, at) => html`<${Part} key=${at} node=${filter} columns=${columns} depth=${depth + 1}
        change=${(/** @type {any} */ next) => set(group.filters.map((other, index) => (index === at ? next : other)))}
        remove=${() => set(group.filters.filter((_, index) => index !== at))} />`)}
    ${group.filters.length === 0 && html`<p class="hint">${group.how === "any" ? "No condition yet: selects nothing." : "No condition yet: selects every row."}</p>`}
    <div class="group-add">
      ${usual && html`<button onClick=${() => add(firstCondition(usual))}><${Icon} name="plus" />Condition</button>`}
      <button onClick=${() => add({ type: group.how === "any" ? "all" : "any", filters: usual ? [firstCondition(usual)] : [] })}><${Icon} name="plus" />Group</button>
      <button onClick=${() => add({ type: "raw_duck", sql: "" })}><${Icon} name="plus" />Expression</button>
    </div>
  </div>`;
}

/** @param {any} props */
function Part({ node, columns, change, remove, depth }) {
  if (readGroup(node) !== null) return html`<${Group} node=${node} columns=${columns} change=${change} remove=${remove} depth=${depth} />`;
  if (node.type === "raw_duck") return html`<${Expression} node=${node} change=${change} remove=${remove} />`;
  if (readCondition(node) !== null) return html`<${Condition} node=${node} columns=${columns} change=${change} remove=${remove} />`;
  return html`<div class="condition"><code class="unknown">${plain(JSON.stringify(node))}</code><${Remove} remove=${remove} /></div>`;
}

/** @param {{ remove: () => void }} props */
const Remove = ({ remove }) => html`<button class="quiet square" aria-label="Remove the condition" onClick=${remove}><${Icon} name="close" /></button>`;

/** @param {any} props */
function Expression({ node, change, remove }) {
  return html`<div class="condition">
    <textarea class="code" rows="2" aria-label="DuckDB expression" placeholder="length(text) > 20 AND lang.label = 'en'" spellcheck=${false} value=${node.sql} onInput=${(/** @type {any} */ event) => change({ ...node, sql: event.target.value })}></textarea>
    <${Remove} remove=${remove} />
  </div>`;
}

/** @param {any} props */
function Condition({ node, columns, change, remove }) {
  const { operator, field, value } = /** @type {any} */ (readCondition(node));
  const column = columns.find((/** @type {any} */ other) => other.name === field) ?? { name: field, type: "text", annotator: null, system: false };
  const choices = operatorsFor(column.type);
  const offered = choices.includes(operator) ? choices : [operator, ...choices];
  const takeColumn = (/** @type {string} */ name) => {
    const next = columns.find((/** @type {any} */ other) => other.name === name) ?? column;
    const keeps = operator.types.includes(next.type) && next.type === column.type;
    change(keeps ? operator.make(name, value) : firstCondition(next));
  };
  const takeOperator = (/** @type {string} */ name) => {
    const next = /** @type {import("./filters.js").Operator} */ (OPERATORS.find((other) => other.name === name));
    change(next.make(field, converted(value, operator.input, next.input)));
  };
  return html`<div class="condition">
    <select class="grow" aria-label="Column" value=${field} onChange=${(/** @type {any} */ event) => takeColumn(event.target.value)}>
      ${!columns.some((/** @type {any} */ other) => other.name === field) && html`<option value=${field}>${plain(field)} (not there)</option>`}
      ${grouped(columns).map((group, at) => html`<optgroup key=${at} label=${group.annotator === null ? "base" : plain(group.annotator)}>
          ${group.columns.map((other) => html`<option key=${other.name} value=${other.name}>${plain(other.name)}</option>`)}</optgroup>`)}
    </select>
    <select aria-label="Condition" value=${operator.name} onChange=${(/** @type {any} */ event) => takeOperator(event.target.value)}>
      ${offered.map((/** @type {any} */ other) => html`<option key=${other.name} value=${other.name}>${other.label}</option>`)}
    </select>
    <${Value} input=${operator.input} type=${column.type} value=${value} set=${(/** @type {any} */ next) => change(operator.make(field, next))} />
    <${Remove} remove=${remove} />
  </div>`;
}

/** What was typed for one operator, for the next. @param {any} value @param {string} from @param {string} to */
function converted(value, from, to) {
  const one = Array.isArray(value) ? (value[0] ?? "") : (value ?? "");
  if (to === "list") return from === "list" ? value : one === "" ? [] : [one];
  if (to === "range") return [one, null];
  return to === "none" ? null : to === "text" || to === "pattern" ? String(one) : one;
}

/** @param {any} props */
function Value({ input, type, value, set }) {
  const numeric = type === "int" || type === "float";
  if (input === "none") return html`<span class="grow"></span>`;
  if (input === "list")
    return html`<textarea class="grow" rows="3" aria-label="Values, one on each line" placeholder="one on each line" spellcheck=${false} value=${(value ?? []).join("\n")}
      onInput=${(/** @type {any} */ event) => set(event.target.value === "" ? [] : event.target.value.split("\n").map((/** @type {string} */ line) => typed(line, type)))}></textarea>`;
  const field = (/** @type {any} */ current, /** @type {(value: any) => void} */ take, /** @type {string} */ label) => html`<input class="grow" type="text" inputmode=${numeric ? "decimal" : "text"} aria-label=${label} spellcheck=${false} autocomplete="off" value=${current ?? ""}
      placeholder=${type === "time" ? "2026-11-20T13:00:00Z" : numeric ? "a number" : input === "pattern" ? "regular expression" : ""}
      onInput=${(/** @type {any} */ event) => take(input === "value" || input === "range" ? typed(event.target.value, type) : event.target.value)} />`;
  if (input !== "range") return field(value, set, "Value");
  const bound = (/** @type {number} */ at) => (/** @type {any} */ next) => set(value.map((/** @type {any} */ old, /** @type {number} */ index) => (index === at ? (next === "" ? null : next) : old)));
  return html`<span class="grow two">${field(value[0], bound(0), "From")}<span class="faint">to</span>${field(value[1], bound(1), "To")}</span>`;
}
