/** Small things that every page is made of. */

import { html, useEffect, useRef, useState } from "./html.js";
import { ago, time } from "./format.js";
import { useNow } from "./store.js";
import { Text } from "./text.js";

const ICONS = {
  alert: "M8 2 1.5 13.5h13L8 2Zm0 4.5v3.2m0 1.9v.2",
  chart: "M2 14h12M4 11V7m4 4V3m4 8V5.5",
  check: "m3 8.5 3.2 3L13 4.5",
  close: "m4 4 8 8m0-8-8 8",
  columns: "M2 3h12v10H2zM6 3v10m4-10v10",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  dice: "M2.5 2.5h11v11h-11zM5.5 5.5h.01m5 0h.01M8 8h.01M5.5 10.5h.01m5 0h.01",
  down: "M8 3v10m-4-4 4 4 4-4",
  download: "M8 2v8m-3.5-3L8 10.5 11.5 7M2.5 13.5h11",
  expand: "M6 2.5H2.5V6m11 0V2.5H10M2.5 10v3.5H6m4 0h3.5V10",
  filter: "M2 3h12l-4.7 5.5V13L6.7 11.5v-3z",
  left: "m10 3-5 5 5 5",
  lines: "M2.5 4h11M2.5 8h11M2.5 12h7",
  link: "M6.5 9.5 9.5 6.5M7.5 4.5l1-1a2.8 2.8 0 0 1 4 4l-1 1M8.5 11.5l-1 1a2.8 2.8 0 0 1-4-4l1-1",
  minus: "M3 8h10",
  moon: "M13 9.5A5.5 5.5 0 1 1 6.5 3a4.5 4.5 0 0 0 6.5 6.5Z",
  open: "m3 6 5 5 5-5",
  plus: "M8 3v10M3 8h10",
  right: "m6 3 5 5-5 5",
  rows: "M2 3.5h12M2 8h12M2 12.5h12",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9Zm3.3 7.8 3.4 3.4",
  sun: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6ZM8 1v1.5m0 11V15M1 8h1.5m11 0H15M3 3l1 1m8 8 1 1M3 13l1-1m8-8 1-1",
  system: "M2 3h12v8H2zM6 14h4m-2-3v3",
  up: "M8 13V3M4 7l4-4 4 4",
};

/** @param {{ name: keyof typeof ICONS }} props */
export const Icon = ({ name }) =>
  html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false"><path d=${ICONS[name]} /></svg>`;

/** When something was: how long ago, and exactly when one points at it. @param {{ iso: string | null | undefined }} props */
export function Ago({ iso }) {
  const now = useNow();
  return iso ? html`<time datetime=${iso} title=${time(iso)}>${ago(iso, now)}</time>` : html`<span class="faint">never</span>`;
}

/** What went wrong, and a way on. @param {{ error: Error, again?: () => void, children?: any }} props */
export const Failure = ({ error, again, children }) =>
  html`<div class="notice bad" role="alert">
    <${Icon} name="alert" /><div class="notice-text"><${Text} text=${error.message} /></div>
    ${children}${again && html`<button onClick=${again}>Try again</button>`}
  </div>`;

/** Nothing here, and why. @param {{ title: string, children?: any }} props */
export const Empty = ({ title, children }) => html`<div class="empty"><p class="empty-title">${title}</p>${children && html`<p>${children}</p>`}</div>`;

/** Something is on its way, and for how long when it is long. @param {{ what: string }} props */
export function Loading({ what }) {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setSeconds((old) => old + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<div class="loading" role="status"><span class="spinner" aria-hidden="true"></span>Loading ${what}…${seconds > 1 && html`<span class="faint" aria-hidden="true">${seconds} s</span>`}</div>`;
}

/** Puts text on the clipboard, and says that it did. @param {{ text: string | (() => string), label?: string, title?: string, quiet?: boolean }} props */
export function CopyButton({ text, label = "Copy", title, quiet = false }) {
  const [done, setDone] = useState("");
  useEffect(() => {
    if (done === "") return undefined;
    const timer = setTimeout(() => setDone(""), 2500);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => setDone((await toClipboard(typeof text === "function" ? text() : text)) ? "Copied" : "Could not copy");
  return html`<button class=${quiet ? "quiet" : ""} title=${title} onClick=${copy}><${Icon} name=${done === "Copied" ? "check" : "copy"} /><span aria-live="polite">${done || label}</span></button>`;
}

/** @param {string} text */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedOldWay(text); // without https, on another machine than this, there is no clipboard but the old one
  }
}

/** @param {string} text */
function copiedOldWay(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  const top = document.querySelector("dialog[open]") ?? document.body;
  top.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/**
 * A dialog over the page; escape and a click beside it close it, and what had the focus gets it back.
 * @param {{ title: string, close: () => void, children?: any, wide?: boolean, actions?: any }} props
 */
export function Dialog({ title, close, children, wide = false, actions }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    /** @type {HTMLElement | null | undefined} */ (element.current?.querySelector(".dialog-body :is(input, select, textarea)"))?.focus();
    return () => before instanceof HTMLElement && before.focus({ preventScroll: true });
  }, []);
  const beside = (/** @type {MouseEvent} */ event) => event.target === element.current && close();
  const cancel = (/** @type {Event} */ event) => {
    event.preventDefault();
    close();
  };
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-label=${title} onCancel=${cancel} onMouseDown=${beside}>
    <div class="dialog-head"><h2>${title}</h2><button class="quiet square" aria-label="Close" onClick=${close}><${Icon} name="close" /></button></div>
    <div class="dialog-body">${children}</div>
    ${actions && html`<div class="dialog-foot">${actions}</div>`}
  </dialog>`;
}

/** One figure with its name. @param {{ label: string, value: any, note?: any, title?: string }} props */
export const Tile = ({ label, value, note, title }) =>
  html`<div class="tile" title=${title}><div class="tile-label">${label}</div><div class="tile-value">${value}</div>${note && html`<div class="tile-note">${note}</div>`}</div>`;
