import { useEffect, useState } from 'react';
import { address } from '../api';
import { count, plural } from '../format';
import { Pager } from '../parts/Pager';
import { Empty, Ready } from '../parts/Status';
import { changed, go, type Query, type Route } from '../route';
import type { RowPage } from '../types';
import { useApi } from '../useApi';
import { Downloads } from './Downloads';
import { FeedbackBar } from './FeedbackBar';
import { RowsTable } from './RowsTable';
import { useSelection } from './selection';

const SIZE = 25;

interface RowsProps {
  name: string;
  partition: string;
  keys: string[];
  mayDecide: boolean;
  route: Route;
}

/** The rows that the map's selection asks for; empty: all. */
export function selected(route: Route): number[] {
  return (route.query.get('rows') ?? '').split(',').filter(Boolean).map(Number).filter(Number.isInteger);
}

/** Flagged rows, worst first, with their wrong cells. */
export function Rows({ name, partition, keys, mayDecide, route }: RowsProps) {
  const { query } = route;
  const page = Number(query.get('page') ?? 0) || 0;
  const [column, value, only] = [query.get('column'), query.get('value'), selected(route)];
  const filter: Query = { partition, offset: page * SIZE, limit: SIZE, column, value };
  const found = useApi<RowPage>(address(['pipelines', name, 'rows'], filter, only));
  const rows = found.data?.rows ?? [];
  const selection = useSelection(rows.map((row) => row.row));
  const filtered = column !== null || value !== null || only.length > 0;
  return (
    <Ready from={found} lines={14}>
      {(list) => (
        <>
          <div className="filters">
            <Filters list={list} route={route} />
            <Downloads name={name} partition={partition} />
          </div>
          {only.length > 0 && (
            <p className="note calm">
              Only the {plural(only.length, 'row')} selected on the map. <a href={changed(route, { rows: null, page: null })}>Show all</a>
            </p>
          )}
          {!filtered && list.flagged > list.total && (
            <p className="note calm">
              These are the worst {count(list.total)} of {plural(list.flagged, 'flagged row')}; the download has all.
            </p>
          )}
          {list.rows.length === 0 ? (
            <Empty>{filtered ? <>No flagged row passes the filter. <a href={changed(route, { column: null, value: null, rows: null, page: null })}>Show all {count(list.flagged)}</a></> : 'No row is anomalous here: nothing to look at.'}</Empty>
          ) : (
            <>
              <RowsTable rows={list.rows} keys={keys} name={name} partition={partition} selection={selection} mark={mayDecide ? { name, partition, seen: list.seen, done: found.reload } : null} />
              {mayDecide && <FeedbackBar name={name} partition={partition} seen={list.seen} selection={selection} done={found.reload} />}
            </>
          )}
          <Pager total={list.total} page={page} size={SIZE} what={filtered ? 'rows that pass the filter' : 'flagged rows'} hrefOf={(at) => changed(route, { page: at || null })} />
        </>
      )}
    </Ready>
  );
}

function Filters({ list, route }: { list: RowPage; route: Route }) {
  const column = route.query.get('column') ?? '';
  const asked = route.query.get('value') ?? '';
  const [value, setValue] = useState(asked);
  useEffect(() => setValue(asked), [asked]);
  useEffect(() => {
    if (value === asked) return undefined;
    const timer = setTimeout(() => go(changed(route, { value: value || null, page: null }), { replace: true }), 300);
    return () => clearTimeout(timer);
  }, [value, asked, route]);
  const known = Object.entries(list.columns);
  return (
    <>
      <label className="field">
        Worst in
        <select value={column} onChange={(event) => go(changed(route, { column: event.target.value || null, page: null }))}>
          <option value="">any column ({count(list.flagged)})</option>
          {column !== '' && !known.some(([name]) => name === column) && <option value={column}>{column}</option>}
          {known.map(([name, rows]) => (
            <option key={name} value={name}>
              {name.length > 48 ? `${name.slice(0, 47)}…` : name} ({count(rows)})
            </option>
          ))}
        </select>
      </label>
      <label className="field">
        Wrong value
        <input type="search" value={value} onChange={(event) => setValue(event.target.value)} placeholder="part of it" />
      </label>
    </>
  );
}
