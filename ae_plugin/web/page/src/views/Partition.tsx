import { address } from '../api';
import { partitionName } from '../format';
import { Badge } from '../parts/Badge';
import { Heading } from '../parts/Heading';
import { Empty, Ready } from '../parts/Status';
import { Tabs } from '../parts/Tabs';
import { changed, type Route, to } from '../route';
import type { PartitionDetail, PipelineDetail } from '../types';
import { useApi } from '../useApi';
import { isAlarm, STATES, verdictWord } from '../words';
import { Gallery } from './Gallery';
import { LatentMap } from './LatentMap';
import { PartitionHead } from './PartitionHead';
import { Rows } from './Rows';
import { Why } from './Why';

interface PartitionProps {
  name: string;
  partition: string;
  route: Route;
}

/** One partition: what is anomalous in it, why, and where its rows lie. */
export default function Partition({ name, partition, route }: PartitionProps) {
  const detail = useApi<PartitionDetail>(address(['pipelines', name, 'partition'], { partition }));
  const pipeline = useApi<PipelineDetail>(address(['pipelines', name]));
  const pictures = pipeline.data?.summary.pictures ?? false;
  return (
    <>
      <Heading title={`${name} · ${partitionName(partition)}`}>
        {detail.data && <Badge word={verdictWord(detail.data.run.guard.verdict, detail.data.run.outcome)} />}
        {detail.data && isAlarm(detail.data.run.observed_alert_rate, detail.data.expected) && <Badge word={STATES.alarm} />}
      </Heading>
      <Ready from={detail} lines={12}>
        {(found) => (
          <>
            <Neighbours name={name} detail={found} />
            <PartitionHead name={name} detail={found} pictures={pictures} reload={detail.reload} />
            {pipeline.error !== null && <p className="note bad">{pipeline.error}</p>}
            {pipeline.data && <Views name={name} partition={partition} detail={found} pictures={pictures} route={route} />}
          </>
        )}
      </Ready>
    </>
  );
}

function Neighbours({ name, detail }: { name: string; detail: PartitionDetail }) {
  const { previous, next } = detail;
  if (previous === null && next === null) return null;
  return (
    <nav className="pager" aria-label="Neighbouring partitions">
      {previous === null ? <span className="off">first partition</span> : <a href={to.partition(name, previous)}>← {partitionName(previous)}</a>}
      {next === null ? <span className="off">newest partition</span> : <a href={to.partition(name, next)}>{partitionName(next)} →</a>}
    </nav>
  );
}

function Views({ name, partition, detail, pictures, route }: PartitionProps & { detail: PartitionDetail; pictures: boolean }) {
  const scored = detail.run.outcome === 'scored';
  const current = route.query.get('tab') ?? (scored ? 'rows' : 'why');
  const tab = (id: string, text: string) => ({ id, text, href: changed(route, { tab: id }) });
  const tabs = [tab('rows', pictures ? 'Pictures' : 'Rows'), tab('why', 'Why'), ...(pictures ? [] : [tab('map', 'Map')])];
  const mayDecide = detail.may_decide;
  return (
    <>
      <Tabs label="Of this partition" tabs={tabs} current={current} />
      {current === 'why' && <Why detail={detail} />}
      {current === 'map' && <LatentMap profile={detail.profile} run={detail.run} route={route} />}
      {current === 'rows' && !scored && <Empty>A refused partition has no scores, so no rows to show. See why under “Why”.</Empty>}
      {current === 'rows' && scored && pictures && <Gallery name={name} partition={partition} mayDecide={mayDecide} route={route} />}
      {current === 'rows' && scored && !pictures && <Rows name={name} partition={partition} mayDecide={mayDecide} keys={detail.keys} route={route} />}
    </>
  );
}
