import { address } from '../api';
import { digits } from '../format';
import { Text } from '../parts/Cell';
import { Scroll } from '../parts/Scroll';
import { Failed, Skeleton } from '../parts/Status';
import type { AnomalousRow, RowValuesList } from '../types';
import { type Loaded, useApi } from '../useApi';
import { MARK_MEANS, MARKED } from '../words';
import { useMark } from './mark';
import type { MarkPlace } from './RowsTable';

interface DetailsProps {
  row: AnomalousRow;
  name: string;
  partition: string;
  mark: MarkPlace;
}

/** A whole row: its wrong cells with a verdict on each, and all its other cells. */
export function RowDetails({ row, name, partition, mark }: DetailsProps) {
  // Single rows of a large partition take a moment: only one that is opened is asked for.
  const values = useApi<RowValuesList>(address(['pipelines', name, 'values'], { partition }, [row.row]));
  return (
    <div className="details">
      {row.cells.length > 0 && <WrongCells row={row} mark={mark} />}
      <WholeRow row={row} values={values} />
    </div>
  );
}

function WrongCells({ row, mark }: { row: AnomalousRow; mark: MarkPlace }) {
  return (
    <Scroll label={`Wrong cells of row ${row.row}`}>
      <table>
        <caption>Wrong cells</caption>
        <thead>
          <tr>
            <th scope="col">Column</th>
            <th scope="col">Observed</th>
            <th scope="col">Expected</th>
            <th scope="col" className="number">Cell error</th>
            <th scope="col" className="number">p-value</th>
            {mark && <th scope="col">Verdict on the cell</th>}
          </tr>
        </thead>
        <tbody>
          {row.cells.map((cell) => (
            <tr key={cell.column}>
              <th scope="row" className="name" title={cell.column}>{cell.column}</th>
              <td><del><Text value={cell.observed} /></del></td>
              <td><ins><Text value={cell.expected} /></ins></td>
              <td className="number">{digits(cell.cell_error)}</td>
              <td className="number">{digits(cell.p_value, 2)}</td>
              {mark && <td><CellVerdict row={row.row} column={cell.column} mark={mark} /></td>}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function CellVerdict({ row, column, mark }: { row: number; column: string; mark: NonNullable<MarkPlace> }) {
  const { give, busy, error } = useMark(mark);
  return (
    <span className="actions">
      {(['false_alarm', 'confirmed'] as const).map((verdict) => (
        <button key={verdict} type="button" title={MARK_MEANS[verdict]} disabled={busy} onClick={() => void give([row], verdict, column, null)}>
          {MARKED[verdict]}
          <span className="sr"> in {column}</span>
        </button>
      ))}
      {error !== null && <span className="error" role="alert">{error}</span>}
    </span>
  );
}

function WholeRow({ row, values }: { row: AnomalousRow; values: Loaded<RowValuesList> }) {
  const whole = values.data?.rows.find((one) => one.row === row.row);
  if (values.error !== null) return <Failed error={values.error} retry={values.reload} />;
  if (!whole) return values.loading ? <Skeleton lines={4} /> : <p className="faint">The source no longer has this row as it was scored.</p>;
  const wrong = new Set(row.cells.map((cell) => cell.column));
  return (
    <>
      <p className="faint">The whole row, as the source has it; what <code>denoised/</code> changes is marked.</p>
      <dl className="values">
        {whole.values.map((cell) => (
          <div key={cell.column} className={wrong.has(cell.column) ? 'is-wrong' : undefined}>
            <dt title={cell.column}>{cell.column}</dt>
            <dd>
              {cell.changed ? (
                <>
                  <del><Text value={cell.observed} /></del> <span aria-hidden="true">→</span> <ins title="In denoised/"><Text value={cell.denoised} /></ins>
                </>
              ) : (
                <Text value={cell.observed} />
              )}
            </dd>
          </div>
        ))}
      </dl>
    </>
  );
}
