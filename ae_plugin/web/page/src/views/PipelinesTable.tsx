import { count, partitionName, percent, plural } from '../format';
import { Badge } from '../parts/Badge';
import { Scroll } from '../parts/Scroll';
import { Sparkline } from '../parts/Sparkline';
import { Age, When } from '../parts/When';
import { changed, type Route, to } from '../route';
import type { PipelineSummary, RatePoint } from '../types';
import { STATES } from '../words';

interface Column {
  text: string;
  sort?: string;
  number?: boolean;
  /** Whoever sorts by it wants the most first. */
  falls?: boolean;
}

export const COLUMNS: Column[] = [
  { text: 'Pipeline', sort: 'name' },
  { text: 'State', sort: 'state' },
  { text: 'Last partition', sort: 'last', falls: true },
  { text: 'Rows', number: true },
  { text: 'Alarm rate', sort: 'rate', number: true, falls: true },
  { text: 'Newest partitions' },
  { text: 'Model', sort: 'age', falls: true },
];

interface TableProps {
  pipelines: PipelineSummary[];
  sort: string;
  descending: boolean;
  route: Route;
}

export function PipelinesTable({ pipelines, sort, descending, route }: TableProps) {
  return (
    <Scroll label="Table of pipelines">
      <table className="cards" role="table">
        <caption className="sr">Pipelines, with the state of each one&apos;s newest partition</caption>
        <thead role="rowgroup">
          <tr role="row">
            {COLUMNS.map((column) => (
              <Head key={column.text} column={column} sort={sort} descending={descending} route={route} />
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {pipelines.map((pipeline) => (
            <Line key={pipeline.name} pipeline={pipeline} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Head({ column, sort, descending, route }: { column: Column; sort: string; descending: boolean; route: Route }) {
  const { text, sort: by, number, falls } = column;
  const here = by === sort;
  const order = descending ? 'descending' : 'ascending';
  return (
    <th scope="col" role="columnheader" className={number ? 'number' : undefined} aria-sort={here ? order : undefined}>
      {by === undefined ? (
        text
      ) : (
        <a href={changed(route, { sort: by, desc: (here ? !descending : falls) || null, page: null })}>
          {text}
          <span aria-hidden="true">{here ? (descending ? ' ↓' : ' ↑') : ''}</span>
        </a>
      )}
    </th>
  );
}

function Line({ pipeline }: { pipeline: PipelineSummary }) {
  return (
    <tr role="row">
      <th scope="row" role="rowheader" className="name">
        <a href={to.pipeline(pipeline.name)} title={pipeline.name}>
          {pipeline.name}
        </a>
        {pipeline.pictures && <span className="tag">pictures</span>}
      </th>
      <td role="cell" data-label="State">
        <Badge word={STATES[pipeline.state]} />
        {pipeline.waiting > 0 && (
          <a className="tag waiting" href={to.pipeline(pipeline.name)} title="Refused partitions to release or discard">
            {count(pipeline.waiting)} waiting
          </a>
        )}
        {pipeline.problem !== null && <div className="faint problem">{pipeline.problem}</div>}
      </td>
      <td role="cell" data-label="Last partition">
        {pipeline.last_partition === null ? (
          <span className="faint">none yet</span>
        ) : (
          <>
            <a className="name" href={to.partition(pipeline.name, pipeline.last_partition)} title={pipeline.last_partition}>
              {partitionName(pipeline.last_partition)}
            </a>
            <div className="faint">
              scored <When at={pipeline.last_scored_at} />
            </div>
          </>
        )}
      </td>
      <td role="cell" data-label="Rows" className="number">
        {count(pipeline.rows)}
      </td>
      <td role="cell" data-label="Alarm rate" className="number">
        {percent(pipeline.observed_alert_rate)}
        <div className="faint">promised {percent(pipeline.alert_rate)}</div>
      </td>
      <td role="cell" data-label="Newest partitions">
        <Sparkline points={pipeline.recent} promised={pipeline.alert_rate} />
        <Alarms points={pipeline.recent} />
      </td>
      <td role="cell" data-label="Model">
        <Champion pipeline={pipeline} />
      </td>
    </tr>
  );
}

function Champion({ pipeline }: { pipeline: PipelineSummary }) {
  if (pipeline.champion === null) return <a href={to.models(pipeline.name)}>none yet</a>;
  return (
    <>
      <a href={to.models(pipeline.name, pipeline.champion)}>{pipeline.champion}</a>
      <div className="faint" title={plural(pipeline.partitions_scored, 'partition scored', 'partitions scored')}>
        {pipeline.champion_trained_at === null ? '' : <>trained <Age at={pipeline.champion_trained_at} /> ago</>}
      </div>
    </>
  );
}

/** How many of the newest partitions had an alarm, so that yesterday's is not forgotten today. */
function Alarms({ points }: { points: RatePoint[] }) {
  const alarms = points.filter((point) => point.alarm && point.outcome === 'scored').length;
  return alarms === 0 ? null : <div className="faint">{plural(alarms, 'alarm')} in {points.length}</div>;
}
