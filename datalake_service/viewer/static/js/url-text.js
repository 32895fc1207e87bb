/**
 * Any text in an address, readable. The browser's own functions escape what needs no escape, and refuse or change
 * halves of surrogate pairs; here every JavaScript string comes back as it was.
 */

const PLAIN = /^[A-Za-z0-9\-._~!$()*,;:@/?|[\]=]$/;
const BYTE = Array.from({ length: 256 }, (_, byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`);

/**
 * @param {string} text
 * @returns {string}
 */
export function encode(text) {
  let out = "";
  for (const character of text) {
    if (PLAIN.test(character)) out += character;
    else if (character === " ") out += "+";
    else for (const byte of bytesOf(/** @type {number} */ (character.codePointAt(0)))) out += BYTE[byte];
  }
  return out;
}

/** @param {number} code  UTF-8, for halves of surrogate pairs too @returns {number[]} */
function bytesOf(code) {
  if (code < 0x80) return [code];
  const tail = (/** @type {number} */ shift) => 0x80 | ((code >> shift) & 0x3f);
  if (code < 0x800) return [0xc0 | (code >> 6), tail(0)];
  if (code < 0x10000) return [0xe0 | (code >> 12), tail(6), tail(0)];
  return [0xf0 | (code >> 18), tail(12), tail(6), tail(0)];
}

/**
 * @param {string} text
 * @returns {string}
 */
export function decode(text) {
  return text
    .replaceAll("+", " ")
    .replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) => textOf(run.slice(1).split("%").map((hex) => Number.parseInt(hex, 16))));
}

/** @param {number[]} bytes */
function textOf(bytes) {
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at];
    const length = first < 0x80 ? 1 : first >> 5 === 6 ? 2 : first >> 4 === 14 ? 3 : first >> 3 === 30 ? 4 : 0;
    const rest = bytes.slice(at + 1, at + length);
    if (length === 0 || rest.length < length - 1 || rest.some((byte) => byte >> 6 !== 2)) {
      out += "\ufffd";
      at += 1;
      continue;
    }
    const lead = length === 1 ? first : first & (0xff >> (length + 1));
    const code = rest.reduce((value, byte) => (value << 6) | (byte & 0x3f), lead);
    out += code > 0x10ffff ? "\ufffd" : String.fromCodePoint(code);
    at += length;
  }
  return out;
}

/**
 * The parameters of a query, in order; a name may come several times.
 * @param {string} query  with or without its question mark
 * @returns {[string, string][]}
 */
export function parseQuery(query) {
  return query
    .replace(/^\?/, "")
    .split("&")
    .filter((part) => part !== "")
    .map((part) => {
      const at = part.indexOf("=");
      return at < 0 ? [decode(part), ""] : [decode(part.slice(0, at)), decode(part.slice(at + 1))];
    });
}

/**
 * @param {Iterable<[string, string | number | boolean | null | undefined]>} pairs  those without a value are left out
 * @returns {string} with its question mark, or nothing
 */
export function formatQuery(pairs) {
  const parts = [];
  for (const [name, value] of pairs)
    if (value !== null && value !== undefined) parts.push(`${encode(name).replaceAll("=", "%3D")}=${encode(String(value))}`);
  return parts.length ? `?${parts.join("&")}` : "";
}
