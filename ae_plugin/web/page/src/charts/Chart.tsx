import type { EChartsType } from 'echarts/core';
import { useEffect, useRef } from 'react';
import { useTheme } from '../theme';
import type { Draw } from './common';
import { connect, init } from './echarts';
import { palette } from './palette';

export interface ChartProps {
  draw: Draw;
  label: string;
  height: number;
  /** Charts of a group are zoomed together. */
  group?: string;
  /** The index of the data under a click; of the axis where the click is on no mark. */
  onPick?: (index: number) => void;
  /** Boxes can be drawn; what lies in one, as series and data indices. */
  onBox?: (picked: Picked[]) => void;
}

export interface Picked {
  seriesIndex: number;
  dataIndex: number[];
}

const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;

/** One ECharts chart, drawn anew when its data or the theme changes, and as wide as its place. */
export default function Chart({ draw, label, height, group, onPick, onBox }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const pick = useRef(onPick);
  const box = useRef(onBox);
  const theme = useTheme();
  pick.current = onPick;
  box.current = onBox;

  useEffect(() => {
    if (!place.current) return undefined;
    const made = init(place.current, null, { renderer: 'svg' });
    chart.current = made;
    if (group !== undefined) {
      made.group = group;
      connect(group);
    }
    made.on('click', (event) => pick.current?.(event.dataIndex as number));
    made.on('brushselected', (event) => {
      const { batch } = event as { batch?: { selected: Picked[] }[] };
      box.current?.(batch?.[0]?.selected ?? []);
    });
    const observer = new ResizeObserver(() => made.resize());
    observer.observe(place.current);
    return () => {
      observer.disconnect();
      made.dispose();
    };
  }, [group]);

  useEffect(() => {
    const made = chart.current;
    if (!made) return;
    const shared = { animation: !still, animationDuration: 250, aria: { enabled: true, label: { description: label } } };
    made.setOption({ ...shared, ...draw(palette()) }, { notMerge: true });
    const brushOption = { brushType: 'rect', brushMode: 'single' };
    if (box.current) made.dispatchAction({ type: 'takeGlobalCursor', key: 'brush', brushOption });
  }, [draw, label, theme]);

  return <div ref={place} className={onPick ? 'chart picks' : 'chart'} style={{ height }} role="img" aria-label={label} />;
}
