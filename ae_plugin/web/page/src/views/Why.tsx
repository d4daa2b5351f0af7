import { useMemo, useState } from 'react';
import { histogram } from '../charts/histogram';
import { LazyChart } from '../charts/Lazy';
import { digits } from '../format';
import { Empty } from '../parts/Status';
import type { PartitionDetail, ScoreHistogram } from '../types';
import { ColumnParts } from './ColumnParts';

const FIRST = 6;

/** Why the partition got its verdict: scores against calibration's, values against training's. */
export function Why({ detail }: { detail: PartitionDetail }) {
  const { profile, run } = detail;
  const [all, setAll] = useState(false);
  const reasons = new Map(run.guard.columns.map((column) => [column.column, column]));
  const columns = profile?.columns ?? [];
  const told = run.guard.columns.filter((column) => !columns.some((one) => one.column === column.column));
  const shown = all ? columns : columns.slice(0, FIRST);
  return (
    <>
      {profile?.scores && <Scores scores={profile.scores} />}
      {told.length > 0 && (
        <section>
          <h2>Columns that the guard names</h2>
          <ul>
            {told.map((column) => (
              <li key={column.column}>
                <b>{column.column}</b>: {column.reason}
              </li>
            ))}
          </ul>
        </section>
      )}
      {columns.length > 0 && (
        <section>
          <h2>Values now, against training</h2>
          <p className="faint">Columns whose values moved most come first.</p>
          <div className="parts">
            {shown.map((column) => (
              <ColumnParts key={column.column} column={column} reason={reasons.get(column.column)} />
            ))}
          </div>
          {columns.length > shown.length && (
            <button type="button" onClick={() => setAll(true)}>
              Show all {columns.length} columns
            </button>
          )}
        </section>
      )}
      {profile === null && <Empty>This partition was scored before such profiles were kept. Score it once more to have one.</Empty>}
      {profile !== null && profile.scores === null && columns.length === 0 && <Empty>Nothing was measured of this partition: it has no rows, or none that could be read.</Empty>}
    </>
  );
}

function Scores({ scores }: { scores: ScoreHistogram }) {
  const draw = useMemo(() => histogram(scores), [scores]);
  const flagged = scores.threshold === null ? 'No score is high enough to be flagged: there are too few calibration rows.' : `Rows with a score of ${digits(scores.threshold)} or more are flagged.`;
  return (
    <section>
      <h2>Anomaly scores</h2>
      <p className="faint">This partition over the calibration rows, which are normal. {flagged}</p>
      <LazyChart draw={draw} label={`Histogram of anomaly scores over that of calibration rows. ${flagged}`} height={280} />
    </section>
  );
}
