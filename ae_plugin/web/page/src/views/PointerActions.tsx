import { useState } from 'react';
import { post } from '../api';
import { ConfirmDialog } from '../parts/ConfirmDialog';
import { useSay } from '../parts/Live';
import type { Gate, PromoteRecord } from '../modelTypes';

interface PromoteProps {
  name: string;
  version: string;
  gate: Gate | null;
  done: () => void;
}

/** Make a version champion; against the gate's word only when that is said. */
export function Promote({ name, version, gate, done }: PromoteProps) {
  const [asked, setAsked] = useState(false);
  const [force, setForce] = useState(false);
  const say = useSay();
  const failed = gate !== null && !gate.passed;
  const promote = async () => {
    const record = await post<PromoteRecord>(['pipelines', name, 'promote'], { version, force });
    if (!record.promoted) throw new Error(record.reasons.join('; ') || `${version} was not promoted.`);
    say(`${version} is champion: the next partitions are scored by it.`);
    done();
  };
  return (
    <>
      <button type="button" className="primary" onClick={() => setAsked(true)}>
        Promote {version}…
      </button>
      {asked && (
        <ConfirmDialog title={`Promote ${version}?`} action="Promote" ready={!failed || force} onConfirm={promote} onClose={() => setAsked(false)}>
          <p>It becomes champion of {name}: from the next run on, partitions are scored by it. Scores that are written stay as they are.</p>
          {gate && (
            <>
              <p>{failed ? 'The gate says no:' : 'The gate says yes:'}</p>
              <ul>
                {gate.reasons.map((reason) => (
                  <li key={reason}>{reason}</li>
                ))}
              </ul>
            </>
          )}
          {failed && (
            <label className="tick">
              <input type="checkbox" checked={force} onChange={(event) => setForce(event.target.checked)} /> promote although the gate says no
            </label>
          )}
        </ConfirmDialog>
      )}
    </>
  );
}

interface RollbackProps {
  name: string;
  former: string[];
  champion: string;
  done: () => void;
}

/** Go back to an earlier champion, or to any version. */
export function Rollback({ name, former, champion, done }: RollbackProps) {
  const [asked, setAsked] = useState(false);
  const [version, setVersion] = useState('');
  const say = useSay();
  const rollBack = async () => {
    const record = await post<PromoteRecord>(['pipelines', name, 'rollback'], { version: version || null });
    if (!record.promoted) throw new Error(record.reasons.join('; ') || 'Nothing to go back to.');
    say(`Rolled back: ${record.champion ?? 'nothing'} is champion.`);
    done();
  };
  return (
    <p className="actions">
      <button type="button" onClick={() => setAsked(true)}>
        Roll back…
      </button>
      {asked && (
        <ConfirmDialog title={`Roll ${name} back?`} action="Roll back" danger onConfirm={rollBack} onClose={() => setAsked(false)}>
          <p>{champion} is champion now. From the next run on, partitions are scored by the version that you choose.</p>
          <label className="field wide">
            Back to
            <select value={version} onChange={(event) => setVersion(event.target.value)}>
              <option value="">the champion before</option>
              {former.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        </ConfirmDialog>
      )}
    </p>
  );
}
