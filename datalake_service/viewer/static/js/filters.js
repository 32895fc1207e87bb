/** Filters as values: which conditions there are, what they ask for, what they say. All pure. */

/** @typedef {{ type: string, [key: string]: any }} Node a filter's JSON */
/**
 * @typedef {{
 *   name: string,
 *   label: string,
 *   types: string[],
 *   input: "none" | "value" | "text" | "list" | "range" | "pattern",
 *   make: (field: string, value: any) => Node,
 *   read: (node: Node) => { value: any } | null,
 *   says: (field: string, value: any) => string,
 * }} Operator
 */

const ANY = ["bool", "int", "float", "text", "json", "time"];
const ORDERED = ["int", "float", "text", "time"];
const TEXTS = ["text", "json"];

/** @param {any} value */
const shown = (value) => (typeof value === "string" ? `“${value}”` : value === null || value === undefined ? "…" : String(value));

/** @param {string} name @param {string} label @param {boolean} value @returns {Operator} */
const truth = (name, label, value) => ({
  name,
  label,
  types: ["bool"],
  input: "none",
  make: (field) => ({ type: "boolean", field, value }),
  read: (node) => (node.type === "boolean" && node.value === value ? { value: null } : null),
  says: (field) => `${field} ${label}`,
});

/** @param {string} type @param {string} label @param {string[]} types @param {Partial<Operator>} [more] @returns {Operator} */
const simple = (type, label, types, more = {}) => ({
  name: type,
  label,
  types,
  input: "value",
  make: (field, value) => ({ type, field, value }),
  read: (node) => (node.type === type ? { value: node.value } : null),
  says: (field, value) => `${field} ${label} ${shown(value)}`,
  ...more,
});

/** @param {string} bound @param {string} label @returns {Operator} */
const bounded = (bound, label) =>
  simple("range", label, ORDERED, {
    name: bound,
    make: (field, value) => ({ type: "range", field, [bound]: value }),
    read: (node) => (node.type === "range" && own(node).length !== 2 && Object.keys(set(node)).join() === bound ? { value: node[bound] } : null),
  });

/** The bounds that a range names, those without a value too. @param {Node} node */
const own = (node) => ["gt", "ge", "lt", "le"].filter((key) => node[key] !== undefined);

/** The bounds of a range that have a value. @param {Node} node @returns {Record<string, any>} */
const set = (node) => Object.fromEntries(own(node).filter((key) => node[key] !== null).map((key) => [key, node[key]]));

/** Whether a range has these two bounds, or is being given them. @param {Node} node @param {string} lower @param {string} upper */
const isPair = (node, lower, upper) => [own(node), Object.keys(set(node))].some((keys) => keys.join() === `${lower},${upper}`);

/** @param {string} type @param {string} label @param {boolean} exact @returns {Operator} */
const textual = (type, label, exact) =>
  simple(type, exact ? `${label} (exact case)` : label, TEXTS, {
    name: exact ? `${type}_exact` : type,
    input: "text",
    make: (field, value) => ({ type, field, value, case_sensitive: exact }),
    read: (node) => (node.type === type && (node.case_sensitive ?? true) === exact ? { value: node.value } : null),
    says: (field, value) => `${field} ${label} ${shown(value)}`,
  });

/** @param {string} label @param {boolean} exact @returns {Operator} */
const pattern = (label, exact) =>
  simple("regex", label, TEXTS, {
    name: exact ? "regex" : "regex_any_case",
    input: "pattern",
    make: (field, value) => ({ type: "regex", field, pattern: value, case_sensitive: exact }),
    read: (node) => (node.type === "regex" && (node.case_sensitive ?? true) === exact ? { value: node.pattern } : null),
    says: (field, value) => `${field} matches ${value}`,
  });

const SYMBOLS = { gt: ">", ge: "≥", lt: "<", le: "≤" };

/** @param {"gt" | "ge"} lower @param {"lt" | "le"} upper @param {string} label @returns {Operator} */
const between = (lower, upper, label) =>
  simple("range", label, ORDERED, {
    name: `${lower}_${upper}`,
    input: "range",
    make: (field, value) => ({ type: "range", field, [lower]: value?.[0] ?? null, [upper]: value?.[1] ?? null }),
    read: (node) => (node.type === "range" && isPair(node, lower, upper) ? { value: [node[lower] ?? null, node[upper] ?? null] } : null),
    says: (field, value) => `${field} ${SYMBOLS[lower]} ${shown(value?.[0])} and ${SYMBOLS[upper]} ${shown(value?.[1])}`,
  });

