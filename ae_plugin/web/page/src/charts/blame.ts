// Which columns anomalous rows were worst in, partition by partition.
import { partitionName, partitionTick, percent, plural, shortened } from '../format';
import type { TimelinePoint } from '../types';
import { axis, type Draw, tooltip, zoom } from './common';

export interface Blame {
  columns: string[];
  /** Partition, column, rows. */
  cells: [number, number, number][];
}

/** The columns with most anomalous rows in all, the most first. */
export function blamed(points: TimelinePoint[], most = 10): Blame {
  const totals = new Map<string, number>();
  for (const point of points) {
    for (const [column, rows] of Object.entries(point.top_columns)) totals.set(column, (totals.get(column) ?? 0) + rows);
  }
  const columns = [...totals].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, most).map(([column]) => column);
  const cells = points.flatMap((point, x) =>
    columns.flatMap((column, y): [number, number, number][] => {
      const rows = point.top_columns[column];
      return rows ? [[x, y, rows]] : [];
    }),
  );
  return { columns, cells };
}

export function blame(points: TimelinePoint[], { columns, cells }: Blame): Draw {
  const share = ([x, , rows]: [number, number, number]) => rows / Math.max(1, points[x]?.rows ?? 0);
  const most = Math.sqrt(Math.max(0.0001, ...cells.map(share)));
  return (colours) => ({
    grid: { left: 150, right: 86, top: 8, bottom: points.length > 60 ? 52 : 28 },
    tooltip: tooltip(colours, ({ dataIndex }) => {
      const cell = cells[dataIndex];
      const point = cell && points[cell[0]];
      if (!cell || !point) return [];
      return [partitionName(point.partition), columns[cell[1]] ?? '', `worst in ${plural(cell[2], 'row')} (${percent(share(cell))})`];
    }),
    xAxis: { ...axis(colours), type: 'category', data: points.map((point) => partitionTick(point.partition)), splitLine: { show: false } },
    yAxis: {
      ...axis(colours),
      type: 'category',
      inverse: true,
      data: columns,
      splitLine: { show: false },
      axisLabel: { color: colours.text, formatter: (name: string) => shortened(name, 20) },
    },
    visualMap: { type: 'continuous', show: false, min: 0, max: most, dimension: 2, inRange: { color: colours.ramp } },
    dataZoom: zoom(colours, points.length),
    series: [{ type: 'heatmap', data: cells.map((cell) => [cell[0], cell[1], Math.sqrt(share(cell))]), itemStyle: { borderColor: colours.panel, borderWidth: 1 } }],
  });
}
