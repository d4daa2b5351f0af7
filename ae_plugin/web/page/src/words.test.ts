import { expect, it } from 'vitest';
import type { RunRecord } from './types';
import { inWords, verdictWord } from './words';

const run = {
  model_version: 'v0001', outcome: 'scored', rows: 842, anomalies: 58, alert_rate: 0.01, alert_rate_of: 'rows',
  observed_alert_rate: 58 / 842, top_columns: { arr_delay: 3, dep_delay: 20 }, unreadable_rows: 0,
} as Partial<RunRecord> as RunRecord;

it('says a partition in plain words', () => {
  expect(inWords(run, false).join(' ')).toBe(
    '58 of 842 rows are anomalous (6.9%); at most 1% of normal rows would be. Most are worst in dep_delay (20), arr_delay (3).',
  );
  expect(inWords({ ...run, outcome: 'quarantined' }, false)[1]).toBe('Its 842 rows are in quarantine; none was scored.');
  expect(inWords({ ...run, alert_rate_of: 'alarms' }, false)[0]).toContain('at most 1% of alarms should be false');
});

it('calls what was not scored refused, whatever the verdict', () => {
  expect(verdictWord('unfamiliar', 'scored').text).toBe('Unfamiliar');
  expect(verdictWord('unfamiliar', 'refused').text).toBe('Refused');
});
