/** Builds a filter: conditions joined by all, any and none, to any depth; or the same as JSON or Python. */

import { html, useState } from "./html.js";
import { convertFilter, getCount } from "./api.js";
import { plural } from "./format.js";
import { finished, firstCondition, makeGroup, readGroup } from "./filters.js";
import { Group } from "./filter-builder.js";
import { useAnswer, useSettled } from "./store.js";
import { CopyButton, Dialog, Failure } from "./ui.js";
import { Text } from "./text.js";
import { emptyView } from "./view.js";

const FORMS = [["build", "Conditions"], ["json", "JSON"], ["python", "Python"]];

/** @param {any} filter @returns {import("./filters.js").Node} the filter as a group, to which more can be added */
const asGroup = (filter) => (filter === null ? { type: "all", filters: [] } : readGroup(filter) === null ? { type: "all", filters: [filter] } : filter);

/** @param {import("./filters.js").Node} draft @param {import("./columns.js").Column[]} columns @returns {any} */
const asFilter = (draft, columns) => (draft.type === "all" && draft.filters.length === 0 ? null : finished(draft, columns));

/**
 * @param {{
 *   dataset: string,
 *   columns: import("./columns.js").Column[],
 *   view: import("./view.js").View,
 *   first: string | null,
 *   change: (change: Partial<import("./view.js").View>) => void,
 *   close: () => void,
 * }} props  first: a column to begin with
 */
export function FilterDialog({ dataset, columns, view, first, change, close }) {
  const [draft, setDraft] = useState(() => begun(asGroup(view.filter), columns, first));
  const [form, setForm] = useState("build");
  const settled = useSettled(draft, 250);
  const wanted = { ...emptyView(), search: view.search, batch: view.batch, filter: asFilter(settled, columns) };
  const matches = useAnswer(JSON.stringify(wanted), (signal) => getCount(dataset, wanted, signal));
  const apply = () => {
    change({ filter: asFilter(draft, columns) });
    close();
  };
  const submit = (/** @type {KeyboardEvent} */ event) => {
    const inInput = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
    if (event.key === "Enter" && (inInput || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      apply();
    }
  };
  const status = matches.error ? null : matches.data && !matches.loading && settled === draft ? `${plural(matches.data.rows, "row")} match${matches.data.rows === 1 ? "es" : ""}` : "Counting…";
  return html`<${Dialog} title="Filter" wide close=${close} actions=${html`
      <span class="count-note" role="status">${status}</span><span class="space"></span>
      <button onClick=${() => setDraft(asGroup(null))}>Remove all</button><button class="main" onClick=${apply}>Apply</button>`}>
    <div class="switch" role="group" aria-label="How the filter is shown">
      ${FORMS.map(([name, label]) => html`<button key=${name} aria-pressed=${String(form === name)} onClick=${() => setForm(name)}>${label}</button>`)}
    </div>
    <div onKeyDown=${submit}>
      ${form === "build" && html`<${Builder} draft=${draft} setDraft=${setDraft} columns=${columns} />`}
      ${form === "json" && html`<${Written} key="json" what="JSON" of=${(/** @type {any} */ answer) => JSON.stringify(answer.filter, null, 2)} ask=${(/** @type {string} */ text, /** @type {AbortSignal} */ signal) => convertFilter({ json: parsed(text) }, signal)} draft=${draft} setDraft=${setDraft} />`}
      ${form === "python" && html`<${Written} key="python" what="Python" of=${(/** @type {any} */ answer) => answer.python} ask=${(/** @type {string} */ text, /** @type {AbortSignal} */ signal) => convertFilter({ python: text }, signal)} draft=${draft} setDraft=${setDraft} />`}
    </div>
    ${matches.error && !matches.loading && html`<${Failure} error=${matches.error} />`}
  </${Dialog}>`;
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text; // the server says what is wrong with it
  }
}

/** @param {import("./filters.js").Node} draft @param {import("./columns.js").Column[]} columns @param {string | null} first */
function begun(draft, columns, first) {
  const group = readGroup(draft);
  const name = first ?? (group?.filters.length === 0 ? columns.find((column) => !column.system)?.name : null);
  const column = columns.find((other) => other.name === name);
  if (group === null || column === undefined) return draft;
  if (group.how === "all") return makeGroup({ ...group, filters: [...group.filters, firstCondition(column)] });
  return { type: "all", filters: [draft, firstCondition(column)] };
}

/** @param {any} props */
function Builder({ draft, setDraft, columns }) {
  return html`<${Group} node=${draft} columns=${columns} change=${(/** @type {any} */ node) => setDraft(node)} remove=${null} depth=${0} />
    <p class="hint">Names in an expression: <code>text</code>, <code>annotator.column</code>, <code>"odd name"</code>. Null is neither true nor false.</p>`;
}

/** The filter as text of a language, to copy and to paste. @param {any} props */
function Written({ what, of, ask, draft, setDraft }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [problems, setProblems] = useState(/** @type {{ path: string, message: string }[]} */ ([]));
  const written = useAnswer(JSON.stringify(draft), (signal) => convertFilter({ json: draft }, signal));
  const shown = text ?? (written.data === null ? "" : of(written.data));
  const take = async () => {
    try {
      const answer = await ask(shown, new AbortController().signal);
      setProblems(answer.problems ?? []);
      setError(null);
      if ((answer.problems ?? []).length > 0 || !answer.filter) return;
      setDraft(asGroup(answer.filter));
      setText(null);
    } catch (failure) {
      setError(/** @type {Error} */ (failure));
    }
  };
  return html`<label class="field">Filter as ${what}
      <textarea class="code" rows="12" spellcheck=${false} autocomplete="off" value=${shown} onInput=${(/** @type {any} */ event) => setText(event.target.value)}></textarea>
    </label>
    <div class="row-of"><${CopyButton} text=${shown} label=${`Copy ${what}`} /><button disabled=${text === null} onClick=${take}>Use this ${what}</button></div>
    ${problems.map((problem) => html`<div class="notice bad" role="alert"><div class="notice-text"><${Text} text=${problem.path ? `${problem.path}: ${problem.message}` : problem.message} /></div></div>`)}
    ${(error ?? written.error) && html`<${Failure} error=${error ?? written.error} />`}`;
}
