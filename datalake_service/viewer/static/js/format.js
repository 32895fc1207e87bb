/** Numbers, sizes, times and durations as people read them. All pure. */

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compactly = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const precise = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 6 });
const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];

/** @param {number | null | undefined} value */
export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));

/** @param {number | null | undefined} value */
export const compact = (value) =>
  value === null || value === undefined ? "–" : Math.abs(value) < 10_000 ? whole.format(value) : compactly.format(value);

/**
 * A count with its noun: "1 row", "2 rows".
 * @param {number} value
 * @param {string} noun
 * @param {string} [many]
 */
export const plural = (value, noun, many = `${noun}s`) => `${count(value)} ${value === 1 ? noun : many}`;

/** @param {number | string | null | undefined} value  a finite number is shortened, anything else is shown as it is */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? whole.format(value) : precise.format(value);
}

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${UNITS[unit]}`;
}

/** @param {number | null | undefined} value  a share between 0 and 1 */
export function percent(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.001) return "< 0.1 %";
  if (value < 1 && value > 0.999) return "> 99.9 %";
  return `${(value * 100).toFixed(value === 0 || value === 1 ? 0 : 1)} %`;
}

/** @param {number | null | undefined} value  money, in whatever the annotators report */
export const cost = (value) =>
  value === null || value === undefined ? "–" : value !== 0 && Math.abs(value) < 0.01 ? precise.format(value) : value.toFixed(2);

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.round((seconds % 86400) / 3600)} h`;
}

/**
 * How long ago, or how soon: "3 min ago", "in 2 h".
 * @param {string | null | undefined} iso
 * @param {number} now milliseconds
 */
export function ago(iso, now) {
  if (!iso) return "never";
  const then = Date.parse(iso);
  if (Number.isNaN(then)) return iso;
  const seconds = Math.round((now - then) / 1000);
  const text = spell(Math.abs(seconds));
  if (text === null) return "now";
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

/** @param {number} seconds */
function spell(seconds) {
  if (seconds < 5) return null;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400 * 2) return `${Math.round(seconds / 3600)} h`;
  if (seconds < 86400 * 60) return `${Math.round(seconds / 86400)} days`;
  return `${Math.round(seconds / 86400 / 30.44)} months`;
}

/**
 * A point in time, to the second, in UTC: the same on every screen that shows it.
 * @param {string | null | undefined} iso
 */
export function time(iso) {
  if (!iso) return "–";
  const then = new Date(iso);
  return Number.isNaN(then.getTime()) ? iso : `${then.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/**
 * A point in time on an axis, no finer than its bucket.
 * @param {string} iso
 * @param {string} bucket
 */
export function tick(iso, bucket) {
  const then = new Date(iso);
  if (Number.isNaN(then.getTime())) return iso;
  const text = then.toISOString();
  if (bucket === "minute") return text.slice(11, 16);
  if (bucket === "hour") return text.slice(5, 16).replace("T", " ");
  if (bucket === "month") return text.slice(0, 7);
  return text.slice(0, 10);
}
