import { useCallback, useState } from 'react';

export interface Selection {
  rows: number[];
  has: (row: number) => boolean;
  toggle: (row: number, on: boolean) => void;
  toggleAll: (on: boolean) => void;
  all: boolean;
}

/** Which of the rows on show are ticked. */
export function useSelection(shown: number[]): Selection {
  const [ticked, setTicked] = useState<ReadonlySet<number>>(new Set());
  const rows = shown.filter((row) => ticked.has(row));
  const toggle = useCallback((row: number, on: boolean) => {
    setTicked((before) => {
      const after = new Set(before);
      if (on) after.add(row);
      else after.delete(row);
      return after;
    });
  }, []);
  return {
    rows,
    has: (row) => ticked.has(row),
    toggle,
    toggleAll: (on) => setTicked(on ? new Set(shown) : new Set()),
    all: shown.length > 0 && rows.length === shown.length,
  };
}
