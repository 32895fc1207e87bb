/** Keys that work here, and what the marks mean. */

import { html } from "./html.js";
import { knownKeys } from "./keyboard.js";
import { Dialog } from "./ui.js";

const SHOWN = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Escape: "esc" };

/** @param {{ close: () => void }} props */
export function Help({ close }) {
  const keys = knownKeys();
  return html`<${Dialog} title="Keys" close=${close}>
    <dl class="keys">${keys.map(({ key, does }) => html`<div key=${key}><dt>${key.split(" ").map((one) => html`<kbd key=${one}>${SHOWN[/** @type {keyof typeof SHOWN} */ (one)] ?? one}</kbd>`)}</dt><dd>${does}</dd></div>`)}</dl>
    <h3>Marks</h3>
    <dl class="keys">
      <div><dt><span class="unmerged-mark"></span></dt><dd>The row is written but not merged yet.</dd></div>
      <div><dt><span class="null">null</span></dt><dd>No value; a missing one is the same.</dd></div>
      <div><dt><span class="symbol">RLO</span></dt><dd>A character that would not be seen, or would act: shown by its name.</dd></div>
    </dl>
    <p class="hint">The address holds all that is on the screen: copy it to share it.</p>
  </${Dialog}>`;
}
