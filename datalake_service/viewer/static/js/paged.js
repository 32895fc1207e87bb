/** Lists that come page by page, each when it is asked for. */

import { useEffect, useRef, useState } from "./html.js";

/**
 * @param {string} key  begins anew whenever it changes
 * @param {(cursor: string | null, signal: AbortSignal) => Promise<any>} ask  answers have `items` and `next`
 * @returns {{ first: any, items: any[], next: string | null, error: Error | null, loading: boolean, more: () => void }}
 */
export function usePaged(key, ask) {
  const fresh = { key, first: null, items: [], next: /** @type {string | null} */ (null), error: /** @type {Error | null} */ (null), loading: true };
  const [state, setState] = useState(/** @type {any} */ (fresh));
  const latest = useRef(ask);
  latest.current = ask;
  const control = useRef(new AbortController());
  const load = (/** @type {string | null} */ cursor, /** @type {any[]} */ before, /** @type {any} */ first) => {
    const { signal } = control.current;
    latest.current(cursor, signal).then(
      (answer) => signal.aborted || setState({ key, first: first ?? answer, items: [...before, ...answer.items], next: answer.next, error: null, loading: false }),
      (error) => signal.aborted || setState((/** @type {any} */ old) => ({ ...old, key, error, loading: false })),
    );
  };
  useEffect(() => {
    control.current = new AbortController();
    load(null, [], null);
    return () => control.current.abort();
  }, [key]);
  const more = () => {
    setState({ ...state, loading: true });
    load(state.next, state.items, state.first);
  };
  return { ...state, more };
}
