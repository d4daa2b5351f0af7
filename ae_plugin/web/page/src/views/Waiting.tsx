import { partitionName, plural } from '../format';
import { to } from '../route';
import type { TimelinePoint } from '../types';
import { Decide } from './Decide';

interface WaitingProps {
  name: string;
  points: TimelinePoint[];
  mayDecide: boolean;
  pictures: boolean;
  reload: () => void;
}

const MOST = 10;

/** Refused partitions on which somebody has to decide. */
export function Waiting({ name, points, mayDecide, pictures, reload }: WaitingProps) {
  if (points.length === 0) return null;
  const newest = [...points].reverse();
  return (
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
  );
}
