/** One import for everything that draws: templates, hooks, rendering. */
import { h, render, Fragment } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export { render, Fragment };
export * from "../vendor/hooks.js";

/** Tagged template that makes elements; values are only ever text, attributes or elements, never markup. */
export const html = htm.bind(h);

/**
 * Joins class names, leaving out what is false.
 * @param {...(string | false | null | undefined)} names
 * @returns {string}
 */
export const classes = (...names) => names.filter(Boolean).join(" ");
