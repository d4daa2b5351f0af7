import { Fragment, useState } from 'react';
import { count, digits } from '../format';
import { CheckAll, ObservedExpected, Text } from '../parts/Cell';
import { Scroll } from '../parts/Scroll';
import type { AnomalousRow } from '../types';
import { Marked } from './Marked';
import { RowDetails } from './RowDetails';
import type { Selection } from './selection';

/** Where a verdict on one of the rows goes; null when the viewer may not give one. */
export type MarkPlace = { name: string; partition: string; seen: string; done: () => void } | null;

interface RowsTableProps {
  rows: AnomalousRow[];
  keys: string[];
  name: string;
  partition: string;
  selection: Selection;
  mark: MarkPlace;
}

const MOST_CELLS = 4;

export function RowsTable({ rows, keys, name, partition, selection, mark }: RowsTableProps) {
  const [open, setOpen] = useState<number | null>(null);
  const columns = keys.length + 5 + (mark ? 1 : 0);
  return (
    <Scroll label="Table of flagged rows">
      <table className="cards rows" role="table">
        <caption className="sr">Flagged rows, worst first</caption>
        <thead role="rowgroup">
          <tr role="row">
            {mark && (
              <th scope="col" role="columnheader" className="check">
                <CheckAll label="Select all rows shown" all={selection.all} some={selection.rows.length > 0} onChange={selection.toggleAll} />
              </th>
            )}
            <th scope="col" role="columnheader" className="number">Row</th>
            {keys.map((key) => (
              <th key={key} scope="col" role="columnheader" className="name" title={key}>
                {key}
              </th>
            ))}
            <th scope="col" role="columnheader" className="number" title="Higher is more anomalous">Anomaly score</th>
            <th scope="col" role="columnheader" className="number" title="Share of calibration rows at least as anomalous">p-value</th>
            <th scope="col" role="columnheader">Wrong cells: observed → expected</th>
            <th scope="col" role="columnheader">Verdict</th>
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <Fragment key={row.row}>
              <Line row={row} keys={keys} selection={selection} markable={mark !== null} open={open === row.row} setOpen={setOpen} />
              {open === row.row && (
                <tr role="row" className="more">
                  <td role="cell" colSpan={columns}>
                    <RowDetails row={row} name={name} partition={partition} mark={mark} />
                  </td>
                </tr>
              )}
            </Fragment>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

interface LineProps {
  row: AnomalousRow;
  keys: string[];
  selection: Selection;
  markable: boolean;
  open: boolean;
  setOpen: (row: number | null) => void;
}

function Line({ row, keys, selection, markable, open, setOpen }: LineProps) {
  return (
    <tr role="row" className={selection.has(row.row) ? 'ticked' : undefined}>
      {markable && (
        <td role="cell" className="check" data-label="Select">
          <input type="checkbox" aria-label={`Select row ${row.row}`} checked={selection.has(row.row)} onChange={(event) => selection.toggle(row.row, event.target.checked)} />
        </td>
      )}
      <th scope="row" role="rowheader" className="number">
        <button type="button" className="plain" aria-expanded={open} title="Show the whole row" onClick={() => setOpen(open ? null : row.row)}>
          <span aria-hidden="true">{open ? '▾' : '▸'}</span> <span className="sr">row </span>
          {count(row.row)}
        </button>
      </th>
      {keys.map((key) => (
        <td key={key} role="cell" data-label={key} className="name">
          <Text value={row.keys[key] ?? null} />
        </td>
      ))}
      <td role="cell" data-label="Anomaly score" className="number">{digits(row.anomaly_score)}</td>
      <td role="cell" data-label="p-value" className="number">{digits(row.p_value, 2)}</td>
      <td role="cell" data-label="Wrong cells" className="cells">
        {row.cells.slice(0, MOST_CELLS).map((cell) => (
          <ObservedExpected key={cell.column} cell={cell} />
        ))}
        {row.cells.length > MOST_CELLS && <span className="faint">and {count(row.cells.length - MOST_CELLS)} more</span>}
        {row.cells.length === 0 && <NoCell row={row} />}
      </td>
      <td role="cell" data-label="Verdict">
        <Marked mark={row.feedback} />
      </td>
    </tr>
  );
}

function NoCell({ row }: { row: AnomalousRow }) {
  return (
    <span className="faint">
      {row.top_column === null ? 'an unusual whole; no single cell is wrong' : `no single cell is wrong; it fits least in ${row.top_column}`}
    </span>
  );
}
