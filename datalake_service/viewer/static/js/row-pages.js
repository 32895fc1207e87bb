/**
 * Rows of a table as pages that come when they are looked at. Each page is asked for with the cursor that the page
 * before it gave, so rows neither repeat nor go missing while the dataset grows. Pages far from what is looked at are
 * let go, and asked for again with the same cursor.
 */

/**
 * @typedef {{ id: string, batch: string, merged: boolean, cells: any[], cut: Map<number, number> }} Row
 * @typedef {{ cursor: string | null, size: number, rows: Row[] | null, asked: boolean }} Page
 * @typedef {{ columns: string[], rows: any[], next: string | null, version: string, truncated: [number, number, number][], tookMs: number }} Answer
 */

const KEPT = 12; // pages to both sides of what is looked at

/** @param {any} value */
const lengthOf = (value) => (typeof value === "string" ? value.length : value === null || value === undefined ? 4 : JSON.stringify(value).length + 2);

export class RowPages {
  /**
   * @param {(cursor: string | null, signal: AbortSignal) => Promise<Answer>} ask
   * @param {() => void} changed  called whenever there is something new to draw
   */
  constructor(ask, changed) {
    this.ask = ask;
    this.changed = changed;
    this.control = new AbortController();
    /** @type {Page[]} */
    this.pages = [{ cursor: null, size: 0, rows: null, asked: false }];
    this.complete = false;
    /** @type {Error | null} */
    this.error = null;
    /** @type {string | null} */
    this.version = null;
    this.tookMs = 0;
    /** @type {string[]} */
    this.columns = [];
    /** Characters of the longest value of each column on the first page. @type {number[] | null} */
    this.longest = null;
  }

  /** Rows that are known of. */
  get length() {
    return this.pages.reduce((sum, page) => sum + page.size, 0);
  }

  /** Whether the first page has come. */
  get started() {
    return this.version !== null;
  }

  get loading() {
    return this.pages.some((page) => page.asked);
  }

  /** @param {number} index @returns {Row | null} null: on its way */
  row(index) {
    const [page, at] = this.place(index);
    return page === null ? null : (this.pages[page].rows?.[at] ?? null);
  }

  /** Where a row is, among those that are here. @param {string} batch @param {string} id @returns {number} -1: not here */
  find(batch, id) {
    let before = 0;
    for (const page of this.pages) {
      const at = page.rows?.findIndex((row) => row.id === id && row.batch === batch) ?? -1;
      if (at >= 0) return before + at;
      before += page.size;
    }
    return -1;
  }

  /** @param {number} index @returns {[number | null, number]} */
  place(index) {
    let at = index;
    for (const [number, page] of this.pages.entries()) {
      if (at < page.size) return [number, at];
      at -= page.size;
    }
    return [null, at];
  }

  /**
   * Makes sure that rows are there, or on their way.
   * @param {number} from
   * @param {number} to
   */
  want(from, to) {
    if (this.error !== null) return;
    const first = this.place(Math.max(0, from))[0] ?? this.pages.length - 1;
    const last = this.place(to)[0] ?? this.pages.length - 1;
    for (let number = first; number <= last; number += 1) this.load(number);
    for (const [number, page] of this.pages.entries())
      if ((number < first - KEPT || number > last + KEPT) && !page.asked && page.size > 0) page.rows = null;
  }

  /** @param {number} number */
  async load(number) {
    const page = this.pages[number];
    if (page.rows !== null || page.asked || (this.complete && page.size === 0 && number > 0)) return;
    page.asked = true;
    try {
      this.take(number, page, await this.ask(page.cursor, this.control.signal));
    } catch (error) {
      if (this.control.signal.aborted) return;
      this.error = /** @type {Error} */ (error);
    } finally {
      page.asked = false;
    }
    if (!this.control.signal.aborted) this.changed();
  }

  /** @param {number} number @param {Page} page @param {Answer} answer */
  take(number, page, answer) {
    const cut = answer.rows.map(() => new Map());
    for (const [row, column, length] of answer.truncated) cut[row]?.set(column, length);
    page.rows = answer.rows.map((row, at) => ({ ...row, cut: cut[at] }));
    this.columns = answer.columns;
    this.longest ??= answer.columns.map((_, at) => Math.max(0, ...answer.rows.map((row) => lengthOf(row.cells[at]))));
    if (number < this.pages.length - 1) return; // seen before: what follows it is known
    page.size = page.rows.length;
    this.version ??= answer.version;
    this.tookMs = answer.tookMs;
    if (answer.next === null) this.complete = true;
    else this.pages.push({ cursor: answer.next, size: 0, rows: null, asked: false });
  }

  /** After an error: what is missing is asked for again. */
  again() {
    this.error = null;
    this.changed();
  }

  /** Nothing more is wanted. */
  stop() {
    this.control.abort();
  }
}
