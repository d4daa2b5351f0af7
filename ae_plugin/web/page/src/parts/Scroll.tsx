import type { ReactNode } from 'react';

/** A wide table's own scroller, so that the page never scrolls sideways; reachable by keyboard. */
export function Scroll({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="scroll" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}
