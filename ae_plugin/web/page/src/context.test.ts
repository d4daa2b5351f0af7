import { expect, it } from 'vitest';
import { asked } from './context';

it('leaves out what Airflow did not fill in', () => {
  expect(asked('?dag_id=flights__score&run_id={RUN_ID}&map_index=-1')).toEqual({ dag_id: 'flights__score', map_index: '-1' });
  expect(asked('')).toBeNull();
  expect(asked('?dag_id={DAG_ID}')).toBeNull();
});
