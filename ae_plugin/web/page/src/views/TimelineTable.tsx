import { count, partitionName, percent } from '../format';
import { Badge } from '../parts/Badge';
import { Pager } from '../parts/Pager';
import { Scroll } from '../parts/Scroll';
import { When } from '../parts/When';
import { changed, type Route, to } from '../route';
import type { TimelinePoint } from '../types';
import { DECIDED, isAlarm, verdictWord } from '../words';

const SIZE = 50;

/** The timeline in words and numbers, newest first. */
export function TimelineTable({ name, points, route }: { name: string; points: TimelinePoint[]; route?: Route }) {
  const page = Number(route?.query.get('tpage') ?? 0) || 0;
  const newest = [...points].reverse().slice(page * SIZE, (page + 1) * SIZE);
  return (
    <>
      <Scroll label="Table of partitions">
        <table>
          <caption className="sr">Partitions, newest first</caption>
          <thead>
            <tr>
              <th scope="col">Partition</th>
              <th scope="col">Verdict</th>
              <th scope="col" className="number">Rows</th>
              <th scope="col" className="number">Anomalous</th>
              <th scope="col" className="number">Alarm rate</th>
              <th scope="col" className="number">Expected</th>
              <th scope="col">Worst in</th>
              <th scope="col">Model</th>
              <th scope="col">Scored</th>
            </tr>
          </thead>
          <tbody>
            {newest.map((point) => (
              <Line key={point.run_id} name={name} point={point} />
            ))}
          </tbody>
        </table>
      </Scroll>
      {route && <Pager total={points.length} page={page} size={SIZE} what="partitions" hrefOf={(at) => changed(route, { tpage: at })} />}
    </>
  );
}

function Line({ name, point }: { name: string; point: TimelinePoint }) {
  const scored = point.outcome === 'scored';
  const over = isAlarm(point.observed_alert_rate, point.expected);
  const worst = Object.keys(point.top_columns).slice(0, 3).join(', ');
  return (
    <tr>
      <th scope="row" className="name">
        <a href={to.partition(name, point.partition)} title={point.partition}>
          {partitionName(point.partition)}
        </a>
      </th>
      <td>
        <Badge word={verdictWord(point.verdict, point.outcome)} />
        {point.decision !== null && <span className="tag">{DECIDED[point.decision]}</span>}
      </td>
      <td className="number">{count(point.rows)}</td>
      <td className="number">{scored ? count(point.anomalies) : '–'}</td>
      <td className={over ? 'number over' : 'number'} title={over ? 'More than chance explains' : undefined}>
        {over && '▲ '}
        {percent(point.observed_alert_rate)}
      </td>
      <td className="number">{point.expected ? `${percent(point.expected[0])} to ${percent(point.expected[1])}` : '–'}</td>
      <td className="name" title={worst}>
        {worst}
      </td>
      <td>
        <a href={to.models(name, point.model_version)}>{point.model_version}</a>
      </td>
      <td>
        <When at={point.started_at} />
      </td>
    </tr>
  );
}
