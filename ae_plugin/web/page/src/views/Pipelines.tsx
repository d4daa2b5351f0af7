import { useEffect, useState } from 'react';
import { address } from '../api';
import { count, percent, plural } from '../format';
import { Heading } from '../parts/Heading';
import { Icon } from '../parts/Icon';
import { Pager } from '../parts/Pager';
import { Empty, Ready } from '../parts/Status';
import { changed, go, type Route, to } from '../route';
import type { PipelineList, State } from '../types';
import { useApi } from '../useApi';
import { NEEDS_A_LOOK, STATES } from '../words';
import { COLUMNS, PipelinesTable } from './PipelinesTable';

const SIZE = 50;
const EVERY_MS = 30_000;
const ALL_STATES = Object.keys(STATES) as State[];

/** Every pipeline that the viewer may read; those that need a look first. */
export function Pipelines({ route }: { route: Route }) {
  const { query } = route;
  const page = Number(query.get('page') ?? 0) || 0;
  const sort = query.get('sort') ?? 'state';
  const descending = query.get('desc') === 'true';
  const search = query.get('q');
  const state = query.get('state');
  const found = useApi<PipelineList>(
    address(['pipelines'], { search: search || null, state, sort, descending, offset: page * SIZE, limit: SIZE }),
  );
  const left = found.data?.left ?? 0;
  const { reload } = found;
  useEffect(() => {
    if (left === 0) return undefined;
    const timer = setTimeout(reload, 300);
    return () => clearTimeout(timer);
  }, [left, reload]);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || reload(), EVERY_MS);
    return () => clearInterval(timer);
  }, [reload]);
  return (
    <>
      <Heading title="Anomalies" />
      <Ready from={found} lines={14}>
        {(list) => (
          <>
            {left === 0 ? <Summary list={list} route={route} /> : <p className="summary calm">The server has just started: reading {plural(left, 'more pipeline')}.</p>}
            <div className="filters">
              <Search route={route} />
              <SortBy sort={sort} route={route} />
              <States counts={list.counts} state={state} route={route} />
            </div>
            {list.pipelines.length > 0 ? <PipelinesTable pipelines={list.pipelines} sort={sort} descending={descending} route={route} /> : <Nothing filtered={Boolean(search || state)} />}
            <Pager total={list.total} page={page} size={SIZE} what="pipelines" hrefOf={(at) => changed(route, { page: at || null })} />
          </>
        )}
      </Ready>
    </>
  );
}

/** Whether all is fine, in one line. */
function Summary({ list, route }: { list: PipelineList; route: Route }) {
  const all = ALL_STATES.reduce((sum, state) => sum + (list.counts[state] ?? 0), 0);
  const states = NEEDS_A_LOOK.filter((state) => list.counts[state]);
  const bad = states.reduce((sum, state) => sum + (list.counts[state] ?? 0), 0);
  if (all === 0) return null;
  const of = plural(all, route.query.has('q') ? 'matching pipeline' : 'pipeline');
  if (bad === 0) {
    const started = (list.counts.quiet ?? 0) > 0;
    return (
      <p className={`summary ${started ? 'good' : 'calm'}`}>
        <Icon shape={started ? 'check' : 'dashed'} />
        <span>{started ? `All fine: none of ${of} needs a look.` : `None of ${of} has scored a partition yet.`}</span>
      </p>
    );
  }
  const worst = list.pipelines.filter((pipeline) => NEEDS_A_LOOK.includes(pipeline.state)).slice(0, 3);
  return (
    <p className="summary bad">
      <Icon shape="bell" />
      <span>
        {count(bad)} of {of} {bad === 1 ? 'needs' : 'need'} a look:{' '}
        {worst.length === bad
          ? worst.map((pipeline, index) => (
              <span key={pipeline.name}>
                {index > 0 && ', '}
                <a href={to.pipeline(pipeline.name)}>{pipeline.name}</a> ({STATES[pipeline.state].text.toLowerCase()}
                {pipeline.state === 'alarm' && `, ${percent(pipeline.observed_alert_rate)} flagged`})
              </span>
            ))
          : states.map((state, index) => (
              <span key={state}>
                {index > 0 && ', '}
                <a href={changed(route, { state, page: null })}>
                  {count(list.counts[state])} {STATES[state].text.toLowerCase()}
                </a>
              </span>
            ))}
        .
      </span>
    </p>
  );
}

function Search({ route }: { route: Route }) {
  const asked = route.query.get('q') ?? '';
  const [text, setText] = useState(asked);
  useEffect(() => setText(asked), [asked]);
  useEffect(() => {
    if (text === asked) return undefined;
    const timer = setTimeout(() => go(changed(route, { q: text || null, page: null }), { replace: true }), 250);
    return () => clearTimeout(timer);
  }, [text, asked, route]);
  return (
    <label className="field">
      Search <input type="search" value={text} onChange={(event) => setText(event.target.value)} placeholder="part of a name" />
    </label>
  );
}

/** The table's header sorts, too; on narrow screens there is none. */
function SortBy({ sort, route }: { sort: string; route: Route }) {
  const sortBy = (by: string) => {
    const falls = COLUMNS.some((column) => column.sort === by && column.falls);
    go(changed(route, { sort: by, desc: falls || null, page: null }));
  };
  return (
    <label className="field narrow-only">
      Sort by
      <select value={sort} onChange={(event) => sortBy(event.target.value)}>
        {COLUMNS.map(({ sort: by, text }) => by && <option key={by} value={by}>{text}</option>)}
      </select>
    </label>
  );
}

function States({ counts, state, route }: { counts: PipelineList['counts']; state: string | null; route: Route }) {
  return (
    <nav className="chips" aria-label="Filter by state">
      <a href={changed(route, { state: null, page: null })} aria-current={state === null ? 'true' : undefined}>
        All
      </a>
      {ALL_STATES.filter((one) => counts[one] || one === state).map((one) => (
        <a key={one} className={STATES[one].tone} href={changed(route, { state: one, page: null })} aria-current={one === state ? 'true' : undefined} title={STATES[one].meaning}>
          <Icon shape={STATES[one].shape} />
          {STATES[one].text} <b>{count(counts[one] ?? 0)}</b>
        </a>
      ))}
    </nav>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty>
        No pipeline matches. <a href="#/all">Show all pipelines</a>.
      </Empty>
    );
  }
  return (
    <Empty>
      No pipeline that you may read yet. Write one with <code>ae init SOURCE</code> and put it into <code>dags/pipelines/</code>; its DAGs appear by themselves.
    </Empty>
  );
}
