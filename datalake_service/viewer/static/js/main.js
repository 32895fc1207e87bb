/** Starts the page: the frame around every page, and which page is shown. */

import { html, render, useEffect, useErrorBoundary, useState, classes } from "./html.js";
import { DatasetPage } from "./dataset-page.js";
import { Help } from "./help.js";
import { useKeys } from "./keyboard.js";
import { LakePage } from "./lake-page.js";
import { connection, listen } from "./live.js";
import { OperationsPage } from "./operations-page.js";
import { backAddress, go, route, start } from "./route.js";
import { RowPage } from "./row-page.js";
import { useStore } from "./store.js";
import { Name } from "./text.js";
import { nextTheme, theme } from "./theme.js";
import { Empty, Failure, Icon } from "./ui.js";
import { plain } from "./visible.js";

const CONNECTED = { connecting: "Connecting", live: "Live", waiting: "Reconnecting" };

function Frame() {
  const at = useStore(route);
  const [help, setHelp] = useState(false);
  useEffect(() => listen(at.dataset), [at.dataset]);
  useEffect(() => {
    document.title = at.dataset === null ? (at.page === "operations" ? "Operations – datalake" : "datalake") : `${plain(at.dataset)} – datalake`;
  }, [at.dataset, at.page]);
  useKeys([
    { key: "?", does: "This help", run: () => setHelp(true) },
    { key: "t", does: "Light, dark, or as the system has it", run: nextTheme },
    { key: "l", does: "The lake", run: () => go("/") },
  ]);
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => { event.preventDefault(); document.querySelector("main")?.focus(); }}>To the content</a>
    <header class="top">
      <a class="brand" href="/" aria-label="datalake: the lake"><${Mark} /><span>datalake</span></a>
      <nav class="crumbs" aria-label="Where you are">
        <a class=${classes("crumb", at.page === "lake" && "here")} aria-current=${at.page === "lake" ? "page" : undefined} href="/">Lake</a>
        ${at.dataset !== null && html`<span class="slash" aria-hidden="true">/</span><a class=${classes("crumb", at.page !== "row" && "here")} href=${at.page === "row" ? backAddress(at.dataset) : `/d/${encodeURIComponent(at.dataset)}`}><${Name} name=${at.dataset} /></a>`}
        ${at.page === "row" && html`<span class="slash" aria-hidden="true">/</span><span class="crumb here">row</span>`}
      </nav>
      <span class="space"></span>
      <a class=${classes("crumb", at.page === "operations" && "here")} aria-current=${at.page === "operations" ? "page" : undefined} href="/operations">Operations</a>
      <${Connection} />
      <${Theme} />
      <button class="square quiet" aria-label="Keys and help" title="Keys and help (?)" onClick=${() => setHelp(true)}>?</button>
    </header>
    <main id="main" tabindex="-1"><${Shown} key=${`${at.page} ${at.dataset}`} at=${at} /></main>
    ${help && html`<${Help} close=${() => setHelp(false)} />`}`;
}

/** @param {{ at: import("./route.js").Route }} props */
function Shown({ at }) {
  const [broken, mend] = useErrorBoundary((/** @type {unknown} */ error) => console.error(error));
  if (broken) return html`<${Failure} error=${new Error(`This page stumbled: ${broken instanceof Error ? broken.message : broken}`)} again=${mend} />`;
  if (at.page === "lake") return html`<${LakePage} query=${at.query} />`;
  if (at.page === "operations") return html`<${OperationsPage} query=${at.query} />`;
  if (at.dataset !== null && at.page === "row") return html`<${RowPage} dataset=${at.dataset} query=${at.query} />`;
  if (at.dataset !== null && (at.page === "rows" || at.page === "charts")) return html`<${DatasetPage} dataset=${at.dataset} query=${at.query} page=${at.page} />`;
  return html`<${Empty} title="There is nothing here"><a href="/">To the lake</a></${Empty}>`;
}

function Connection() {
  const state = /** @type {keyof typeof CONNECTED} */ (useStore(connection));
  return html`<span class=${classes("live", state)} role="status" title=${state === "live" ? "News arrive by themselves" : "The viewer does not answer; trying again"}><span class="live-dot" aria-hidden="true"></span>${CONNECTED[state]}</span>`;
}

function Theme() {
  const now = useStore(theme);
  const icon = now === "dark" ? "moon" : now === "light" ? "sun" : "system";
  return html`<button class="square quiet" aria-label=${`Colours: ${now}`} title=${`Colours: ${now} (t)`} onClick=${nextTheme}><${Icon} name=${icon} /></button>`;
}

const Mark = () => html`<svg class="mark" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true"><path d="M2 7c2.7-2.4 5.3-2.4 8 0s5.3 2.4 8 0M2 11.5c2.7-2.4 5.3-2.4 8 0s5.3 2.4 8 0M2 16c2.7-2.4 5.3-2.4 8 0s5.3 2.4 8 0" /></svg>`;

start();
const root = document.getElementById("app");
if (root !== null) render(html`<${Frame} />`, root);
