import { partitionName, plural } from '../format';
import { DagLink } from '../parts/DagLink';
import { to } from '../route';
import type { TimelinePoint } from '../types';
import { Decide } from './Decide';

interface WaitingProps {
  name: string;
  points: TimelinePoint[];
  released: TimelinePoint[];
  scoreDag: string;
  mayDecide: boolean;
  pictures: boolean;
  reload: () => void;
}

const MOST = 10;

/** Refused partitions on which somebody has to decide. */
export function Waiting({ name, points, released, scoreDag, mayDecide, pictures, reload }: WaitingProps) {
  if (points.length === 0) return <Released points={released} scoreDag={scoreDag} />;
  const newest = [...points].reverse();
  return (
    <>
    <Released points={released} scoreDag={scoreDag} />
    <section className="waiting-list" aria-labelledby="waiting">
      <h2 id="waiting">{plural(points.length, 'refused partition waits', 'refused partitions wait')} for a decision</h2>
      <ul>
        {newest.slice(0, MOST).map((point) => (
          <li key={point.run_id}>
            <a href={to.partition(name, point.partition)}>{partitionName(point.partition)}</a>
            <span className="faint">{plural(point.rows, pictures ? 'picture' : 'row')}, refused by {point.model_version}</span>
            {mayDecide && <Decide name={name} partition={point.partition} seen={point.input_fingerprint} done={reload} />}
          </li>
        ))}
      </ul>
      {points.length > MOST && <p className="faint">And {plural(points.length - MOST, 'older one')}: see the table.</p>}
      {!mayDecide && <p className="faint">To release or discard takes the right to edit this pipeline&apos;s DAG.</p>}
    </section>
    </>
  );
}

/** What is released is scored by a run, and nothing happens until there is one. */
function Released({ points, scoreDag }: { points: TimelinePoint[]; scoreDag: string }) {
  if (points.length === 0) return null;
  return (
    <p className="note calm">
      Released, and scored when <DagLink dag={scoreDag} /> runs next (start it by hand, or wait for its schedule): {points.slice(-MOST).map((point) => partitionName(point.partition)).join(', ')}.
    </p>
  );
}
