/** Light, dark, or as the system has it. Chosen by the reader of this browser; kept here, not in the address. */

import { createStore } from "./store.js";

const KEY = "datalake-theme";
const ORDER = ["system", "light", "dark"];

function stored() {
  try {
    const value = localStorage.getItem(KEY) ?? "system";
    return ORDER.includes(value) ? value : "system";
  } catch {
    return "system"; // storage is switched off
  }
}

/** "system" | "light" | "dark" */
export const theme = createStore(stored());

/** Takes the next theme. */
export function nextTheme() {
  const next = ORDER[(ORDER.indexOf(theme.get()) + 1) % ORDER.length];
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // it holds until the page is closed
  }
  theme.set(next);
}

function apply() {
  if (theme.get() === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.get();
}

theme.subscribe(apply);
apply();
