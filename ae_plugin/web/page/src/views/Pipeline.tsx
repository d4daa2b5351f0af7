import { useState } from 'react';
import { address } from '../api';
import { count, percent, plural } from '../format';
import { Badge } from '../parts/Badge';
import { DagLink } from '../parts/DagLink';
import { Facts } from '../parts/Facts';
import { Heading } from '../parts/Heading';
import { Outside } from '../parts/Outside';
import { Empty, Ready } from '../parts/Status';
import { Age } from '../parts/When';
import { type Route, to } from '../route';
import type { PipelineDetail, Timeline } from '../types';
import { useApi } from '../useApi';
import { isReleased, isWaiting, STATES } from '../words';
import { PipelineCharts } from './PipelineCharts';
import { PipelineTabs } from './PipelineTabs';
import { TimelineTable } from './TimelineTable';
import { Waiting } from './Waiting';

const NEWEST = 365;

/** One pipeline: how its partitions went, and what waits for a decision. */
export default function Pipeline({ name, route }: { name: string; route: Route }) {
  const detail = useApi<PipelineDetail>(address(['pipelines', name]));
  const timeline = useApi<Timeline>(address(['pipelines', name, 'timeline'], { last: NEWEST }));
  return (
    <>
      <Heading title={name}>{detail.data && <Badge word={STATES[detail.data.summary.state]} />}</Heading>
      <PipelineTabs name={name} current="timeline" />
      <Ready from={detail} lines={4}>
        {(found) => <Head detail={found} />}
      </Ready>
      <Ready from={timeline} lines={14} said={detail.error}>
        {(found) =>
          found.points.length === 0 ? (
            <NothingScored detail={detail.data} />
          ) : (
            <>
              <Waiting name={name} points={found.points.filter(isWaiting)} released={found.points.filter(isReleased)} scoreDag={`${name}__score`} mayDecide={detail.data?.may_decide ?? false} pictures={detail.data?.summary.pictures ?? false} reload={timeline.reload} />
              <History name={name} timeline={found} pictures={detail.data?.summary.pictures ?? false} route={route} />
            </>
          )
        }
      </Ready>
    </>
  );
}

function Head({ detail }: { detail: PipelineDetail }) {
  const { summary } = detail;
  return (
    <>
      {summary.problem !== null && <p className="note bad">{summary.problem}</p>}
      {detail.promote === 'approval' && summary.challenger !== null && (
        <p className="note warn">
          {summary.challenger} waits for approval. <a href={to.models(summary.name, summary.challenger)}>Look at it, and promote it</a>, or answer in Airflow under{' '}
<Outside to="required_actions">Required Actions</Outside>
          .
        </p>
      )}
      <Facts
        facts={[
          ['Promised alarm rate', percent(summary.alert_rate)],
          ['Champion', summary.champion === null ? 'none yet' : <><a href={to.models(summary.name, summary.champion)}>{summary.champion}</a>, trained <Age at={summary.champion_trained_at} /> ago</>],
          ['Partitions scored', count(summary.partitions_scored)],
          ['Scores', <><DagLink dag={detail.score_dag} /> ({detail.score_schedule})</>],
          ['Trains', <><DagLink dag={detail.train_dag} /> ({detail.train_schedule ?? 'when triggered'})</>],
          ['Source', <code title={detail.source}>{detail.source}</code>],
          ['Output', <code title={detail.output}>{detail.output}</code>],
        ]}
      />
    </>
  );
}

function NothingScored({ detail }: { detail: PipelineDetail | null }) {
  if (detail === null) return null;
  const { summary, train_dag: train, score_dag: score } = detail;
  return (
    <Empty>
      {summary.champion === null ? (
        <>
          No model yet: run the DAG <DagLink dag={train} />, or <code>ae train {summary.name}</code>.
        </>
      ) : (
        <>
          No partition scored yet: run the DAG <DagLink dag={score} />, or <code>ae score {summary.name}</code>.
        </>
      )}
    </Empty>
  );
}

function History({ name, timeline, pictures, route }: { name: string; timeline: Timeline; pictures: boolean; route: Route }) {
  const [open, setOpen] = useState(route.query.has('tpage'));
  const { points, total } = timeline;
  return (
    <>
      <p className="faint">
        {total > points.length ? `The newest ${plural(points.length, 'partition')} of ${count(total)}` : plural(points.length, 'partition')}. Click a point to open its partition; the table below has the same.
      </p>
      <PipelineCharts name={name} timeline={timeline} pictures={pictures} />
      <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>
          <h2>All partitions as a table</h2>
        </summary>
        {open && <TimelineTable name={name} points={points} route={route} />}
      </details>
    </>
  );
}
