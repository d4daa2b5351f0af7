// What the API answers; mirrors ae_plugin/web/responses.py and the models of ae_plugin/schemas.py that it uses.

export type State = 'quiet' | 'alarm' | 'drifted' | 'refused' | 'waiting' | 'cannot_alarm' | 'no_model' | 'nothing_scored' | 'unreadable';
export type Verdict = 'familiar' | 'drifted' | 'unfamiliar';
export type Outcome = 'scored' | 'quarantined' | 'refused';
export type Decision = 'release' | 'discard';
export type Picture = 'original' | 'denoised' | 'heatmap' | 'mask';
export type RowVerdict = 'false_alarm' | 'confirmed';
export type Range = [number, number];

export interface RatePoint {
  partition: string;
  observed_alert_rate: number | null;
  alarm: boolean;
  outcome: Outcome;
  verdict: Verdict;
}

export interface PipelineSummary {
  name: string;
  pictures: boolean;
  state: State;
  problem: string | null;
  champion: string | null;
  champion_since: string | null;
  champion_trained_at: string | null;
  challenger: string | null;
  partitions_scored: number;
  waiting: number;
  last_partition: string | null;
  last_verdict: Verdict | null;
  last_outcome: Outcome | null;
  last_scored_at: string | null;
  rows: number | null;
  anomalies: number | null;
  observed_alert_rate: number | null;
  alert_rate: number;
  expected: Range | null;
  recent: RatePoint[];
}

export interface PipelineList {
  total: number;
  /** Still to be read, just after a server's start. */
  left: number;
  counts: Partial<Record<State, number>>;
  pipelines: PipelineSummary[];
}

export interface PipelineDetail {
  summary: PipelineSummary;
  may_decide: boolean;
  source: string;
  output: string;
  partition_by: string[];
  keys: string[];
  train_dag: string;
  score_dag: string;
  train_schedule: string | null;
  score_schedule: string;
  promote: 'auto' | 'approval' | 'never';
  on_unfamiliar: 'score' | 'quarantine' | 'fail';
  denoise: 'repair' | 'full';
}

export interface TimelinePoint {
  partition: string;
  run_id: string;
  model_version: string;
  outcome: Outcome;
  verdict: Verdict;
  rows: number;
  anomalies: number;
  observed_alert_rate: number | null;
  expected: Range | null;
  score_quantiles: Record<string, number>;
  top_columns: Record<string, number>;
  p_value_drift: number | null;
  started_at: string;
  input_fingerprint: string;
  decision: Decision | null;
}

export interface Timeline {
  total: number;
  alert_rate: number;
  points: TimelinePoint[];
}

export interface RunRecord {
  run_id: string;
  model_version: string;
  partition: string;
  outcome: Outcome;
  rows: number;
  anomalies: number;
  alert_rate: number;
  alert_rate_of: 'rows' | 'alarms';
  flagged_up_to: number | null;
  observed_alert_rate: number | null;
  p_value_drift: number | null;
  top_columns: Record<string, number>;
  unreadable_rows: number;
  cells_flagged: number;
  cells_repaired: number;
  cells_imputed: number;
  pictures_repaired: number | null;
  guard: { verdict: Verdict; reasons: string[]; columns: ColumnReason[] };
  notes: string[];
  seconds: number;
  started_at: string;
  input_fingerprint: string;
  input_files: number | null;
  input_bytes: number | null;
  airflow: AirflowTask | null;
}

export interface AirflowTask {
  dag_id: string;
  run_id: string;
  task_id: string;
  map_index: number;
}

export interface ColumnReason {
  column: string;
  reason: string;
  effect: number;
  limit: number;
}

export interface ColumnProfile {
  column: string;
  kind: 'number' | 'category' | 'text' | 'time';
  parts: string[];
  now: number[];
  training: number[];
  moved: number;
  usual: number;
}

export interface ScoreHistogram {
  edges: number[];
  rows: number[];
  calibration: number[];
  threshold: number | null;
}

export interface MapPoint {
  row: number;
  x: number;
  y: number;
  anomaly_score: number;
  p_value: number;
}

export interface Profile {
  columns: ColumnProfile[];
  scores: ScoreHistogram | null;
  points: MapPoint[];
  worst: MapPoint[];
}

export interface DecisionMade {
  decision: Decision;
  who: string | null;
  when: string;
  note: string | null;
}

export interface PartitionDetail {
  run: RunRecord;
  expected: Range | null;
  profile: Profile | null;
  previous: string | null;
  next: string | null;
  may_decide: boolean;
  decision: DecisionMade | null;
  columns: string[];
  keys: string[];
}

export interface WrongCell {
  column: string;
  observed: string | null;
  expected: string | null;
  cell_error: number | null;
  p_value: number | null;
}

export interface FeedbackMark {
  row: number;
  verdict: RowVerdict;
  column: string | null;
  note: string | null;
  when: string;
  who: string | null;
}

export interface AnomalousRow {
  row: number;
  keys: Record<string, string | null>;
  anomaly_score: number;
  p_value: number;
  top_column: string | null;
  cells: WrongCell[];
  feedback: FeedbackMark | null;
}

export interface RowPage {
  total: number;
  flagged: number;
  seen: string;
  columns: Record<string, number>;
  rows: AnomalousRow[];
}

export interface CellValue {
  column: string;
  observed: string | null;
  denoised: string | null;
  changed: boolean;
}

export interface RowValuesList {
  rows: { row: number; values: CellValue[] }[];
}

export interface Context {
  pipeline: string | null;
  verb: 'train' | 'score' | null;
  points: TimelinePoint[];
  version: string | null;
  problem: string | null;
}

export interface LatentNote {
  latent: number;
  carries: number;
  low: number;
  high: number;
  title: string;
  moves: { what: string; change: number; first: string; last: string }[];
}

export interface TraversalView {
  record: {
    model_version: string;
    partition: string;
    row: number;
    steps: number;
    latent_dim: number;
    axes: boolean;
    carried_by: 'kl' | 'explained';
  } | null;
  latents: { note: LatentNote; values: number[]; columns: { column: string; values: (string | null)[] }[] }[];
}
