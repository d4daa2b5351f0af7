// What states, verdicts and the like are called, and what they mean.
import { count, percent, plural, shortened } from './format';
import type { Decision, Outcome, Range, RunRecord, State, TimelinePoint, Verdict } from './types';

export type Tone = 'good' | 'warn' | 'bad' | 'calm';
export type Shape = 'check' | 'bell' | 'shift' | 'stop' | 'dashed' | 'question';

export interface Word {
  text: string;
  tone: Tone;
  shape: Shape;
  meaning: string;
}

export const STATES: Record<State, Word> = {
  refused: {
    text: 'Refused',
    tone: 'bad',
    shape: 'stop',
    meaning: 'The newest partition is not the kind of data that the model knows: it was not scored.',
  },
  alarm: {
    text: 'Alarm',
    tone: 'bad',
    shape: 'bell',
    meaning: 'More rows are flagged than chance explains at the promised rate.',
  },
  waiting: {
    text: 'To decide',
    tone: 'warn',
    shape: 'question',
    meaning: 'The newest partition is scored, but an older one was refused, and nobody has released or discarded it.',
  },
  drifted: {
    text: 'Drifted',
    tone: 'warn',
    shape: 'shift',
    meaning: 'The newest partition was scored, but its values have moved from those of training.',
  },
  cannot_alarm: {
    text: 'Cannot alarm',
    tone: 'warn',
    shape: 'question',
    meaning: 'There are too few calibration rows for any row to be flagged at the promised rate: train on more history, or promise less.',
  },
  unreadable: {
    text: 'Unreadable',
    tone: 'bad',
    shape: 'question',
    meaning: 'The pipeline, or what it wrote, cannot be read.',
  },
  no_model: { text: 'No model', tone: 'calm', shape: 'dashed', meaning: 'Nothing was trained or promoted yet.' },
  nothing_scored: { text: 'Nothing scored', tone: 'calm', shape: 'dashed', meaning: 'There is a model, and no partition was scored yet.' },
  quiet: { text: 'Fine', tone: 'good', shape: 'check', meaning: 'The newest partition is familiar, with no more alarms than promised.' },
};

export const NEEDS_A_LOOK: State[] = ['refused', 'alarm', 'waiting', 'drifted', 'cannot_alarm', 'unreadable'];

const VERDICTS: Record<Verdict, Word> = {
  familiar: { text: 'Familiar', tone: 'good', shape: 'check', meaning: 'The kind of data that the model knows.' },
  drifted: { text: 'Drifted', tone: 'warn', shape: 'shift', meaning: 'Values have moved from those of training.' },
  unfamiliar: { text: 'Unfamiliar', tone: 'bad', shape: 'stop', meaning: 'Not the kind of data that the model was trained on.' },
};

/** The guard's verdict; of a partition that was not scored, that it was refused. */
export function verdictWord(verdict: Verdict, outcome: Outcome): Word {
  if (outcome === 'scored') return VERDICTS[verdict];
  return { ...VERDICTS.unfamiliar, text: outcome === 'quarantined' ? 'Quarantined' : 'Refused' };
}

/** Whether more rows are flagged than chance explains. */
export function isAlarm(rate: number | null, expected: Range | null): boolean {
  return rate !== null && expected !== null && rate > expected[1] + 1e-6;
}

export function isWaiting(point: TimelinePoint): boolean {
  return point.outcome !== 'scored' && point.decision === null;
}

export function isReleased(point: TimelinePoint): boolean {
  return point.outcome !== 'scored' && point.decision === 'release';
}

export const DECIDED = { release: 'released', discard: 'discarded' } as const;
export const MARKED = { false_alarm: 'False alarm', confirmed: 'Confirmed' } as const;
export const MARK_MEANS = {
  false_alarm: 'Normal after all: the next training learns from it, several times over.',
  confirmed: 'Really wrong: the next training leaves it out.',
} as const;
export const SCORERS = { challenger: 'This version', champion: 'Champion then', pca: 'PCA', untrained: 'Untrained' } as const;

/** What the promised rate is a share of, in a sentence. */
function promise(run: RunRecord, things: string): string {
  const rate = percent(run.alert_rate);
  return run.alert_rate_of === 'rows' ? `at most ${rate} of normal ${things}s would be` : `at most ${rate} of alarms should be false`;
}

/** A partition in plain words. */
export function inWords(run: RunRecord, pictures: boolean, decision: Decision | null = null): string[] {
  const things = pictures ? 'picture' : 'row';
  if (run.outcome !== 'scored') {
    const out = `Its ${plural(run.rows, things)} are left out for good`;
    const kept = decision === 'discard' ? out : run.outcome === 'quarantined' ? `Its ${plural(run.rows, things)} are in quarantine` : `Its ${plural(run.rows, things)} were left as they are`;
    return [`This partition was refused: it is not the kind of data that ${run.model_version} knows.`, `${kept}; none was scored.`];
  }
  if (run.rows === 0) return ['This partition holds no rows.'];
  const said = [
    `${count(run.anomalies)} of ${plural(run.rows, things)} ${run.anomalies === 1 ? 'is' : 'are'} anomalous (${percent(run.observed_alert_rate)}); ${promise(run, things)}.`,
  ];
  const worst = Object.entries(run.top_columns).sort((a, b) => b[1] - a[1]).slice(0, 3);
  if (worst.length) said.push(`Most are worst in ${worst.map(([column, rows]) => `${shortened(column, 40)} (${count(rows)})`).join(', ')}.`);
  if (run.unreadable_rows) said.push(`${plural(run.unreadable_rows, things)} could not be read.`);
  return said;
}
