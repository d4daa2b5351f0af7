import { lazy, Suspense, useEffect, useMemo } from 'react';
import { asked } from './context';
import { Boundary } from './parts/Boundary';
import { type Crumb, Crumbs } from './parts/Crumbs';
import { Heading } from './parts/Heading';
import { Live } from './parts/Live';
import { Empty, Skeleton } from './parts/Status';
import { partitionName } from './format';
import { parse, type Route, to, useHash } from './route';
import { framed } from './theme';
import { Pipelines } from './views/Pipelines';

const Pipeline = lazy(() => import('./views/Pipeline'));
const Partition = lazy(() => import('./views/Partition'));
const Models = lazy(() => import('./views/Models'));
const Traversal = lazy(() => import('./views/Traversal'));
const InContext = lazy(() => import('./views/InContext'));

/** Of Airflow's own things, when it opened us on one; it does not change while we are open. */
const context = asked(window.location.search);

export function App() {
  const hash = useHash();
  const route = useMemo(() => parse(hash), [hash]);
  const place = [...route.path, route.query.get('partition'), route.query.get('page')].join('/');
  // A link within the page leaves the browser where it had scrolled to.
  useEffect(() => {
    window.scrollTo(0, 0); // newer browsers answer with a promise, which is no clean-up
  }, [place]);
  return (
    <Live>
      {!framed && (
        <header className="top">
          <a href="#/">Anomalies</a>
          <a href="../">Airflow</a>
        </header>
      )}
      <Crumbs crumbs={crumbs(route)} />
      <main>
        <Boundary key={route.path.join('/')}>
          <Suspense fallback={<Skeleton lines={10} />}>
            <View route={route} />
          </Suspense>
        </Boundary>
      </main>
    </Live>
  );
}

function View({ route }: { route: Route }) {
  const [kind, name, view] = route.path;
  if (kind === undefined) return context ? <InContext asked={context} route={route} /> : <Pipelines route={route} />;
  if (kind === 'all') return <Pipelines route={route} />;
  if (kind === 'p' && name !== undefined) {
    if (view === undefined) return <Pipeline key={name} name={name} route={route} />;
    if (view === 'models') return <Models key={name} name={name} route={route} />;
    if (view === 'traversal') return <Traversal key={name} name={name} />;
    if (view === 'partition') {
      const partition = route.query.get('partition') ?? '';
      return <Partition key={`${name} ${partition}`} name={name} partition={partition} route={route} />;
    }
  }
  return (
    <>
      <Heading title="Not found" />
      <Empty>
        There is no such place here. See <a href="#/all">all pipelines</a>.
      </Empty>
    </>
  );
}

function crumbs({ path, query }: Route): Crumb[] {
  const [kind, name, view] = path;
  const home = context ? [{ text: context.run_id ? 'This run' : 'This DAG', href: '#/' }] : [];
  const found: Crumb[] = [...home, { text: 'Pipelines', href: '#/all' }];
  if (kind === undefined && context) return [];
  if (kind !== 'p' || name === undefined) return found.length > 1 ? found : [];
  found.push({ text: name, href: to.pipeline(name) });
  if (view === 'models') found.push({ text: 'Models' });
  if (view === 'traversal') found.push({ text: 'Traversal' });
  if (view === 'partition') found.push({ text: partitionName(query.get('partition') ?? '') });
  return found.map((crumb, index) => (index === found.length - 1 ? { text: crumb.text } : crumb));
}
