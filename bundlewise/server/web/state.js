// The state that the views share: the open thread with its cart, and messages between views.

export const EMPTY = { items: [], excluded: [], limits: { least: 2, most: null, total: null, bundles: null }, total: 0, unpriced: 0, currency: "", quantities: {} };
export const state = { thread: "", cart: EMPTY, busy: false, about: null };

const listeners = new Map();

/** Call a function at every message of a name. */
export function on(what, listener) {
  listeners.set(what, [...(listeners.get(what) ?? []), listener]);
}

/** Send a message to all listeners. The names are: act (a click), cart, busy, about, threads (the list has changed). */
export function tell(what, detail) {
  for (const listener of listeners.get(what) ?? []) listener(detail);
}

/** Return a new thread's name. */
export function newName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
