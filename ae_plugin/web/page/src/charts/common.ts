// What all charts share: axes, tooltips that are never HTML, and a scale that keeps small rates visible.
import type { EChartsCoreOption } from 'echarts/core';
import { percent, shortened } from '../format';
import type { Palette } from './palette';

/** Builds a chart in a theme's colours. */
export type Draw = (colours: Palette) => EChartsCoreOption;

/** What ECharts tells a formatter, as far as we ask. */
export interface Hovered {
  dataIndex: number;
  seriesName?: string;
  value?: unknown;
}

/** Of data, in a rich-text tooltip: `{style|text}` must stay what it is. */
export function plain(text: string): string {
  return text.replaceAll('{', '{\u200b');
}

export function tooltip(colours: Palette, lines: (hovered: Hovered) => string[], trigger: 'axis' | 'item' = 'item') {
  return {
    trigger,
    renderMode: 'richText',
    confine: true,
    backgroundColor: colours.panel,
    borderColor: colours.line,
    textStyle: { color: colours.text, fontSize: 12, lineHeight: 17 },
    formatter: (given: Hovered | Hovered[]) => {
      const hovered = Array.isArray(given) ? given[0] : given;
      return hovered ? lines(hovered).map((line) => plain(shortened(line, 70))).join('\n') : '';
    },
  };
}

export function axis(colours: Palette, name = '') {
  return {
    name,
    nameGap: 26,
    nameTextStyle: { color: colours.faint, align: 'left' as const },
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: false },
    axisLabel: { color: colours.faint, hideOverlap: true },
    splitLine: { lineStyle: { color: colours.line, opacity: 0.6 } },
  };
}

export const root = (share: number | null) => (share === null ? null : Math.sqrt(share));

/** Shares on a square-root axis: 1% stays visible beside 60%. */
export function rootAxis(colours: Palette, name: string, most: number) {
  const top = Math.sqrt(Math.max(most, 0.0004));
  return {
    ...axis(colours, name),
    type: 'value',
    min: 0,
    max: top * 1.08,
    interval: top / 4,
    axisLabel: { color: colours.faint, formatter: (value: number) => (value > top * 1.01 ? '' : percent(value ** 2)) },
  };
}

export function legend(colours: Palette, data: string[]) {
  const textStyle = { color: colours.text, fontSize: 12 };
  return { data, textStyle, top: 0, right: 0, itemWidth: 14, itemHeight: 10, inactiveColor: colours.line, inactiveBorderColor: colours.line };
}

export function zoom(colours: Palette, points: number) {
  if (points <= 60) return [];
  const start = Math.max(0, 100 - (6000 / points));
  const bar = { height: 16, bottom: 4, borderColor: colours.line, fillerColor: colours.band, textStyle: { color: colours.faint } };
  return [
    { type: 'inside', start, end: 100, zoomOnMouseWheel: 'ctrl', moveOnMouseWheel: false },
    { type: 'slider', start, end: 100, ...bar, brushSelect: false, labelFormatter: '' },
  ];
}
