import { percent, plural } from '../format';
import type { RatePoint } from '../types';

const WIDTH = 132;
const HEIGHT = 28;
const PAD = 4;

/** Alarm rates of the newest partitions, the promised rate as a dashed line, refused partitions as crosses. */
export function Sparkline({ points, promised }: { points: RatePoint[]; promised: number }) {
  if (points.length === 0) return <span className="faint">no partition yet</span>;
  const top = Math.max(promised * 2, ...points.map((point) => point.observed_alert_rate ?? 0));
  // The square root keeps the promised rate visible beside one bad day.
  const y = (rate: number) => HEIGHT - PAD - Math.sqrt(rate / (top || 1)) * (HEIGHT - 2 * PAD);
  const x = (index: number) => PAD + (index * (WIDTH - 2 * PAD)) / Math.max(1, points.length - 1);
  const scored = points.flatMap(({ outcome, alarm, observed_alert_rate: rate }, index) =>
    outcome === 'scored' && rate !== null ? [{ x: x(index), y: y(rate), over: alarm }] : [],
  );
  const refused = points.flatMap(({ outcome }, index) => (outcome === 'scored' ? [] : [x(index)]));
  const last = points.findLast((point) => point.observed_alert_rate !== null)?.observed_alert_rate ?? null;
  const label = `Alarm rate of ${plural(points.length, 'partition')}, last ${percent(last)}, promised ${percent(promised)}, ${refused.length} refused`;
  return (
    <svg className="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={label}>
      <title>{label}</title>
      <line className="promised" x1={0} x2={WIDTH} y1={y(promised)} y2={y(promised)} />
      <polyline points={scored.map((point) => `${point.x.toFixed(1)},${point.y.toFixed(1)}`).join(' ')} />
      {scored.map((point) => point.over && <circle key={point.x} cx={point.x} cy={point.y} r={2} />)}
      {refused.map((at) => (
        <path key={at} className="refused" d={`M${at - 3} ${HEIGHT / 2 - 3}l6 6m0-6l-6 6`} />
      ))}
    </svg>
  );
}
