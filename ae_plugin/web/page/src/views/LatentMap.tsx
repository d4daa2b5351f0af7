import { useCallback, useMemo, useState } from 'react';
import type { Picked } from '../charts/Chart';
import { LazyChart } from '../charts/Lazy';
import { latentMap, layers } from '../charts/map';
import { count, plural } from '../format';
import { Empty } from '../parts/Status';
import { changed, go, type Route } from '../route';
import type { Profile, RunRecord } from '../types';

/** As many rows as one address holds. */
const MOST = 300;

interface MapProps {
  profile: Profile | null;
  run: RunRecord;
  route: Route;
}

/** Where the rows lie; a box drawn over some of them filters the table. */
export function LatentMap({ profile, run, route }: MapProps) {
  if (profile === null) return <Empty>This partition was scored before maps were kept. Score it once more to have one.</Empty>;
  if (profile.points.length === 0) return <Empty>There is no map: this model has fewer than two latent dimensions, or the partition no rows.</Empty>;
  return <Drawn profile={profile} run={run} route={route} />;
}

function Drawn({ profile, run, route }: MapProps & { profile: Profile }) {
  const both = useMemo(() => layers(profile), [profile]);
  const draw = useMemo(() => latentMap(both), [both]);
  const [rows, setRows] = useState({ flagged: [] as number[], all: 0 });
  const limit = run.flagged_up_to ?? run.alert_rate;
  const onBox = useCallback(
    (picked: Picked[]) => {
      const points = picked.flatMap(({ seriesIndex, dataIndex }) => dataIndex.flatMap((index) => both[seriesIndex === 0 ? 0 : 1][index] ?? []));
      const flagged = points.filter((point) => point.p_value <= limit).map((point) => point.row);
      setRows((before) => (before.all === points.length && before.flagged.join() === flagged.join() ? before : { flagged, all: points.length }));
    },
    [both, limit],
  );
  const sample = profile.points.length < run.rows ? `a sample of ${count(profile.points.length)} of ${plural(run.rows, 'row')}` : `all ${plural(run.rows, 'row')}`;
  return (
    <section>
      <h2>Map of the rows</h2>
      <p className="faint">
        Each point is a row, near those that the model finds alike: {sample}, and the {plural(profile.worst.length, 'worst flagged row')} as diamonds. Draw a box over points to see their rows.
      </p>
      <LazyChart draw={draw} label={`Map of ${sample}; ${profile.worst.length} are flagged. The table of rows lists the same.`} height={440} onBox={onBox} />
      <div className="actions">
        <button type="button" className="primary" disabled={rows.flagged.length === 0} onClick={() => go(changed(route, { tab: 'rows', rows: rows.flagged.slice(0, MOST).join(','), page: null }))}>
          {rows.flagged.length === 0 ? 'Show the selected rows' : `Show ${rows.flagged.length === 1 ? 'this' : 'these'} ${plural(Math.min(MOST, rows.flagged.length), 'flagged row')}`}
        </button>
        <span className="faint" role="status">
          {rows.all > 0 && `${plural(rows.all, 'point')} in the box, ${count(rows.flagged.length)} flagged.`}
        </span>
      </div>
    </section>
  );
}
