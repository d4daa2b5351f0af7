import { useState } from 'react';
import { post } from '../api';
import { partitionName } from '../format';
import { ConfirmDialog } from '../parts/ConfirmDialog';
import { useSay } from '../parts/Live';
import type { Decision, DecisionMade } from '../types';
import { DECIDED } from '../words';

const ASKS = {
  release: { title: 'Release', action: 'Release', means: 'It is scored at the next run of the scoring DAG, whatever the guard says.' },
  discard: { title: 'Discard', action: 'Discard', means: 'It is left out for good: not scored, and not trained on.' },
};

interface DecideProps {
  name: string;
  partition: string;
  /** `input_fingerprint` of the run that is shown, so that nobody decides on files that they have not seen. */
  seen?: string | null;
  done: () => void;
}

/** Release or discard a refused partition. */
export function Decide({ name, partition, seen = null, done }: DecideProps) {
  const [asked, setAsked] = useState<Decision | null>(null);
  const [note, setNote] = useState('');
  const say = useSay();
  const decide = async (decision: Decision) => {
    await post<DecisionMade>(['pipelines', name, 'decide'], { partition, decision, seen, note: note || null });
    const next = decision === 'release' ? `${name}__score scores it when it runs next` : 'its rows have left quarantine';
    say(`${partitionName(partition)} is ${DECIDED[decision]}: ${next}.`);
    done();
  };
  return (
    <span className="actions">
      <button type="button" onClick={() => setAsked('release')}>
        Release<span className="sr"> {partitionName(partition)}</span>…
      </button>
      <button type="button" onClick={() => setAsked('discard')}>
        Discard<span className="sr"> {partitionName(partition)}</span>…
      </button>
      {asked !== null && (
        <ConfirmDialog title={`${ASKS[asked].title} ${partitionName(partition)}?`} action={ASKS[asked].action} danger={asked === 'discard'} onConfirm={() => decide(asked)} onClose={() => setAsked(null)}>
          <p>{ASKS[asked].means}</p>
          <label className="field wide">
            Note (why; others will see it)
            <textarea rows={2} maxLength={2000} value={note} onChange={(event) => setNote(event.target.value)} />
          </label>
        </ConfirmDialog>
      )}
    </span>
  );
}
