/** Bytes that could not be used, shown so that nothing in them acts: as text with symbols, or as a hex dump. */

import { html, useState } from "./html.js";
import { bytes as sized } from "./format.js";
import { Text } from "./text.js";

const WIDTH = 16;
const AT_ONCE = 2048;

/** @param {string} base64 @returns {Uint8Array} */
export const fromBase64 = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/**
 * Lines of a hex dump: offset, bytes, and what of them is plain ASCII.
 * @param {Uint8Array} bytes
 * @returns {{ offset: string, hex: string, ascii: string }[]}
 */
export function hexLines(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += WIDTH) {
    const part = [...bytes.subarray(at, at + WIDTH)];
    lines.push({
      offset: at.toString(16).padStart(6, "0"),
      hex: part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(WIDTH * 3 - 1),
      ascii: part.map((byte) => (byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : "·")).join(""),
    });
  }
  return lines;
}

/**
 * @param {{ base64: string, size: number }} props  size: of all of it; `base64` may be its beginning only
 */
export function Bytes({ base64, size }) {
  const [form, setForm] = useState("text");
  const [limit, setLimit] = useState(AT_ONCE);
  const all = fromBase64(base64);
  const bytes = all.subarray(0, limit);
  return html`<div class="bytes">
    <div class="bytes-bar">
      <div class="switch" role="group" aria-label="How the bytes are shown">
        ${["text", "hex"].map((name) => html`<button aria-pressed=${String(form === name)} onClick=${() => setForm(name)}>${name === "hex" ? "Hex" : "Text"}</button>`)}
      </div>
      <span class="faint">${sized(size)}${bytes.length < size ? `, the first ${sized(bytes.length)} of it` : ""}</span>
      ${all.length > limit && html`<button class="quiet" onClick=${() => setLimit(limit * 4)}>Show more</button>`}
    </div>
    <pre class="raw" tabindex="0" role="region" aria-label="Raw bytes">${form === "hex"
      ? hexLines(bytes).map((line) => `${line.offset}  ${line.hex}  ${line.ascii}\n`).join("")
      : html`<${Text} text=${new TextDecoder().decode(bytes)} />`}</pre>
  </div>`;
}
