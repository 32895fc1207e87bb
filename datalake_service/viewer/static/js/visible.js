/**
 * Makes text safe to look at. Rows hold what a crawler found: control characters, terminal escapes, overrides of the
 * direction of text, characters that are not there to the eye. Each of these becomes a symbol with a name; links to
 * the web become links; all else stays as it is. Whatever comes out is drawn as text, never as markup.
 */

/**
 * @typedef {{ kind: "text" | "symbol" | "link", text: string, title?: string }} Segment
 */

// The standard's abbreviations, not its pictures: few fonts have those.
const CONTROLS = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");
const NAMED = new Map([
  [0x007f, "DEL"], [0x00ad, "SHY"], [0x061c, "ALM"], [0x180e, "MVS"], [0x200b, "ZWSP"], [0x200e, "LRM"], [0x200f, "RLM"],
  [0x2028, "LS"], [0x2029, "PS"], [0x202a, "LRE"], [0x202b, "RLE"], [0x202c, "PDF"], [0x202d, "LRO"], [0x202e, "RLO"],
  [0x2060, "WJ"], [0x2061, "FA"], [0x2062, "IT"], [0x2063, "IS"], [0x2064, "IP"], [0x2066, "LRI"], [0x2067, "RLI"],
  [0x2068, "FSI"], [0x2069, "PDI"], [0x206a, "ISS"], [0x206b, "ASS"], [0x206c, "IAFS"], [0x206d, "AAFS"],
  [0x206e, "NADS"], [0x206f, "NODS"], [0x3164, "HF"], [0xfeff, "BOM"], [0xfff9, "IAA"], [0xfffa, "IAS"], [0xfffb, "IAT"],
]);

// Everything that is not simply itself: controls but tab and line feed, the names above, halves of surrogate pairs,
// tags and the supplementary variation selectors (both can carry hidden text).
const ODD =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\u{e0000}-\u{e01ef}]|\p{Surrogate}/u;
const ODD_ALL = new RegExp(ODD, "gu");
const LINK = /\bhttps?:\/\/[^\s<>"'`\u0000-\u0020\u007f-\u009f\\^{|}]+/giu;

/**
 * What to draw for one odd character.
 * @param {string} character
 * @returns {Segment}
 */
function symbol(character) {
  const code = /** @type {number} */ (character.codePointAt(0));
  const hex = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  if (code < 0x20) return { kind: "symbol", text: CONTROLS[code], title: hex };
  if (code >= 0xe0020 && code <= 0xe007e)
    return { kind: "symbol", text: `tag ${String.fromCodePoint(code - 0xe0000)}`, title: hex };
  return { kind: "symbol", text: NAMED.get(code) ?? hex, title: hex };
}

/**
 * Splits text into plain text and symbols.
 * @param {string} text
 * @returns {Segment[]}
 */
export function segments(text) {
  if (!ODD.test(text)) return text === "" ? [] : [{ kind: "text", text }];
  /** @type {Segment[]} */
  const found = [];
  let from = 0;
  for (const match of text.matchAll(ODD_ALL)) {
    if (match.index > from) found.push({ kind: "text", text: text.slice(from, match.index) });
    found.push(symbol(match[0]));
    from = match.index + match[0].length;
  }
  if (from < text.length) found.push({ kind: "text", text: text.slice(from) });
  return found;
}

/**
 * Splits text into plain text, symbols and links. Only http and https become links, and only where the address is
 * plainly one: what looks different from where it leads stays text.
 * @param {string} text
 * @returns {Segment[]}
 */
export function withLinks(text) {
  if (!text.includes("://")) return segments(text);
  /** @type {Segment[]} */
  const found = [];
  for (const part of segments(text)) {
    if (part.kind === "text") found.push(...linked(part.text));
    else found.push(part);
  }
  return found;
}

/**
 * @param {string} text
 * @returns {Segment[]}
 */
function linked(text) {
  /** @type {Segment[]} */
  const found = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const address = trimmed(match[0]);
    if (safeLink(address) === null) continue;
    if (match.index > from) found.push({ kind: "text", text: text.slice(from, match.index) });
    found.push({ kind: "link", text: address });
    from = match.index + address.length;
  }
  if (from < text.length) found.push({ kind: "text", text: text.slice(from) });
  return found;
}

/** @param {string} address  without the punctuation that ends a sentence or closes a bracket opened before it */
function trimmed(address) {
  let text = address.replace(/[.,;:!?*_~]+$/u, "");
  while (/[)\]]$/u.test(text) && unbalanced(text)) text = text.slice(0, -1);
  return text;
}

/** @param {string} text */
function unbalanced(text) {
  const of = (/** @type {string} */ character) => text.split(character).length;
  return of(")") > of("(") || of("]") > of("[");
}

/**
 * The address to follow, or null where there is none: http and https only, no name or password in it.
 * @param {string} address
 * @returns {string | null}
 */
export function safeLink(address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  const web = url.protocol === "http:" || url.protocol === "https:";
  return web && url.username === "" && url.password === "" ? url.href : null;
}

/** Text on one line, odd characters replaced: for titles and labels, where nothing can be drawn. @param {string} text */
export const plain = (text) =>
  segments(text)
    .map((part) => (part.kind === "symbol" ? `\u27e8${part.text}\u27e9` : part.text))
    .join("");
