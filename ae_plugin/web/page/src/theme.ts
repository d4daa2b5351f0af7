// Light or dark, as Airflow around us: its <html> class, its stored choice, or else the system's.
import { useSyncExternalStore } from 'react';

export type Theme = 'light' | 'dark';

const system = window.matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();
let current: Theme = 'light';

export const framed = window.self !== window.top;

/** Airflow's root element; null when there is none, or it is another origin's. */
function around(): HTMLElement | null {
  try {
    return framed ? window.parent.document.documentElement : null;
  } catch {
    return null;
  }
}

function stored(): string | null {
  try {
    return window.localStorage.getItem('theme');
  } catch {
    return null;
  }
}

function wanted(): Theme {
  const classes = around()?.classList;
  if (classes?.contains('dark')) return 'dark';
  if (classes?.contains('light')) return 'light';
  const choice = stored();
  if (choice === 'dark' || choice === 'light') return choice;
  return system.matches ? 'dark' : 'light';
}

function apply(): void {
  current = wanted();
  document.documentElement.dataset.theme = current;
  for (const listener of listeners) listener();
}

export function followTheme(): void {
  apply();
  const outer = around();
  if (outer) new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ['class'] });
  window.addEventListener('storage', apply);
  system.addEventListener('change', apply);
}

export function useTheme(): Theme {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}
