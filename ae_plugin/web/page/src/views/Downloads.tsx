import { address } from '../api';

const KINDS = [
  { dataset: 'rows', what: 'flagged rows' },
  { dataset: 'cells', what: 'wrong cells' },
] as const;

/** The partition's results as files. */
export function Downloads({ name, partition }: { name: string; partition: string }) {
  const link = (dataset: string, format: string) => address(['pipelines', name, 'download'], { partition, dataset, format });
  return (
    <div className="downloads">
      {KINDS.map(({ dataset, what }) => (
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
