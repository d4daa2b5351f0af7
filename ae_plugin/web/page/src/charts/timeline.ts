// Alarm rates of partitions, with where they lie if all is normal, the promised rate, and what the guard said.
import { partitionName, partitionTick, percent, plural } from '../format';
import type { TimelinePoint } from '../types';
import { isAlarm, verdictWord } from '../words';
import { axis, type Draw, legend, root, rootAxis, tooltip, zoom } from './common';
import type { Palette } from './palette';

const KINDS = [
  { name: 'Familiar', symbol: 'circle', size: 9, colour: 'good' },
  { name: 'Drifted', symbol: 'triangle', size: 12, colour: 'warn' },
  { name: 'Unfamiliar', symbol: 'rect', size: 10, colour: 'bad' },
  { name: 'Refused', symbol: 'diamond', size: 15, colour: 'bad' },
] as const;

function kindOf(point: TimelinePoint): string {
  if (point.outcome !== 'scored') return 'Refused';
  return verdictWord(point.verdict, point.outcome).text;
}

/** Where another version took over. */
export function changes(points: TimelinePoint[]): { index: number; version: string }[] {
  return points.flatMap((point, index) => {
    const before = points[index - 1];
    return before && before.model_version !== point.model_version ? [{ index, version: point.model_version }] : [];
  });
}

export function pointLines(point: TimelinePoint): string[] {
  const rate = point.outcome === 'scored' ? `${percent(point.observed_alert_rate)} flagged: ${point.anomalies} of ${plural(point.rows, 'row')}` : `refused, ${plural(point.rows, 'row')} not scored`;
  const expected = point.expected ? [`expected ${percent(point.expected[0])} to ${percent(point.expected[1])}`] : [];
  const worst = Object.keys(point.top_columns).slice(0, 3);
  return [
    partitionName(point.partition),
    rate,
    ...expected,
    `${verdictWord(point.verdict, point.outcome).text}, ${point.model_version}`,
    ...(worst.length ? [`worst in ${worst.join(', ')}`] : []),
  ];
}

export function timeline(points: TimelinePoint[], promised: number): Draw {
  return (colours) => {
    const most = Math.max(promised * 2, ...points.map((point) => Math.max(point.observed_alert_rate ?? 0, point.expected?.[1] ?? 0)));
    return {
      grid: { left: 52, right: 86, top: 58, bottom: points.length > 60 ? 52 : 28 },
      legend: legend(colours, KINDS.map((kind) => kind.name).filter((name) => points.some((point) => kindOf(point) === name))),
      tooltip: tooltip(colours, ({ dataIndex }) => (points[dataIndex] ? pointLines(points[dataIndex]) : []), 'axis'),
      xAxis: { ...axis(colours), type: 'category', data: points.map((point) => partitionTick(point.partition)), splitLine: { show: false } },
      yAxis: rootAxis(colours, 'alarm rate (square-root scale)', most),
      dataZoom: zoom(colours, points.length),
      series: [...band(points, colours), rates(points, promised, colours), ...KINDS.map((kind) => marks(points, kind, colours))],
    };
  };
}

function band(points: TimelinePoint[], colours: Palette) {
  const shared = { type: 'line', stack: 'expected', symbol: 'none', silent: true, lineStyle: { opacity: 0 } };
  const low = points.map((point) => root(point.expected?.[0] ?? null));
  const high = points.map((point, index) => (point.expected ? Math.sqrt(point.expected[1]) - (low[index] ?? 0) : null));
  return [
    { ...shared, name: 'from', data: low },
    { ...shared, name: 'to', data: high, areaStyle: { color: colours.band } },
  ];
}

function rates(points: TimelinePoint[], promised: number, colours: Palette) {
  const moves = changes(points).map(({ index, version }) => ({
    xAxis: index,
    label: { formatter: () => version, color: colours.brand, position: 'end' },
    lineStyle: { color: colours.brand, type: 'solid' },
  }));
  const line = { yAxis: Math.sqrt(promised), label: { formatter: () => `promised ${percent(promised)}`, position: 'end', color: colours.faint } };
  return {
    name: 'alarm rate',
    type: 'line',
    symbol: 'none',
    silent: true,
    data: points.map((point) => (point.outcome === 'scored' ? root(point.observed_alert_rate) : null)),
    lineStyle: { color: colours.faint, width: 1 },
    markLine: { silent: true, symbol: 'none', lineStyle: { color: colours.faint, type: 'dashed' }, data: [line, ...moves] },
  };
}

function marks(points: TimelinePoint[], kind: (typeof KINDS)[number], colours: Palette) {
  const refused = kind.name === 'Refused';
  return {
    name: kind.name,
    type: 'scatter',
    symbol: kind.symbol,
    symbolSize: kind.size,
    // One entry a partition, so that an index means the same in every series.
    data: points.map((point) => {
      if (kindOf(point) !== kind.name) return null;
      const value = root(point.observed_alert_rate) ?? (refused ? 0 : null);
      const over = !refused && isAlarm(point.observed_alert_rate, point.expected);
      return over ? { value, symbolSize: kind.size + 3, itemStyle: { color: colours.bad } } : { value };
    }),
    itemStyle: refused
      ? { color: colours.panel, borderColor: colours[kind.colour], borderWidth: 2 }
      : { color: colours[kind.colour] },
  };
}
