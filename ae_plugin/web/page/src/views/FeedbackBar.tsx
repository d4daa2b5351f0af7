import { useState } from 'react';
import { plural } from '../format';
import type { RowVerdict } from '../types';
import { MARK_MEANS, MARKED } from '../words';
import { useMark } from './mark';
import type { Selection } from './selection';

interface BarProps {
  name: string;
  partition: string;
  seen: string;
  selection: Selection;
  what?: string;
  done: () => void;
}

/** Verdicts on the ticked rows. */
export function FeedbackBar({ name, partition, seen, selection, what = 'row', done }: BarProps) {
  const [note, setNote] = useState('');
  const { give, busy, error } = useMark({ name, partition, seen, done });
  const { rows } = selection;
  const mark = async (verdict: RowVerdict) => {
    if (!(await give(rows, verdict, null, note || null))) return;
    setNote('');
    selection.toggleAll(false);
  };
  if (rows.length === 0) return <p className="faint">Tick {what}s to say what they are. False alarms: the next training learns that they are normal. Confirmed: it leaves them out.</p>;
  return (
    <section className="feedback" aria-label="Verdict on the selection">
      <b>{plural(rows.length, what)} selected</b>
      <label className="field">
        Note <input value={note} maxLength={2000} onChange={(event) => setNote(event.target.value)} placeholder="why (optional)" />
      </label>
      {(['false_alarm', 'confirmed'] as const).map((verdict) => (
        <button key={verdict} type="button" title={MARK_MEANS[verdict]} disabled={busy} onClick={() => void mark(verdict)}>
          {MARKED[verdict]}
        </button>
      ))}
      {error !== null && (
        <span className="error" role="alert">
          {error}
        </span>
      )}
    </section>
  );
}
