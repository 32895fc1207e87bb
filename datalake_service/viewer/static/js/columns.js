/** Which columns a table shows, in which order, how wide. All pure. */

/**
 * @typedef {{ name: string, type: "bool" | "int" | "float" | "text" | "json" | "time", annotator: string | null, system: boolean }} Column
 */

const MOST = 40; // more than anybody reads; the others are a click away
const WIDTHS = { bool: 84, int: 100, float: 110, text: 320, json: 280, time: 176 };
export const NARROWEST = 48;
export const WIDEST = 1600;

/** @param {string} name @returns {Column} a column that the dataset does not have; null in every row */
const missing = (name) => ({ name, type: "text", annotator: null, system: false });

/**
 * The columns that are shown.
 * @param {Column[]} all
 * @param {string[] | null} chosen
 * @returns {Column[]}
 */
export function shownColumns(all, chosen) {
  if (chosen !== null) return chosen.map((name) => all.find((column) => column.name === name) ?? missing(name));
  const own = all.filter((column) => !column.system).slice(0, MOST);
  return own.length ? own : all.filter((column) => column.name === "id");
}

/**
 * @param {Column} column
 * @param {Record<string, number>} widths
 * @param {number} fewer  how many columns there are: few may be wide
 * @param {number | null} longest  characters of its longest value, as far as values are known
 */
export function widthOf(column, widths, fewer, longest) {
  const given = widths[column.name];
  if (given !== undefined) return Math.min(WIDEST, Math.max(NARROWEST, given));
  const own = column.annotator === null ? column.name : column.name.slice(column.annotator.length + 1);
  if (column.name === "_created_at" || own === "_annotated_at") return 196;
  const usual = WIDTHS[column.type] ?? WIDTHS.text;
  const wide = fewer <= 3 && (column.type === "text" || column.type === "json") ? usual * 1.75 : usual;
  const needed = longest === null ? wide : Math.min(wide, longest * 7.6 + 28);
  return Math.max(needed, 72, Math.min(220, own.length * 8.4 + 74));
}

/**
 * Columns in order with the annotator that each run of them belongs to.
 * @param {Column[]} columns
 * @returns {{ annotator: string | null, columns: Column[] }[]}
 */
export function grouped(columns) {
  /** @type {{ annotator: string | null, columns: Column[] }[]} */
  const groups = [];
  for (const column of columns) {
    const last = groups.at(-1);
    if (last && last.annotator === column.annotator) last.columns.push(column);
    else groups.push({ annotator: column.annotator, columns: [column] });
  }
  return groups;
}

/**
 * Moves one name before another, or by some places.
 * @param {string[]} names
 * @param {string} name
 * @param {number | string} to  places, or the name that it takes the place of
 */
export function moved(names, name, to) {
  const from = names.indexOf(name);
  const target = typeof to === "string" ? names.indexOf(to) : from + to;
  if (from < 0 || target < 0 || target >= names.length) return names;
  const rest = names.filter((other) => other !== name);
  rest.splice(target, 0, name);
  return rest;
}

/** The name of a column without its annotator. @param {Column} column */
export const ownName = (column) => (column.annotator === null ? column.name : column.name.slice(column.annotator.length + 1));

/** Whether a column's values are numbers. @param {Column} column */
export const isNumber = (column) => column.type === "int" || column.type === "float";
