import { describe, expect, it } from 'vitest';
import { age, bytes, digits, duration, partitionName, percent, plural } from './format';

describe('percent', () => {
  it.each([
    [null, '–'],
    [0, '0%'],
    [0.00001, '<0.01%'],
    [0.009301, '0.93%'],
    [0.01, '1%'],
    [0.0689, '6.9%'],
    [0.1234, '12%'],
    [0.9996, '>99.9%'],
    [1, '100%'],
  ])('%s is %s', (share, text) => expect(percent(share)).toBe(text));
});

describe('digits', () => {
  it.each([
    [0, '0'],
    [0.0167, '0.0167'],
    [3.1, '3.1'],
    [0.0000123, '1.2e-5'],
    [1234567.8, '1,234,568'],
    [Number.NaN, '–'],
  ])('%s is %s', (value, text) => expect(digits(value)).toBe(text));
});

it('has units', () => {
  expect(bytes(21217)).toBe('21.2 kB');
  expect(duration(0.521)).toBe('0.52 s');
  expect(duration(5400)).toBe('1 h 30 min');
  expect(plural(1, 'row')).toBe('1 row');
  expect(plural(1200, 'row')).toBe('1,200 rows');
  expect(age('2026-01-01T00:00:00Z', Date.UTC(2026, 0, 4))).toBe('3 days');
  expect(partitionName('')).toBe('whole source');
});
