import { useState } from 'react';
import { post } from '../api';
import { plural } from '../format';
import { useSay } from '../parts/Live';
import type { FeedbackMark, RowVerdict } from '../types';
import { MARKED } from '../words';

interface Place {
  name: string;
  partition: string;
  /** Of the rows that are shown, so that nobody judges others that took their place. */
  seen: string;
  done: () => void;
}

/** Keeps a person's verdict on rows; `column`: on that cell alone. */
export function useMark({ name, partition, seen, done }: Place) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const say = useSay();
  const give = async (rows: number[], verdict: RowVerdict, column: string | null, note: string | null): Promise<boolean> => {
    setBusy(true);
    setError(null);
    try {
      const order = { partition, rows, verdict, column, note, seen };
      const { marks } = await post<{ marks: FeedbackMark[] }>(['pipelines', name, 'feedback'], order);
      say(`${MARKED[verdict]}: kept for ${plural(marks.length, 'row')}; used by the next training that reads this partition.`);
      done();
      return true;
    } catch (failed) {
      setError((failed as Error).message);
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { give, busy, error };
}
