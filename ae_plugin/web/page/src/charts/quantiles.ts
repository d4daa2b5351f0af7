// How anomaly scores of partitions moved: their middle, and their tails.
import { digits, partitionName, partitionTick } from '../format';
import type { TimelinePoint } from '../types';
import { axis, type Draw, legend, tooltip, zoom } from './common';

const QUANTILES = [
  { key: '0.99', name: '99% lie below', dash: 'dotted', colour: 'bad' },
  { key: '0.9', name: '90%', dash: 'dashed', colour: 'warn' },
  { key: '0.5', name: 'half', dash: 'solid', colour: 'brand' },
] as const;

export function quantiles(points: TimelinePoint[]): Draw {
  return (colours) => ({
    grid: { left: 52, right: 86, top: 58, bottom: points.length > 60 ? 52 : 28 },
    legend: legend(colours, QUANTILES.map((one) => one.name)),
    tooltip: tooltip(
      colours,
      ({ dataIndex }) => {
        const point = points[dataIndex];
        return point ? [partitionName(point.partition), ...QUANTILES.map(({ key, name }) => `${name}: ${digits(point.score_quantiles[key])}`)] : [];
      },
      'axis',
    ),
    xAxis: { ...axis(colours), type: 'category', data: points.map((point) => partitionTick(point.partition)) },
    yAxis: { ...axis(colours, 'anomaly score (log scale)'), type: 'log', axisLabel: { color: colours.faint, formatter: (value: number) => digits(value, 2) } },
    dataZoom: zoom(colours, points.length),
    series: QUANTILES.map(({ key, name, dash, colour }) => ({
      name,
      type: 'line',
      symbol: points.length > 1 ? 'none' : 'circle',
      // A log axis has no place for zero.
      data: points.map((point) => point.score_quantiles[key] || null),
      lineStyle: { type: dash, width: 1.5, color: colours[colour] },
      itemStyle: { color: colours[colour] },
    })),
  });
}
