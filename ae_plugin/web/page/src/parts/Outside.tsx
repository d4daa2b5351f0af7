import type { MouseEvent, ReactNode } from 'react';
import { framed } from '../theme';

/** Airflow's frame may not navigate the page around it; but Airflow's own router, of the same origin, listens to its history. */
function go(event: MouseEvent<HTMLAnchorElement>): void {
  if (!framed || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  try {
    const { parent } = window;
    const { href } = event.currentTarget;
    parent.history.pushState({}, '', href);
    parent.dispatchEvent(new PopStateEvent('popstate', { state: {} }));
    event.preventDefault();
  } catch {
    // Framed by something else: the browser does what it may.
  }
}

/** A page of Airflow's own, relative to where we are mounted. */
export function Outside({ to, children }: { to: string; children: ReactNode }) {
  return (
    <a href={`../${to}`} target="_top" onClick={go}>
      {children}
    </a>
  );
}
