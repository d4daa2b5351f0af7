// What the API answers about models; mirrors ae_plugin/web/responses.py and ae_plugin/schemas.py.

export interface ModelEntry {
  version: string;
  pointers: string[];
  created_at: string | null;
  rows_train: number | null;
  partitions: string[];
  gate_passed: boolean | null;
  validation_loss: number | null;
  problem: string | null;
}

export interface ModelList {
  models: ModelEntry[];
  may_decide: boolean;
  /** That were champion before, newest first. */
  former: string[];
}

export interface GateResult {
  scorer: 'challenger' | 'untrained' | 'pca' | 'champion';
  auroc: Record<string, number>;
  mean: number;
}

export interface Gate {
  passed: boolean;
  reasons: string[];
  results: GateResult[];
  champion: string | null;
}

export interface ColumnNote {
  column: string;
  type: string;
  role: string;
  kind: string;
  note: string;
}

export interface Explained {
  column: string;
  network_hidden: number;
  pca_hidden: number;
}

export interface TrainReport {
  rows_total: number;
  rows_train: number;
  rows_validation: number;
  rows_calibration: number;
  partitions: string[];
  incidents: Record<string, string>;
  columns: ColumnNote[];
  features: number;
  latent_dim: number;
  steps: number;
  steps_budget: number;
  stopped_early: boolean;
  seconds: number;
  peak_memory_mb: number;
  validation_loss: number | null;
  loss_curve: [number, number | null, number | null][];
  gate: Gate;
  comparison: { overall: Explained; columns: Explained[] } | null;
  feedback: { confirmed: number; false_alarms: number; copies: number; not_found: number; elsewhere: number };
  notes: string[];
  created_at: string;
}

export interface VersionDetail {
  entry: ModelEntry;
  report: TrainReport | null;
  calibration: { alert_rate: number; threshold: number | null; by_chance: number }[];
  moves: { version: string; at: string; by: string; why: string }[];
}

export interface VersionComparison {
  one: string;
  other: string;
  differences: { what: string; one: string; other: string }[];
}

export interface PromoteRecord {
  champion: string | null;
  previous: string | null;
  promoted: boolean;
  forced: boolean;
  reasons: string[];
}
