import { bytes, count, duration, percent, plural } from '../format';
import { DagLink } from '../parts/DagLink';
import { type Fact, Facts } from '../parts/Facts';
import { When } from '../parts/When';
import { to } from '../route';
import type { PartitionDetail } from '../types';
import { DECIDED, inWords } from '../words';
import { Decide } from './Decide';

interface HeadProps {
  name: string;
  detail: PartitionDetail;
  pictures: boolean;
  reload: () => void;
}

/** A partition in plain words, what the guard said, and what was decided. */
export function PartitionHead({ name, detail, pictures, reload }: HeadProps) {
  const { run, expected, decision, may_decide: mayDecide } = detail;
  const scored = run.outcome === 'scored';
  const few = expected && run.rows > 0 ? expected.map((share) => Math.round(share * run.rows)) : null;
  return (
    <>
      <p className="lead">
        {inWords(run, pictures, decision?.decision ?? null).join(' ')}
        {scored && few && ` If all were normal, ${count(few[0])} to ${count(few[1])} would be flagged, 99 times in 100.`}
      </p>
      <Reasons detail={detail} />
      {run.notes.map((note) => (
        <p key={note} className="note calm">
          {note}
        </p>
      ))}
      {decision !== null && (
        <p className="note calm">
          <b>{DECIDED[decision.decision]}</b> by {decision.who ?? 'somebody'}, <When at={decision.when} />
          {decision.note !== null && `: ${decision.note}`}
        </p>
      )}
      {!scored && mayDecide && (
        <div className="decide">
          <Decide name={name} partition={run.partition} seen={run.input_fingerprint} done={reload} />
          <span className="faint">{decision === null ? 'Is it right that this data looks different? Release it. Is it broken? Discard it, and mend its source.' : 'You may still decide otherwise.'}</span>
        </div>
      )}
      {!scored && !mayDecide && decision === null && <p className="faint">To release or discard it takes the right to edit this pipeline&apos;s DAG.</p>}
      <details>
        <summary>About this run</summary>
        <Facts facts={facts(name, detail, pictures)} />
      </details>
    </>
  );
}

function Reasons({ detail }: { detail: PartitionDetail }) {
  const { guard } = detail.run;
  if (guard.reasons.length === 0) return null;
  return (
    <div className={`note ${guard.verdict === 'unfamiliar' ? 'bad' : 'warn'}`}>
      <b>{guard.verdict === 'unfamiliar' ? 'Why it is unfamiliar' : 'What moved'}</b>
      <ul>
        {guard.reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
    </div>
  );
}

function facts(name: string, { run }: PartitionDetail, pictures: boolean): Fact[] {
  const input = run.input_files === null ? '–' : `${plural(run.input_files, 'file')}, ${bytes(run.input_bytes)}`;
  const mended: Fact = pictures
    ? ['Pictures repaired', count(run.pictures_repaired)]
    : ['Cells', `${count(run.cells_flagged)} wrong, ${count(run.cells_repaired)} repaired, ${count(run.cells_imputed)} imputed`];
  return [
    ['Scored', <When key="at" at={run.started_at} />],
    ['Model', <a key="model" href={to.models(name, run.model_version)}>{run.model_version}</a>],
    ['Promised alarm rate', percent(run.alert_rate)],
    ['Input', input],
    mended,
    ['Unreadable', plural(run.unreadable_rows, pictures ? 'picture' : 'row')],
    ['Took', duration(run.seconds)],
    ['Run', <code key="run">{run.run_id}</code>],
    ...(run.airflow ? [['DAG', <DagLink key="dag" dag={run.airflow.dag_id} />] satisfies Fact] : []),
  ];
}
