import { address } from '../api';

const ROWS = { dataset: 'rows', what: 'flagged rows' };
const CELLS = { dataset: 'cells', what: 'wrong cells' };

/** The partition's results as files. */
export function Downloads({ name, partition, pictures }: { name: string; partition: string; pictures?: boolean }) {
  const link = (dataset: string, format: string) => address(['pipelines', name, 'download'], { partition, dataset, format });
  return (
    <div className="downloads">
      {(pictures ? [ROWS] : [ROWS, CELLS]).map(({ dataset, what }) => (
        <span key={dataset}>
          Download {what}:{' '}
          <a href={link(dataset, 'parquet')} download aria-label={`${what} as Parquet`}>
            Parquet
          </a>{' '}
          <a href={link(dataset, 'csv')} download aria-label={`${what} as CSV`}>
            CSV
          </a>
        </span>
      ))}
    </div>
  );
}
