// Scores of a partition over those of calibration rows, with the score from which on a row is flagged.
import { count, digits, percent } from '../format';
import type { ScoreHistogram } from '../types';
import { axis, type Draw, legend, rootAxis, tooltip } from './common';

const NOW = 'this partition';
const CALIBRATION = 'calibration rows';

const sum = (values: number[]) => values.reduce((all, one) => all + one, 0);

/** Where a score lies among the bins, which are drawn equally wide. */
export function place(edges: number[], score: number): number {
  const last = edges.length - 1;
  const above = edges.findIndex((edge) => edge > score);
  if (above === 0) return 0;
  if (above < 0) return last;
  const [low = 0, high = 1] = [edges[above - 1], edges[above]];
  return above - 1 + (score - low) / (high - low);
}

export function histogram({ edges, rows, calibration, threshold }: ScoreHistogram): Draw {
  const bins = rows.length;
  const shares = (counts: number[]) => counts.map((one) => one / Math.max(1, sum(counts)));
  const now = shares(rows);
  const before = shares(calibration);
  const steps = (values: number[]) => [...values, values.at(-1) ?? 0].map((value, index) => [index, Math.sqrt(value)]);
  return (colours) => ({
    grid: { left: 52, right: 20, top: 58, bottom: 44 },
    legend: legend(colours, [NOW, CALIBRATION]),
    tooltip: tooltip(
      colours,
      ({ dataIndex }) => {
        const bin = Math.min(dataIndex, bins - 1);
        return [
          `score ${digits(edges[bin])} to ${digits(edges[bin + 1])}`,
          `${NOW}: ${percent(now[bin])} (${count(rows[bin])})`,
          `${CALIBRATION}: ${percent(before[bin])} (${count(calibration[bin])})`,
        ];
      },
      'axis',
    ),
    xAxis: {
      ...axis(colours, 'anomaly score'),
      type: 'value',
      min: 0,
      max: bins,
      nameLocation: 'middle',
      nameGap: 26,
      splitLine: { show: false },
      axisLabel: { color: colours.faint, hideOverlap: true, formatter: (bin: number) => digits(edges[Math.round(bin)], 2) },
    },
    yAxis: rootAxis(colours, 'share of rows (square-root scale)', Math.max(...now, ...before)),
    series: [
      { name: CALIBRATION, type: 'line', step: 'end', symbol: 'none', data: steps(before), lineStyle: { color: colours.faint, width: 1, type: 'dashed' }, itemStyle: { color: colours.faint }, areaStyle: { color: colours.faint, opacity: 0.2 } },
      {
        name: NOW,
        type: 'line',
        step: 'end',
        symbol: 'none',
        data: steps(now),
        lineStyle: { color: colours.brand, width: 2 },
        itemStyle: { color: colours.brand },
        markLine: {
          silent: true,
          symbol: 'none',
          lineStyle: { color: colours.bad, type: 'solid' },
          label: { color: colours.bad, formatter: () => `flagged from ${digits(threshold)}` },
          data: threshold === null ? [] : [{ xAxis: place(edges, threshold) }],
        },
      },
    ],
  });
}
