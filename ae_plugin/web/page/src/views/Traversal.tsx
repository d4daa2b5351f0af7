import { useState } from 'react';
import { address } from '../api';
import { partitionName, percent, plural } from '../format';
import { Heading } from '../parts/Heading';
import { Empty, Ready } from '../parts/Status';
import type { TraversalView } from '../types';
import { useApi } from '../useApi';
import { PipelineTabs } from './PipelineTabs';

type Made = NonNullable<TraversalView['record']>;
type Latent = TraversalView['latents'][number];

/** What the decoder makes of one row as a latent variable changes: frames that were written before, no model runs. */
export default function Traversal({ name }: { name: string }) {
  const found = useApi<TraversalView>(address(['pipelines', name, 'traversal']));
  return (
    <>
      <Heading title={name} />
      <PipelineTabs name={name} current="traversal" />
      <Ready from={found} lines={14}>
        {({ record, latents }) =>
          record === null ? (
            <Empty>
              No traversal yet: run <code>ae traverse {name}</code>, or a DAG with <code>TraverseOperator</code>.
            </Empty>
          ) : (
            <>
              <p className="faint">
                Row {record.row} of {partitionName(record.partition)}, decoded by {record.model_version} as one latent variable changes and the others are held: the {plural(latents.length, 'latent variable')} of {record.latent_dim} that carry most. These are no observations.
              </p>
              {latents.map((latent) => (
                <Slider key={latent.note.latent} name={name} record={record} latent={latent} />
              ))}
            </>
          )
        }
      </Ready>
    </>
  );
}

function Slider({ name, record, latent: { note, values, columns } }: { name: string; record: Made; latent: Latent }) {
  const [step, setStep] = useState(Math.floor(values.length / 2));
  const id = `latent-${note.latent}`;
  const carries = record.carried_by === 'kl' ? `${note.carries.toFixed(2)} nats` : `${percent(note.carries)} of the variance`;
  return (
    <section aria-labelledby={id}>
      <h2 id={id}>{note.title}</h2>
      <p className="slide">
        <input type="range" min={0} max={values.length - 1} step={1} value={step} aria-labelledby={id} aria-valuetext={(values[step] ?? 0).toFixed(2)} onChange={(event) => setStep(Number(event.target.value))} />
        <output>{(values[step] ?? 0).toFixed(2)}</output>
        <span className="faint">
          latent variable {note.latent}, {carries}
        </span>
      </p>
      {columns.length === 0 ? <Strip name={name} note={note} steps={values.length} step={step} record={record} /> : <Columns columns={columns} step={step} />}
    </section>
  );
}

/** All steps are there from the start, so that moving the slider asks for nothing. */
function Strip({ name, note, steps, step, record }: { name: string; note: Latent['note']; steps: number; step: number; record: Made }) {
  return (
    <p className="strip">
      {Array.from({ length: steps }, (_, at) => (
        <img key={at} className={at === step ? 'now' : undefined} src={address(['pipelines', name, 'traversal', 'picture'], { latent: note.latent, step: at, of: record.model_version, row: record.row })} alt={at === step ? `${note.title}, step ${at + 1} of ${steps}` : ''} loading="lazy" />
      ))}
    </p>
  );
}

function Columns({ columns, step }: { columns: Latent['columns']; step: number }) {
  return (
    <table className="fit">
      <thead>
        <tr>
          <th scope="col">Column</th>
          <th scope="col">Here</th>
          <th scope="col">From</th>
          <th scope="col">To</th>
        </tr>
      </thead>
      <tbody>
        {columns.map(({ column, values }) => (
          <tr key={column}>
            <th scope="row">{column}</th>
            <td>{values[step] ?? <span className="faint">null</span>}</td>
            <td className="faint">{values[0] ?? 'null'}</td>
            <td className="faint">{values.at(-1) ?? 'null'}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
