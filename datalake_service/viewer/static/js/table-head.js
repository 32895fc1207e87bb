/** The head of the table: names to sort by, edges to pull, columns to move, annotators over what is theirs. */

import { html, classes, useEffect, useRef, useState } from "./html.js";
import { grouped, isNumber, moved, NARROWEST, ownName, WIDEST } from "./columns.js";
import { Name } from "./text.js";
import { Icon } from "./ui.js";
import { plain } from "./visible.js";

const STEP = 24; // pixels that an arrow key moves an edge

/**
 * @param {{
 *   columns: import("./columns.js").Column[],
 *   view: import("./view.js").View,
 *   widths: number[],
 *   change: (change: Partial<import("./view.js").View>, options?: { replace?: boolean }) => void,
 *   drag: (name: string, width: number | null) => void,
 * }} props
 */
export function TableHead({ columns, view, widths, change, drag }) {
  const [carried, setCarried] = useState(/** @type {string | null} */ (null));
  const [menu, setMenu] = useState(/** @type {string | null} */ (null));
  const names = columns.map((column) => column.name);
  const hasAnnotators = columns.some((column) => column.annotator !== null);
  const drop = (/** @type {string} */ name) => {
    if (carried !== null && carried !== name) change({ columns: moved(names, carried, name) }, { replace: true });
    setCarried(null);
  };
  return html`<div class="thead" role="rowgroup">
    ${hasAnnotators &&
    html`<div class="tr groups" role="row" aria-rowindex="1">
      <div class="th gutter" role="columnheader"><span class="offscreen">State</span></div>
      ${grouped(columns).map((group) => html`<div class=${classes("th", "group", group.annotator !== null && "annotated")} role="columnheader" aria-colspan=${group.columns.length} style=${{ gridColumn: `span ${group.columns.length}` }}>
          ${group.annotator === null ? html`<span class="faint">base</span>` : html`<${Name} name=${group.annotator} />`}</div>`)}
    </div>`}
    <div class="tr names" role="row" aria-rowindex="2">
      <div class="th gutter" role="columnheader"><span class="offscreen">State</span></div>
      ${columns.map((column, at) => html`<${Head} key=${column.name} column=${column} width=${widths[at]} names=${names} view=${view} change=${change} drag=${drag}
          carried=${carried === column.name} pick=${setCarried} drop=${drop} menu=${menu === column.name} setMenu=${setMenu} />`)}
    </div>
  </div>`;
}

/** @param {any} props */
function Head({ column, width, names, view, change, drag, carried, pick, drop, menu, setMenu }) {
  const sorted = view.sort?.column === column.name ? view.sort.order : null;
  const label = plain(column.name);
  const turn = () => change({ sort: sorted === "desc" ? null : { column: column.name, order: sorted === "asc" ? "desc" : "asc" } });
  return html`<div class=${classes("th", isNumber(column) && "right", carried && "carried", sorted && "sorted")} role="columnheader" aria-sort=${sorted === null ? "none" : `${sorted}ending`}
      draggable="true" onDragStart=${(/** @type {DragEvent} */ event) => { event.dataTransfer?.setData("text/plain", column.name); pick(column.name); }}
      onDragEnd=${() => pick(null)} onDragOver=${(/** @type {DragEvent} */ event) => event.preventDefault()} onDrop=${(/** @type {DragEvent} */ event) => { event.preventDefault(); drop(column.name); }}>
    <button class="sort" title=${`${label}: ${column.type}. Click to sort.`} onClick=${turn}>
      <span class="th-name"><${Name} name=${ownName(column)} /></span>
      ${sorted && html`<${Icon} name=${sorted === "asc" ? "up" : "down"} />`}
    </button>
    <button class="square quiet th-menu" aria-label=${`Column ${label}`} aria-haspopup="menu" aria-expanded=${String(menu)} onClick=${() => setMenu(menu ? null : column.name)}>⋯</button>
    ${menu && html`<${HeadMenu} column=${column} names=${names} view=${view} change=${change} close=${() => setMenu(null)} />`}
    <${Edge} column=${column} width=${width} view=${view} change=${change} drag=${drag} />
  </div>`;
}

