/** The table of rows: draws only what is seen, however many rows there are. */

import { html, classes, useCallback, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { Cell } from "./cell.js";
import { isNumber, ownName, widthOf } from "./columns.js";
import { plain } from "./visible.js";
import { TableHead } from "./table-head.js";
import { Icon } from "./ui.js";

const GUTTER = 34;
const PADDING = 13;
const LINE = 19;
const SPARE = 6; // rows drawn beyond the edges
const AHEAD = 60; // rows asked for before they are seen
const LONG = 60; // characters
const TALLEST = 30_000_000; // pixels: browsers lay out little more than this

/** @param {number} lines */
const heightOf = (lines) => lines * LINE + PADDING;

/**
 * Where rows lie, given that some of them were opened and are taller.
 * @param {number} height
 * @param {Map<number, number>} opened  height of each row that is open
 */
export function layout(height, opened) {
  const taller = [...opened].sort(([a], [b]) => a - b);
  const top = (/** @type {number} */ index) =>
    index * height + taller.reduce((sum, [at, own]) => (at < index ? sum + own - height : sum), 0);
  const at = (/** @type {number} */ y) => {
    let extra = 0;
    for (const [index, own] of taller) {
      const begins = index * height + extra;
      if (y < begins + height) break;
      if (y < begins + own) return index;
      extra += own - height;
    }
    return Math.max(0, Math.floor((y - extra) / height));
  };
  return { top, at };
}

/** @param {HTMLElement | null} box */
function useViewport(box) {
  const [seen, setSeen] = useState({ top: 0, height: 600, head: 60 });
  const look = useCallback(() => {
    if (box === null) return;
    const head = box.querySelector(".thead")?.clientHeight ?? 60;
    setSeen((old) => (old.top === box.scrollTop && old.height === box.clientHeight && old.head === head ? old : { top: box.scrollTop, height: box.clientHeight, head }));
  }, [box]);
  useEffect(() => {
    if (box === null) return undefined;
    const observer = new ResizeObserver(look);
    observer.observe(box);
    box.addEventListener("scroll", look, { passive: true });
    look();
    return () => {
      observer.disconnect();
      box.removeEventListener("scroll", look);
    };
  }, [box, look]);
  return seen;
}

/**
 * @param {{
 *   pages: import("./row-pages.js").RowPages,
 *   columns: import("./columns.js").Column[],
 *   view: import("./view.js").View,
 *   total: number | null,
 *   selected: number,
 *   select: (index: number, open?: boolean) => void,
 *   opened: Map<number, number>,
 *   toggle: (index: number, height?: number) => void,
 *   change: (change: Partial<import("./view.js").View>, options?: { replace?: boolean }) => void,
 * }} props
 */
export function Table({ pages, columns, view, total, selected, select, opened, toggle, change }) {
  const [box, setBox] = useState(/** @type {HTMLElement | null} */ (null));
  const seen = useViewport(box);
  const [dragged, setDragged] = useState(/** @type {Record<string, number>} */ ({}));
  const height = heightOf(view.lines);
  const place = layout(height, opened);
  const from = Math.max(0, place.at(seen.top) - SPARE);
  const length = Math.min(pages.length, Math.floor(TALLEST / height));
  const to = Math.min(length, place.at(seen.top + seen.height) + 1 + SPARE);
  useEffect(() => pages.want(from, Math.min(to + AHEAD, Math.floor(TALLEST / height))));

  useEffect(() => {
    if (box === null || selected < 0) return;
    const top = place.top(selected);
    const bottom = top + (opened.get(selected) ?? height) + seen.head;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = Math.min(top, bottom - box.clientHeight);
  }, [selected, box]);
  useEffect(() => {
    if (box !== null) box.scrollTop = 0;
  }, [pages, box]);

  const widths = columns.map((column, at) => dragged[column.name] ?? widthOf(column, view.widths, columns.length, pages.longest?.[at] ?? null));
  // What is left of the width goes to the first long text whose width nobody chose.
  const wide = columns.findIndex((column, at) => column.type === "text" && (pages.longest?.[at] ?? 0) > LONG && view.widths[column.name] === undefined && dragged[column.name] === undefined);
  const tracks = widths.map((width, at) => (at === wide ? `minmax(${Math.round(width)}px, 1fr)` : `${Math.round(width)}px`));
  const template = `${GUTTER}px ${tracks.join(" ")} ${wide < 0 ? "minmax(0, 1fr)" : "0"}`;
  const whole = GUTTER + widths.reduce((sum, width) => sum + Math.round(width), 0);
  const drawn = Array.from({ length: Math.max(0, to - from) }, (_, at) => from + at);
  return html`
    <div class="table" ref=${setBox} role="grid" tabindex="0" aria-label="Rows" aria-rowcount=${pages.complete ? pages.length + 2 : (total ?? -1)} aria-colcount=${columns.length + 1} aria-busy=${String(pages.loading)}
      style=${{ "--template": template, "--whole": `${whole}px`, "--lines": String(view.lines) }}>
      <${TableHead} columns=${columns} view=${view} widths=${widths} change=${change} drag=${(/** @type {string} */ name, /** @type {number | null} */ width) => setDragged(width === null ? {} : { [name]: width })} />
      <div class="tbody" role="rowgroup" style=${{ height: `${place.top(length)}px` }}>
        ${drawn.map((index) => html`<${TableRow} key=${index} index=${index} row=${pages.row(index)} columns=${columns} top=${place.top(index)} height=${height}
            selected=${index === selected} isOpen=${opened.has(index)} select=${select} toggle=${toggle} />`)}
      </div>
      ${pages.length > length && html`<p class="table-end">A page holds no more rows than these. To see others, filter, or sort the other way.</p>`}
    </div>`;
}

/** @param {any} props */
function TableRow({ index, row, columns, top, height, selected, isOpen, select, toggle }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (isOpen && element.current !== null) toggle(index, element.current.offsetHeight);
  });
  const click = (/** @type {MouseEvent} */ event) => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("a, button") || String(getSelection() ?? "") !== "") return;
    select(index, true);
  };
  const style = { transform: `translateY(${top}px)`, ...(isOpen ? { minHeight: `${height}px` } : { height: `${height}px` }) };
  if (row === null) return html`<div class="tr pending" role="row" aria-rowindex=${index + 3} style=${style}><div role="gridcell" class="td"><span class="bone"></span></div></div>`;
  const name = `row ${plain(row.id).slice(0, 80)}`;
  return html`
    <div ref=${element} class=${classes("tr", selected && "selected", isOpen && "open", index % 2 && "odd", !row.merged && "unmerged")} role="row" aria-rowindex=${index + 3} aria-selected=${String(selected)} style=${style} onClick=${click}>
      <div class="td gutter" role="gridcell">
        <button class="row-toggle" aria-expanded=${String(isOpen)} aria-label=${`${isOpen ? "Fold" : "Unfold"} ${name}`} title=${isOpen ? "Fold (x)" : "Unfold (x)"} onClick=${() => toggle(index)}><${Icon} name=${isOpen ? "open" : "right"} /></button>
        ${!row.merged && html`<span class="unmerged-mark" title="Not merged yet"><span class="offscreen">not merged yet</span></span>`}
      </div>
      ${columns.map((/** @type {import("./columns.js").Column} */ column, /** @type {number} */ at) => html`<div key=${column.name} class=${classes("td", isNumber(column) && "right")} role="gridcell" aria-label=${undefined} data-column=${ownName(column)}><div class="clamp"><${Cell} value=${row.cells[at]} type=${column.type} full=${row.cut.get(at)} open=${isOpen} /></div></div>`)}
    </div>`;
}
