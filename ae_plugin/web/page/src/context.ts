// What Airflow's tabs say that they are about, in the query string.
import type { Query } from './route';

const NAMES = ['dag_id', 'run_id', 'task_id', 'map_index'] as const;

export type Asked = Query & { dag_id: string; run_id?: string; task_id?: string };

/** Null when we were opened on nothing in particular; what Airflow did not fill in is left out. */
export function asked(search: string): Asked | null {
  const given = new URLSearchParams(search);
  const found: Record<string, string> = {};
  for (const name of NAMES) {
    const value = given.get(name);
    if (value && !/^\{.*\}$/.test(value) && value !== 'undefined') found[name] = value;
  }
  const { dag_id: dag, ...others } = found;
  return dag === undefined ? null : { dag_id: dag, ...others };
}
