import { useMemo } from 'react';
import { address } from '../api';
import { LazyChart } from '../charts/Lazy';
import { loss } from '../charts/loss';
import { count, digits, duration, plural } from '../format';
import { Facts } from '../parts/Facts';
import { Empty, Ready } from '../parts/Status';
import { When } from '../parts/When';
import type { TrainReport, VersionDetail } from '../modelTypes';
import { useApi } from '../useApi';
import { GateTable } from './GateTable';
import { Promote } from './PointerActions';
import { Calibration, Columns, Hidden } from './VersionTables';

interface VersionProps {
  name: string;
  version: string;
  isChampion: boolean;
  mayDecide: boolean;
  done: () => void;
}

/** One model version: how it was trained, what it learned, and how good it is. */
export function Version({ name, version, isChampion, mayDecide, done }: VersionProps) {
  const found = useApi<VersionDetail>(address(['pipelines', name, 'models', version]));
  return (
    <section aria-labelledby="version">
      <h2 id="version">Version {version}</h2>
      <Ready from={found} lines={12}>
        {({ entry, report, calibration, moves }) => (
          <>
            {entry.problem !== null && <p className="note bad">{entry.problem}</p>}
            {mayDecide && !isChampion && entry.problem === null && (
              <p className="actions">
                <Promote
                  name={name}
                  version={version}
                  gate={report?.gate ?? null}
                  done={() => {
                    found.reload();
                    done();
                  }}
                />
              </p>
            )}
            {report === null ? <Empty>This version has no training report.</Empty> : <Report report={report} />}
            {calibration.length > 0 && <Calibration lines={calibration} />}
            {report && <Columns columns={report.columns} />}
            <Moves moves={moves} />
          </>
        )}
      </Ready>
    </section>
  );
}

function Report({ report }: { report: TrainReport }) {
  const draw = useMemo(() => loss(report.loss_curve), [report]);
  const { feedback } = report;
  const told = feedback.confirmed + feedback.false_alarms;
  const last = report.loss_curve.at(-1);
  return (
    <>
      <Facts
        facts={[
          ['Trained', <When key="at" at={report.created_at} />],
          ['Rows', `${count(report.rows_train)} trained on, ${count(report.rows_validation)} validation, ${count(report.rows_calibration)} calibration`],
          ['Partitions', <span key="partitions" title={report.partitions.join('\n')}>{count(report.partitions.length)}{report.partitions.length > 0 && `: ${report.partitions[0]} … ${report.partitions.at(-1)}`}</span>],
          ['Network', `${count(report.features)} features through ${count(report.latent_dim)}`],
          ['Steps', `${count(report.steps)} of ${count(report.steps_budget)}${report.stopped_early ? ', stopped early' : ''}`],
          ['Took', `${duration(report.seconds)}, ${count(Math.round(report.peak_memory_mb))} MB at most`],
          ['Feedback used', told === 0 ? 'none' : `${plural(feedback.false_alarms, 'false alarm')} (each ${count(feedback.copies)} times), ${count(feedback.confirmed)} confirmed and left out`],
        ]}
      />
      {report.notes.map((note) => (
        <p key={note} className="note calm">{note}</p>
      ))}
      <Incidents incidents={report.incidents} />
      <GateTable gate={report.gate} />
      <h3>Learning curve</h3>
      {report.loss_curve.length > 0 && <LazyChart draw={draw} label={`Loss by training step; ${digits(last?.[2])} on validation rows after ${plural(last?.[0] ?? 0, 'step')}`} height={240} />}
      {report.comparison && <Hidden comparison={report.comparison} />}
    </>
  );
}

function Incidents({ incidents }: { incidents: Record<string, string> }) {
  const found = Object.entries(incidents);
  if (found.length === 0) return null;
  return (
    <details>
      <summary>{plural(found.length, 'partition')} left out of training</summary>
      <ul>
        {found.map(([partition, why]) => (
          <li key={partition}>
            {partition}: {why}
          </li>
        ))}
      </ul>
    </details>
  );
}

function Moves({ moves }: { moves: VersionDetail['moves'] }) {
  return (
    <>
      <h3>When it was champion</h3>
      {moves.length === 0 ? (
        <p className="faint">It never was.</p>
      ) : (
        <ul>
          {moves.map((move) => (
            <li key={`${move.at} ${move.version}`}>
              from <When at={move.at} />, by {move.by}: {move.why}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
