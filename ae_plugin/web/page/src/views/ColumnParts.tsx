import { percent } from '../format';
import { Bar } from '../parts/Bar';
import type { ColumnProfile, ColumnReason } from '../types';

/** One column: which share of its values lies in each part, in training and now. */
export function ColumnParts({ column, reason }: { column: ColumnProfile; reason: ColumnReason | undefined }) {
  // Bars fill their track at the column's largest part, so that small ones can be told apart.
  const most = Math.max(...column.now, ...column.training, 0.001);
  const over = column.moved > column.usual;
  return (
    <article className={reason ? 'part named' : 'part'}>
      <h3 title={column.column}>{column.column}</h3>
      <p className={over ? 'moved' : 'faint'}>
        {percent(column.moved)} moved{over ? ' ⚠' : ''}; up to {percent(column.usual)} is usual.
        {reason && <> {reason.reason}.</>}
      </p>
      <table>
        <caption className="sr">Shares of {column.column}</caption>
        <thead>
          <tr>
            <th scope="col">{column.kind}</th>
            <th scope="col">Training</th>
            <th scope="col">Now</th>
          </tr>
        </thead>
        <tbody>
          {column.parts.map((part, index) => (
            <tr key={index}>
              <th scope="row" title={part}>
                {part}
              </th>
              <td>
                <Bar share={(column.training[index] ?? 0) / most} text={percent(column.training[index])} tone="training" />
              </td>
              <td>
                <Bar share={(column.now[index] ?? 0) / most} text={percent(column.now[index])} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </article>
  );
}