/** @param {any} props */
function HeadMenu({ column, names, view, change, close }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const before = document.activeElement;
    element.current?.querySelector("button")?.focus({ preventScroll: true });
    const away = (/** @type {Event} */ event) => event.target instanceof Node && !element.current?.parentElement?.contains(event.target) && close();
    document.addEventListener("pointerdown", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    };
  }, []);
  const act = (/** @type {any} */ what) => () => {
    change(what, { replace: "columns" in what });
    close();
  };
  const at = names.indexOf(column.name);
  const chart = { ...view, chart: { column: column.name, against: null, bucket: null } };
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      close();
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const items = [...(element.current?.querySelectorAll("[role=menuitem]:not([disabled])") ?? [])];
    const next = items.indexOf(/** @type {Element} */ (document.activeElement)) + (event.key === "ArrowDown" ? 1 : -1);
    /** @type {HTMLElement} */ (items.at(next % items.length))?.focus();
  };
  return html`<div class="menu" role="menu" ref=${element} aria-label=${`Column ${plain(column.name)}`} onKeyDown=${key}>
    <button role="menuitem" onClick=${act({ sort: { column: column.name, order: "asc" } })}><${Icon} name="up" />Sort, smallest first</button>
    <button role="menuitem" onClick=${act({ sort: { column: column.name, order: "desc" } })}><${Icon} name="down" />Sort, largest first</button>
    <button role="menuitem" disabled=${at === 0} onClick=${act({ columns: moved(names, column.name, -1) })}><${Icon} name="left" />Move left</button>
    <button role="menuitem" disabled=${at === names.length - 1} onClick=${act({ columns: moved(names, column.name, 1) })}><${Icon} name="right" />Move right</button>
    <button role="menuitem" disabled=${names.length === 1} onClick=${act({ columns: names.filter((/** @type {string} */ name) => name !== column.name) })}><${Icon} name="close" />Hide</button>
    <button role="menuitem" onClick=${() => { close(); document.dispatchEvent(new CustomEvent("add-filter", { detail: column.name })); }}><${Icon} name="filter" />Filter by it</button>
    <button role="menuitem" onClick=${() => { close(); document.dispatchEvent(new CustomEvent("show-chart", { detail: chart })); }}><${Icon} name="chart" />Chart</button>
  </div>`;
}

/** The right edge of a column: pulled with the pointer or moved with arrow keys. @param {any} props */
function Edge({ column, width, view, change, drag }) {
  const set = (/** @type {number} */ wanted) => change({ widths: { ...view.widths, [column.name]: within(wanted) } }, { replace: true });
  const down = (/** @type {PointerEvent} */ event) => {
    event.preventDefault();
    const handle = /** @type {HTMLElement} */ (event.target);
    const start = event.clientX;
    const head = /** @type {HTMLElement} */ (handle.parentElement);
    const before = head.offsetWidth;
    head.draggable = false; // an edge that is pulled does not carry its column away
    handle.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ now) => drag(column.name, within(before + now.clientX - start));
    const up = (/** @type {PointerEvent} */ now) => {
      handle.removeEventListener("pointermove", move);
      handle.removeEventListener("pointerup", up);
      head.draggable = true;
      drag(column.name, null);
      set(before + now.clientX - start);
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("pointerup", up);
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    const before = /** @type {HTMLElement} */ (/** @type {HTMLElement} */ (event.target).parentElement).offsetWidth;
    set(before + (event.key === "ArrowRight" ? STEP : -STEP));
  };
  return html`<div class="edge" role="separator" aria-orientation="vertical" tabindex="0" aria-label=${`Width of ${plain(column.name)}`} aria-valuenow=${Math.round(width)} aria-valuemin=${NARROWEST} aria-valuemax=${WIDEST}
    onPointerDown=${down} onKeyDown=${key} onDblClick=${() => change({ widths: Object.fromEntries(Object.entries(view.widths).filter(([name]) => name !== column.name)) }, { replace: true })}></div>`;
}

/** @param {number} width */
const within = (width) => Math.round(Math.min(WIDEST, Math.max(NARROWEST, width)));

