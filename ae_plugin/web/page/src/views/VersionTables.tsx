import { count, digits, percent } from '../format';
import { Scroll } from '../parts/Scroll';
import type { ColumnNote, Explained, TrainReport, VersionDetail } from '../modelTypes';

export function Calibration({ lines }: { lines: VersionDetail['calibration'] }) {
  return (
    <>
      <h3>Calibration</h3>
      <Scroll label="Calibration">
        <table className="narrow">
          <caption>From which anomaly score on a row is flagged, by alarm rate</caption>
          <thead>
            <tr>
              <th scope="col" className="number">Alarm rate</th>
              <th scope="col" className="number">Flagged from a score of</th>
              <th scope="col" className="number">Calibration rows beyond</th>
            </tr>
          </thead>
          <tbody>
            {lines.map((line) => (
              <tr key={line.alert_rate}>
                <th scope="row" className="number">{percent(line.alert_rate)}</th>
                <td className="number">{line.threshold === null ? 'never: too few rows' : digits(line.threshold)}</td>
                <td className="number">{count(line.by_chance)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}

export function Columns({ columns }: { columns: ColumnNote[] }) {
  return (
    <details>
      <summary>What was learned of {count(columns.length)} columns</summary>
      <Scroll label="Columns">
        <table>
          <caption className="sr">Columns, and what became of them</caption>
          <thead>
            <tr>
              <th scope="col">Column</th>
              <th scope="col">Type</th>
              <th scope="col">Role</th>
              <th scope="col">Kind</th>
              <th scope="col">What was seen</th>
            </tr>
          </thead>
          <tbody>
            {columns.map((column) => (
              <tr key={column.column}>
                <th scope="row" className="name" title={column.column}>{column.column}</th>
                <td>{column.type}</td>
                <td>{column.role}</td>
                <td>{column.kind}</td>
                <td>{column.note}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </details>
  );
}

/** How much of a hidden cell the rest of its row tells. */
export function Hidden({ comparison }: { comparison: NonNullable<TrainReport['comparison']> }) {
  const line = (explained: Explained, name: string) => (
    <tr key={name}>
      <th scope="row" className="name" title={name}>{name}</th>
      <td className="number">{percent(explained.network_hidden)}</td>
      <td className="number">{percent(explained.pca_hidden)}</td>
    </tr>
  );
  return (
    <details>
      <summary>How much of a hidden cell the rest of its row tells</summary>
      <Scroll label="Hidden cells">
        <table className="narrow">
          <caption className="sr">Share of differences explained with the cell hidden</caption>
          <thead>
            <tr>
              <th scope="col">Column</th>
              <th scope="col" className="number">This version</th>
              <th scope="col" className="number">PCA</th>
            </tr>
          </thead>
          <tbody>
            {line(comparison.overall, 'all columns')}
            {comparison.columns.map((explained) => line(explained, explained.column))}
          </tbody>
        </table>
      </Scroll>
    </details>
  );
}
