/** Values that several parts of the page watch, and the hooks that watch them. */

import { useEffect, useReducer, useRef, useState } from "./html.js";

/**
 * @template T
 * @typedef {{ get: () => T, set: (value: T) => void, subscribe: (listener: () => void) => () => void }} Store
 */

/**
 * @template T
 * @param {T} initial
 * @returns {Store<T>}
 */
export function createStore(initial) {
  let value = initial;
  /** @type {Set<() => void>} */
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(value, next)) return;
      value = next;
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/**
 * The value of a store; draws again when it changes.
 * @template T
 * @param {Store<T>} store
 * @returns {T}
 */
export function useStore(store) {
  const [, redraw] = useReducer((/** @type {number} */ n) => n + 1, 0);
  useEffect(() => store.subscribe(() => redraw(0)), [store]);
  return store.get();
}

/**
 * What an asynchronous question answers. The last answer stays while the next is on its way; an answer to an older
 * question is dropped.
 * @template T
 * @param {string | null} key  asked again whenever it changes; null: not asked
 * @param {(signal: AbortSignal) => Promise<T>} ask
 * @returns {{ data: T | null, error: Error | null, loading: boolean, again: () => void }}
 */
export function useAnswer(key, ask) {
  const [state, setState] = useState({ key: /** @type {string | null} */ (null), data: /** @type {T | null} */ (null), error: /** @type {Error | null} */ (null) });
  const [turn, again] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    if (key === null) return undefined;
    const control = new AbortController();
    latest.current(control.signal).then(
      (data) => control.signal.aborted || setState({ key: `${turn} ${key}`, data, error: null }),
      (error) => control.signal.aborted || setState((old) => ({ key: `${turn} ${key}`, data: old.data, error })),
    );
    return () => control.abort();
  }, [key, turn]);
  return { data: key === null ? null : state.data, error: state.error, loading: key !== null && state.key !== `${turn} ${key}`, again: () => again(0) };
}

/**
 * A value that follows another when that has been still for a while.
 * @template T
 * @param {T} value
 * @param {number} milliseconds
 * @returns {T}
 */
export function useSettled(value, milliseconds) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(() => value), milliseconds);
    return () => clearTimeout(timer);
  }, [value, milliseconds]);
  return settled;
}

const clock = createStore(Date.now());
setInterval(() => clock.set(Date.now()), 10_000);

/** The time, in milliseconds; draws again every ten seconds. */
export const useNow = () => useStore(clock);
