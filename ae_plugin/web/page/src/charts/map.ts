// Rows in the plane in which training rows' latent codes differ most, coloured by anomaly score.
import { digits } from '../format';
import type { MapPoint, Profile } from '../types';
import { axis, type Draw, legend, tooltip } from './common';

const ROWS = 'sampled rows';
const WORST = 'flagged rows';

/** The two series of the map; a flagged row is in the second alone. */
export function layers(profile: Profile): [MapPoint[], MapPoint[]] {
  const worst = new Set(profile.worst.map((point) => point.row));
  return [profile.points.filter((point) => !worst.has(point.row)), profile.worst];
}

export function latentMap([rows, worst]: [MapPoint[], MapPoint[]]): Draw {
  const scores = [...rows, ...worst].map((point) => Math.log10(Math.max(point.anomaly_score, 1e-9)));
  const data = (points: MapPoint[]) => points.map((point) => [point.x, point.y, Math.log10(Math.max(point.anomaly_score, 1e-9))]);
  return (colours) => ({
    grid: { left: 40, right: 84, top: 36, bottom: 28 },
    legend: { ...legend(colours, [ROWS, WORST]), left: 0, right: 'auto', itemWidth: 10 },
    tooltip: tooltip(colours, ({ dataIndex, seriesName }) => {
      const point = (seriesName === WORST ? worst : rows)[dataIndex];
      if (!point) return [];
      return [`row ${point.row}`, `anomaly score ${digits(point.anomaly_score)}`, `p-value ${digits(point.p_value, 2)}`];
    }),
    brush: { xAxisIndex: 0, yAxisIndex: 0, toolbox: [], throttleType: 'debounce', throttleDelay: 150, outOfBrush: { colorAlpha: 0.35 }, brushStyle: { color: colours.band, borderColor: colours.brand, borderWidth: 1 } },
    xAxis: { ...axis(colours), type: 'value', scale: true, axisLabel: { show: false } },
    yAxis: { ...axis(colours), type: 'value', scale: true, axisLabel: { show: false } },
    visualMap: {
      type: 'continuous',
      dimension: 2,
      min: Math.min(...scores),
      max: Math.max(...scores),
      right: 0,
      top: 36,
      itemWidth: 12,
      itemHeight: 120,
      text: ['score', ''],
      precision: 2,
      formatter: (value: number) => digits(10 ** value, 2),
      textStyle: { color: colours.faint },
      inRange: { color: colours.ramp },
    },
    series: [
      { name: ROWS, type: 'scatter', symbolSize: 6, data: data(rows), itemStyle: { color: colours.ramp[1], opacity: 0.8 } },
      { name: WORST, type: 'scatter', symbol: 'diamond', symbolSize: 13, data: data(worst), itemStyle: { color: colours.ramp[3], borderColor: colours.text, borderWidth: 1 } },
    ],
  });
}
