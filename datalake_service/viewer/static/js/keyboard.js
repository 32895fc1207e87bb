/** Keys. A page says which keys it knows; the innermost page is asked first. Nobody's typing is taken for a key. */

import { useEffect, useRef } from "./html.js";

/** @typedef {{ key: string, does: string, run: (event: KeyboardEvent) => void }} Binding */

/** @type {{ current: Binding[] }[]} */
const layers = [];

/**
 * Adds keys for as long as the caller is drawn.
 * @param {Binding[]} bindings
 */
export function useKeys(bindings) {
  const layer = useRef(bindings);
  layer.current = bindings;
  useEffect(() => {
    layers.push(layer);
    return () => void layers.splice(layers.indexOf(layer), 1);
  }, []);
}

/** All keys that work now, for the help. @returns {Binding[]} */
export const knownKeys = () => layers.toReversed().flatMap((layer) => layer.current).filter((binding, at, all) => all.findIndex((other) => other.key === binding.key) === at);

/** @param {KeyboardEvent} event */
function isTyping(event) {
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select");
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isTyping(event)) {
    if (event.key === "Escape" && event.target instanceof HTMLElement && !event.target.closest("dialog")) event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const pressed = event.target instanceof HTMLElement && event.target.closest("button, a, summary, [role=separator]");
  if (pressed && (event.key === "Enter" || event.key === " ")) return; // they press what has the focus
  for (const layer of layers.toReversed()) {
    const binding = layer.current.find(({ key }) => key.split(" ").includes(event.key));
    if (binding === undefined) continue;
    event.preventDefault();
    binding.run(event);
    return;
  }
}

document.addEventListener("keydown", onKey);
