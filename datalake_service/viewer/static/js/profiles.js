/** What the profile of a column says. All pure. */

import { count, percent } from "./format.js";

/** What a profile says, in a line. @param {any} data */
export function facts(data) {
  const distinct = data.distinct && `${data.distinct.approximate ? "about " : ""}${count(data.distinct.count)} distinct`;
  return [distinct, data.nulls ? `${percent(data.nulls / Math.max(1, data.rows))} null` : "no nulls", data.sampled && `from ${count(data.sampled.rows)} sampled rows`].filter(Boolean).join(" · ");
}

/** The condition that a text is of some length. @param {import("./columns.js").Column} column @param {number} from @param {number} to @param {boolean} last */
export function lengthWithin(column, from, to, last) {
  const name = column.annotator === null ? quoted(column.name) : `${quoted(column.annotator)}.${quoted(column.name.slice(column.annotator.length + 1))}`;
  return { type: "raw_duck", sql: `length(${name}) >= ${from} AND length(${name}) ${last ? "<=" : "<"} ${to}` };
}

/** @param {string} name */
const quoted = (name) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