/** @type {Operator[]} */
export const OPERATORS = [
  truth("true", "is true", true),
  truth("false", "is false", false),
  textual("contains", "contains", false),
  textual("contains", "contains", true),
  simple("equals", "is", ["int", "float", "text", "time", "json"]),
  simple("not_equals", "is not", ["int", "float", "text", "time", "json"]),
  textual("starts_with", "starts with", false),
  textual("starts_with", "starts with", true),
  pattern("matches", true),
  pattern("matches (any case)", false),
  bounded("gt", ">"),
  bounded("ge", "≥"),
  bounded("lt", "<"),
  bounded("le", "≤"),
  between("ge", "le", "is between"),
  between("ge", "lt", "is at least, and below"),
  between("gt", "le", "is above, and at most"),
  between("gt", "lt", "is above, and below"),
  simple("in", "is one of", ["int", "float", "text", "time"], {
    input: "list",
    make: (field, value) => ({ type: "in", field, values: value ?? [] }),
    read: (node) => (node.type === "in" ? { value: node.values } : null),
    says: (field, value) => `${field} is one of ${(value ?? []).map(shown).join(", ")}`,
  }),
  simple("null", "is null", ANY, { input: "none", make: (field) => ({ type: "null", field, value: true }), read: (node) => (node.type === "null" && node.value !== false ? { value: null } : null), says: (field) => `${field} is null` }),
  simple("null", "is not null", ANY, { name: "not_null", input: "none", make: (field) => ({ type: "null", field, value: false }), read: (node) => (node.type === "null" && node.value === false ? { value: null } : null), says: (field) => `${field} is not null` }),
];

/** @param {string} type  of a column @returns {Operator[]} */
export const operatorsFor = (type) => OPERATORS.filter((operator) => operator.types.includes(type));

/** @param {Node} node @returns {{ operator: Operator, field: string, value: any } | null} null: no condition on a column, or one that is not known here */
export function readCondition(node) {
  if (typeof node.field !== "string") return null;
  for (const operator of OPERATORS) {
    const found = operator.read(node);
    if (found !== null && same(operator.make(node.field, found.value), node)) return { operator, field: node.field, value: found.value };
  }
  return null;
}

/** Whether two filters say the same, whatever is left out because it is usual. @param {Node} made @param {Node} node */
const same = (made, node) => Object.entries(node).every(([key, value]) => value === null || JSON.stringify(made[key] ?? null) === JSON.stringify(value));

/** @typedef {{ how: "all" | "any" | "none", filters: Node[] }} Group */

/** @param {Node} node @returns {Group | null} */
export function readGroup(node) {
  if ((node.type === "all" || node.type === "any") && Array.isArray(node.filters)) return { how: node.type, filters: node.filters };
  if (node.type !== "not" || node.filter === null || typeof node.filter !== "object") return null;
  return { how: "none", filters: node.filter.type === "any" ? node.filter.filters : [node.filter] };
}

/** @param {Group} group @returns {Node} */
export function makeGroup({ how, filters }) {
  if (how !== "none") return { type: how, filters };
  return { type: "not", filter: filters.length === 1 ? filters[0] : { type: "any", filters } };
}

const JOINED = { all: " and ", any: " or ", none: " or " };

/** What a filter says, on one line. @param {Node} node @param {boolean} [inner] @returns {string} */
export function describe(node, inner = false) {
  if (node.type === "raw_duck") return String(node.sql);
  const group = readGroup(node);
  if (group !== null) {
    if (group.filters.length === 0) return group.how === "any" ? "nothing" : "everything";
    const text = group.filters.map((filter) => describe(filter, true)).join(JOINED[group.how]);
    if (group.how === "none") return `not (${text})`;
    return inner && group.filters.length > 1 ? `(${text})` : text;
  }
  const condition = readCondition(node);
  return condition === null ? JSON.stringify(node) : condition.operator.says(condition.field, condition.value);
}

/**
 * What somebody is typing, as a value of a column's type. Only what would be written the same way becomes a number:
 * "1." and "1.0" are on their way to something.
 * @param {string} text
 * @param {string} type
 */
export function typed(text, type) {
  const isNumeric = type === "int" || type === "float";
  return isNumeric && Number.isFinite(Number(text)) && String(Number(text)) === text ? Number(text) : text;
}

/**
 * A filter as it is applied: numbers that were typed are numbers. Integers that JavaScript cannot hold stay text.
 * @param {Node} node
 * @param {import("./columns.js").Column[]} columns
 * @returns {Node}
 */
export function finished(node, columns) {
  const group = readGroup(node);
  if (group !== null) return makeGroup({ ...group, filters: group.filters.map((filter) => finished(filter, columns)) });
  const condition = readCondition(node);
  const type = columns.find((column) => column.name === condition?.field)?.type;
  if (condition === null || (type !== "int" && type !== "float")) return node;
  const value = (/** @type {any} */ given) => {
    const number = typeof given === "string" && given.trim() !== "" ? Number(given) : Number.NaN;
    return Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number)) ? number : given;
  };
  return condition.operator.make(condition.field, Array.isArray(condition.value) ? condition.value.map(value) : value(condition.value));
}

/** The condition that a column has a value, as when a bar is clicked. @param {import("./columns.js").Column} column @param {any} value @returns {Node} */
export function hasValue(column, value) {
  if (value === null) return { type: "null", field: column.name, value: true };
  if (typeof value === "boolean") return { type: "boolean", field: column.name, value };
  return { type: "equals", field: column.name, value };
}

/** The condition that a column is between two bounds, the upper one not included unless it is the last. @param {import("./columns.js").Column} column @param {any} from @param {any} to @param {boolean} last @returns {Node} */
export const isWithin = (column, from, to, last) => ({ type: "range", field: column.name, ge: from, [last ? "le" : "lt"]: to });

/** A condition to begin with. @param {import("./columns.js").Column} column @returns {Node} */
export function firstCondition(column) {
  const [operator] = operatorsFor(column.type);
  return operator.make(column.name, operator.input === "list" ? [] : operator.input === "range" ? [null, null] : "");
}
