import { lazy, Suspense } from 'react';
import type { ChartProps } from './Chart';

const Chart = lazy(() => import('./Chart'));

/** A chart; its library is fetched with the first one, its place is kept meanwhile. */
export function LazyChart(props: ChartProps) {
  return (
    <Suspense fallback={<div className="chart bone" style={{ height: props.height }} aria-hidden="true" />}>
      <Chart {...props} />
    </Suspense>
  );
}
