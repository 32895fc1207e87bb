/**
 * A filter as short text for the address: all(boolean(field=lang.is_english,value=true),raw_duck(sql=~n > 5~)).
 * Says the same as the filter's JSON, for filters of any type. Text that is no plain word stands between tildes; a
 * tilde in it is doubled.
 */

const WORD = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
const RESERVED = new Set(["true", "false", "null", "NaN", "Infinity"]);
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/**
 * @param {any} value  a filter's JSON, or a value in it
 * @returns {string}
 */
export function filterToText(value) {
  if (Array.isArray(value)) return `(${value.map(filterToText).join(",")})`;
  if (value !== null && typeof value === "object") {
    const { type = "", filters, ...rest } = value;
    const parts = Object.entries(rest).map(([key, item]) => `${quoted(key)}=${filterToText(item)}`);
    if (Array.isArray(filters)) parts.push(...filters.map(filterToText));
    return `${WORD.test(type) ? type : quoted(type)}(${parts.join(",")})`;
  }
  return typeof value === "string" ? quoted(value) : JSON.stringify(value);
}

/** @param {string} text */
const quoted = (text) => (WORD.test(text) && !RESERVED.has(text) ? text : `~${text.replaceAll("~", "~~")}~`);

/**
 * @param {string} text
 * @returns {any} the filter's JSON, or null where the text is no filter
 */
export function filterFromText(text) {
  const reader = new Reader(text);
  try {
    const value = reader.value();
    return reader.atEnd() && value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return null;
    throw error;
  }
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  atEnd() {
    return this.at === this.text.length;
  }

  /** @param {string} character */
  take(character) {
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  /** @returns {any} */
  value() {
    if (this.take("(")) return this.list();
    const isQuoted = this.text[this.at] === "~";
    const word = this.word();
    if (this.take("(")) return this.node(word);
    if (isQuoted) return word;
    if (word === "null") return null;
    if (word === "true" || word === "false") return word === "true";
    if (NUMBER.test(word)) return Number(word);
    return word;
  }

  word() {
    if (!this.take("~")) {
      const found = /^[^~(),=]+/.exec(this.text.slice(this.at));
      if (found === null) throw new SyntaxError(`a word is missing at ${this.at}`);
      this.at += found[0].length;
      return found[0];
    }
    let out = "";
    for (;;) {
      const end = this.text.indexOf("~", this.at);
      if (end < 0) throw new SyntaxError("a tilde is missing");
      out += this.text.slice(this.at, end);
      this.at = end + 1;
      if (!this.take("~")) return out;
      out += "~";
    }
  }

  list() {
    /** @type {any[]} */
    const items = [];
    if (this.take(")")) return items;
    do items.push(this.value());
    while (this.take(","));
    this.expect(")");
    return items;
  }

  /** @param {string} type */
  node(type) {
    /** @type {Record<string, any>} */
    const node = { type };
    /** @type {any[]} */
    const filters = [];
    if (!this.take(")")) {
      do {
        const start = this.at;
        const named = this.text[this.at] === "~" || /^[^~(),=]+=/.test(this.text.slice(this.at, this.at + 200)) ? this.key() : null;
        if (named === null) {
          this.at = start;
          filters.push(this.value());
        } else node[named] = this.value();
      } while (this.take(","));
      this.expect(")");
    }
    if (filters.length || type === "all" || type === "any") node.filters = filters;
    return node;
  }

  key() {
    const word = this.word();
    return this.take("=") ? word : null;
  }

  /** @param {string} character */
  expect(character) {
    if (!this.take(character)) throw new SyntaxError(`'${character}' is missing at ${this.at}`);
  }
}
