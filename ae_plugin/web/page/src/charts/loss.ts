// How training went.
import { count, digits } from '../format';
import type { TrainReport } from '../modelTypes';
import { axis, type Draw, legend, tooltip } from './common';

const NAMES = ['training', 'validation'];

export function loss(curve: TrainReport['loss_curve']): Draw {
  const formatter = (value: number) => digits(value, 2);
  return (colours) => ({
    grid: { left: 60, right: 20, top: 58, bottom: 44 },
    legend: legend(colours, NAMES),
    tooltip: tooltip(
      colours,
      ({ dataIndex }) => {
        const at = curve[dataIndex];
        return at ? [`step ${count(at[0])}`, `training ${digits(at[1])}`, `validation ${digits(at[2])}`] : [];
      },
      'axis',
    ),
    xAxis: { ...axis(colours, 'training step'), type: 'value', nameLocation: 'middle', nameGap: 26, max: 'dataMax' },
    yAxis: { ...axis(colours, 'loss (log scale)'), type: 'log', scale: true, axisLabel: { color: colours.faint, formatter } },
    series: NAMES.map((name, index) => ({
      name,
      type: 'line',
      symbol: 'none',
      data: curve.map((at) => [at[0], at[index + 1]]),
      lineStyle: { color: index ? colours.brand : colours.faint, type: index ? 'solid' : 'dashed', width: 2 },
      itemStyle: { color: index ? colours.brand : colours.faint },
    })),
  });
}
