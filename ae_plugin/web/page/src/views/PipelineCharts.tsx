import { useMemo } from 'react';
import { blame, blamed } from '../charts/blame';
import { LazyChart } from '../charts/Lazy';
import { quantiles } from '../charts/quantiles';
import { changes, timeline as drawTimeline } from '../charts/timeline';
import { percent, plural } from '../format';
import { go, to } from '../route';
import type { Timeline } from '../types';

export function PipelineCharts({ name, timeline, pictures }: { name: string; timeline: Timeline; pictures: boolean }) {
  const { points, alert_rate: promised } = timeline;
  const rates = useMemo(() => drawTimeline(points, promised), [points, promised]);
  const scores = useMemo(() => quantiles(points), [points]);
  const columns = useMemo(() => blamed(points), [points]);
  const heat = useMemo(() => blame(points, columns), [points, columns]);
  const open = (index: number | undefined) => {
    const point = index === undefined ? undefined : points[index];
    if (point) go(to.partition(name, point.partition));
  };
  const refused = points.filter((point) => point.outcome !== 'scored').length;
  const moved = changes(points).map((change) => change.version);
  const label = `Alarm rates of ${plural(points.length, 'partition')}, promised ${percent(promised)}; ${refused} refused${moved.length ? `; new versions: ${moved.join(', ')}` : ''}. The table below has the same.`;
  return (
    <>
      <section>
        <h2>Alarm rate</h2>
        <p className="faint">Share of each partition&apos;s {pictures ? 'pictures' : 'rows'} that is flagged. Shaded: where it lies 99 times in 100 if all is normal; red: above that.</p>
        <LazyChart draw={rates} label={label} height={290} group="partitions" onPick={open} />
      </section>
      {points.some((point) => Object.keys(point.score_quantiles).length > 0) && (
        <section>
          <h2>Anomaly scores</h2>
          <p className="faint">The middle of each partition&apos;s scores, and its tails. A middle that climbs means that all rows drift, not only a few.</p>
          <LazyChart draw={scores} label="Quantiles of anomaly scores, partition by partition" height={220} group="partitions" />
        </section>
      )}
      {columns.columns.length > 0 && (
        <section>
          <h2>Most-blamed columns</h2>
          <p className="faint">Columns in which anomalous rows are worst; the redder, the larger the share of the partition.</p>
          <LazyChart draw={heat} label={`Anomalous rows by column and partition; most in ${columns.columns.slice(0, 3).join(', ')}`} height={60 + columns.columns.length * 24} group="partitions" onPick={(index) => open(columns.cells[index]?.[0])} />
        </section>
      )}
    </>
  );
}
