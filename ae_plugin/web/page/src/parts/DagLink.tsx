import { Outside } from './Outside';

/** A DAG's own page. */
export function DagLink({ dag, children }: { dag: string; children?: string }) {
  return <Outside to={`dags/${encodeURIComponent(dag)}`}>{children ?? dag}</Outside>;
}
