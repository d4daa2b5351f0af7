// Where the user is: `#/p/flights/partition?partition=...`; all of a view's state is in it, so links can be shared.
import { useSyncExternalStore } from 'react';

export type Query = Record<string, string | number | boolean | null | undefined>;

export interface Route {
  path: string[];
  query: URLSearchParams;
}

export function parse(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split(/\?(.*)/s);
  return { path: path.split('/').filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `undefined` and `null` leave a parameter out; an empty string stays, since it names the whole source. */
export function href(path: string[], query: Query = {}): string {
  const kept = Object.entries(query).filter(([, value]) => value != null);
  const search = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return `#/${path.map(encodeURIComponent).join('/')}${search ? `?${search}` : ''}`;
}

/** The same place with some parameters changed; `null` removes one. */
export function changed(route: Route, changes: Query): string {
  const query: Query = Object.fromEntries(route.query);
  return href(route.path, { ...query, ...changes });
}

export function go(to: string, options: { replace?: boolean } = {}): void {
  if (options.replace) window.location.replace(to);
  else window.location.hash = to;
}

function subscribe(listener: () => void): () => void {
  window.addEventListener('hashchange', listener);
  return () => window.removeEventListener('hashchange', listener);
}

export function useHash(): string {
  return useSyncExternalStore(subscribe, () => window.location.hash);
}

export const to = {
  pipelines: (query?: Query) => href([], query),
  pipeline: (name: string, query?: Query) => href(['p', name], query),
  partition: (name: string, partition: string, query?: Query) =>
    href(['p', name, 'partition'], { partition, ...query }),
  traversal: (name: string) => href(['p', name, 'traversal']),
  models: (name: string, version?: string | null) => href(['p', name, 'models'], { version }),
};
