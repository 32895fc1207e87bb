/** News from the server: what has changed in the lake, without asking. */

import { createStore } from "./store.js";

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30_000;

/** "connecting" | "live" | "waiting": how the page stands with the server. */
export const connection = createStore("connecting");

/** Version of each dataset, as last heard. @type {import("./store.js").Store<Record<string, string>>} */
export const versions = createStore(/** @type {Record<string, string>} */ ({}));

/** The last news of the dataset that is listened to. @type {import("./store.js").Store<{ dataset: string, version: string, rows: number, newRows: number } | null>} */
export const news = createStore(/** @type {any} */ (null));

/** @type {EventSource | null} */
let source = null;
let wait = FIRST_WAIT;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {string | null} */
let topic = null;

/**
 * Listens to the lake, and closely to one dataset.
 * @param {string | null} dataset
 */
export function listen(dataset) {
  if (source !== null && dataset === topic) return;
  topic = dataset;
  news.set(null);
  open();
}

function open() {
  clearTimeout(timer);
  source?.close();
  const opened = new EventSource(topic === null ? "/api/events" : `/api/events?dataset=${encodeURIComponent(topic)}`);
  source = opened;
  opened.addEventListener("open", () => {
    wait = FIRST_WAIT;
    connection.set("live");
  });
  opened.addEventListener("lake", (event) => versions.set({ ...JSON.parse(event.data).datasets }));
  opened.addEventListener("dataset", (event) => {
    const heard = JSON.parse(event.data);
    if (heard.dataset === topic) news.set(heard);
  });
  // A connection that breaks is opened again here, not by the browser: it would give up for good when a server that
  // starts answers with an error. Nothing is missed: the first event says which version everything has.
  opened.addEventListener("error", () => {
    if (source !== opened) return;
    opened.close();
    connection.set("waiting");
    timer = setTimeout(open, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  });
}

/** Looks again at once: the machine woke up, or the network is back. */
function hurry() {
  if (connection.get() !== "waiting" || document.visibilityState === "hidden") return;
  wait = FIRST_WAIT;
  open();
}

addEventListener("online", hurry);
document.addEventListener("visibilitychange", hurry);
