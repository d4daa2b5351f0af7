/** A DAG's own page of Airflow's, relative to where we are mounted, and out of the frame. */
export function DagLink({ dag, children }: { dag: string; children?: string }) {
  return (
    <a href={`../dags/${encodeURIComponent(dag)}`} target="_top">
      {children ?? dag}
    </a>
  );
}
