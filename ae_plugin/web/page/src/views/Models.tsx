import { address } from '../api';
import { count, digits } from '../format';
import { DagLink } from '../parts/DagLink';
import { Heading } from '../parts/Heading';
import { Scroll } from '../parts/Scroll';
import { Empty, Ready } from '../parts/Status';
import { When } from '../parts/When';
import { type Route, to } from '../route';
import type { ModelEntry, ModelList } from '../modelTypes';
import type { PipelineDetail } from '../types';
import { useApi } from '../useApi';
import { Compare } from './Compare';
import { PipelineTabs } from './PipelineTabs';
import { Rollback } from './PointerActions';
import { Version } from './Version';

interface ModelsProps {
  name: string;
  route: Route;
  /** The one version that is asked about, when Airflow shows the run that trained it. */
  only?: string;
}

/** The versions of a pipeline's model, and one of them closely. */
export default function Models({ name, route, only }: ModelsProps) {
  const list = useApi<ModelList>(address(['pipelines', name, 'models']));
  const detail = useApi<PipelineDetail>(address(['pipelines', name]));
  return (
    <>
      <Heading title={only === undefined ? `Models of ${name}` : `${name} · ${only}`} />
      <PipelineTabs name={name} current={only === undefined ? 'models' : ''} />
      <Ready from={list} lines={12}>
        {({ models, may_decide: mayDecide, former }) => {
          const newest = [...models].reverse();
          const champion = newest.find((one) => one.pointers.includes('champion'));
          const shown = only ?? route.query.get('version') ?? champion?.version ?? newest[0]?.version;
          if (shown === undefined) return <NoModel name={name} detail={detail.data} />;
          return (
            <>
              {only === undefined && <Versions name={name} models={newest} shown={shown} />}
              {only === undefined && mayDecide && champion && former.length > 0 && <Rollback name={name} former={former} champion={champion.version} done={list.reload} />}
              <Version key={shown} name={name} version={shown} isChampion={champion?.version === shown} mayDecide={mayDecide} done={list.reload} />
              {only === undefined && models.length > 1 && <Compare name={name} models={newest} shown={shown} route={route} />}
            </>
          );
        }}
      </Ready>
    </>
  );
}

function NoModel({ name, detail }: { name: string; detail: PipelineDetail | null }) {
  return (
    <Empty>
      No model yet: run the DAG <DagLink dag={detail?.train_dag ?? `${name}__train`} />, or <code>ae train {name}</code>.
    </Empty>
  );
}

function Versions({ name, models, shown }: { name: string; models: ModelEntry[]; shown: string }) {
  return (
    <Scroll label="Table of versions">
      <table>
        <caption className="sr">Model versions, newest first</caption>
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col">Created</th>
            <th scope="col" className="number">Rows trained on</th>
            <th scope="col" className="number">Partitions</th>
            <th scope="col">Gate</th>
            <th scope="col" className="number">Validation loss</th>
          </tr>
        </thead>
        <tbody>
          {models.map((model) => (
            <tr key={model.version} className={model.version === shown ? 'ticked' : undefined}>
              <th scope="row">
                <a href={to.models(name, model.version)} aria-current={model.version === shown ? 'true' : undefined}>
                  {model.version}
                </a>
                {model.pointers.map((pointer) => (
                  <span key={pointer} className={`tag ${pointer}`}>{pointer}</span>
                ))}
              </th>
              {model.problem === null ? (
                <>
                  <td><When at={model.created_at} /></td>
                  <td className="number">{count(model.rows_train)}</td>
                  <td className="number">{count(model.partitions.length)}</td>
                  <td>{model.gate_passed === null ? '–' : model.gate_passed ? '✓ passed' : '✗ failed'}</td>
                  <td className="number">{digits(model.validation_loss)}</td>
                </>
              ) : (
                <td colSpan={5} className="error">{model.problem}</td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
