import type { ReactNode } from 'react';
import { address } from '../api';
import type { Asked } from '../context';
import { Heading } from '../parts/Heading';
import { Empty, Ready } from '../parts/Status';
import { type Route, to } from '../route';
import type { Context } from '../types';
import { useApi } from '../useApi';
import Models from './Models';
import Partition from './Partition';
import Pipeline from './Pipeline';
import { TimelineTable } from './TimelineTable';

/** Only what belongs to the DAG, the DAG run or the task on whose page Airflow shows us. */
export default function InContext({ asked, route }: { asked: Asked; route: Route }) {
  const found = useApi<Context>(address(['context'], asked));
  return (
    <Ready from={found} lines={12}>
      {(context) => <Belonging context={context} asked={asked} route={route} />}
    </Ready>
  );
}

function Belonging({ context, asked, route }: { context: Context; asked: Asked; route: Route }) {
  const { pipeline, points, version } = context;
  if (context.problem !== null) {
    return (
      <>
        <Heading title="This YAML does not load" />
        <p className="note bad">{context.problem}</p>
      </>
    );
  }
  if (pipeline === null) {
    return (
      <Quiet title="Anomalies">
        This DAG is not one of a pipeline&apos;s. See <a href="#/all">all pipelines</a>.
      </Quiet>
    );
  }
  if (asked.run_id === undefined) return <Pipeline name={pipeline} route={route} />;
  if (version !== null) return <Models name={pipeline} route={route} only={version} />;
  const [first] = points;
  if (first === undefined) return <Nothing context={context} pipeline={pipeline} asked={asked} />;
  if (points.length === 1) return <Partition name={pipeline} partition={first.partition} route={route} />;
  return (
    <>
      <Heading title={`${points.length} partitions of ${pipeline}`} />
      <TimelineTable name={pipeline} points={points} />
    </>
  );
}

function Nothing({ context, pipeline, asked }: { context: Context; pipeline: string; asked: Asked }) {
  if (context.verb === 'train') {
    return (
      <Quiet title={pipeline}>
        Nothing here trained a version that is still kept; see <a href={to.models(pipeline)}>the models of {pipeline}</a>.
      </Quiet>
    );
  }
  return (
    <Quiet title={pipeline}>
      This {asked.task_id === undefined ? 'run' : 'task'} scored no partition of which it is still the newest run; see <a href={to.pipeline(pipeline)}>the pipeline {pipeline}</a>.
    </Quiet>
  );
}

function Quiet({ title, children }: { title: string; children: ReactNode }) {
  return (
    <>
      <Heading title={title} />
      <Empty>{children}</Empty>
    </>
  );
}
