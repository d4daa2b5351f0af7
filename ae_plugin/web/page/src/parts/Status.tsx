import type { ReactNode } from 'react';
import type { Loaded } from '../useApi';

/** Lines where content will be, of about its height, so that nothing jumps. */
export function Skeleton({ lines = 6 }: { lines?: number }) {
  return (
    <div className="skeleton" role="status">
      <span className="sr">Loading…</span>
      {Array.from({ length: lines }, (_, index) => (
        <span key={index} className="bone" aria-hidden="true" />
      ))}
    </div>
  );
}

export function Failed({ error, retry }: { error: string; retry: () => void }) {
  return (
    <p className="note bad" role="alert">
      {error}{' '}
      <button type="button" onClick={retry}>
        Retry
      </button>
    </p>
  );
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="note calm">{children}</p>;
}

interface ReadyProps<T> {
  from: Loaded<T>;
  lines?: number;
  /** A failure that is on the page already; it need not be told twice. */
  said?: string | null;
  children: (data: T) => ReactNode;
}

/** What was loaded; until then a skeleton, and its line when it failed. */
export function Ready<T>({ from, lines, said = null, children }: ReadyProps<T>) {
  return (
    <>
      {from.error !== null && from.error !== said && <Failed error={from.error} retry={from.reload} />}
      {from.data !== null && (
        <div className={from.loading ? 'ready stale' : 'ready'} aria-busy={from.loading}>
          {children(from.data)}
        </div>
      )}
      {from.data === null && from.error === null && <Skeleton lines={lines} />}
    </>
  );
}
