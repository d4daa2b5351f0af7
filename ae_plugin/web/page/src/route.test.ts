import { expect, it } from 'vitest';
import { changed, href, parse, to } from './route';

it('comes back as it went', () => {
  const nasty = 'date=2013-01-29/h=<b>&?#%';
  const route = parse(to.partition('flights', nasty, { page: 2, column: 'a&b' }));
  expect(route.path).toEqual(['p', 'flights', 'partition']);
  expect(route.query.get('partition')).toBe(nasty);
  expect(route.query.get('column')).toBe('a&b');
});

it('keeps the empty partition and leaves out what is not set', () => {
  expect(to.partition('boards', '')).toBe('#/p/boards/partition?partition=');
  expect(href([], { q: null, page: undefined })).toBe('#/');
});

it('changes some of a route', () => {
  const route = parse('#/p/flights?page=3&sort=rate');
  expect(changed(route, { page: null, column: 'x' })).toBe('#/p/flights?sort=rate&column=x');
});

it('survives what nobody should have typed', () => {
  expect(parse('#/p/%E0%A4%A').path).toEqual(['p', '%E0%A4%A']);
  expect(parse('').path).toEqual([]);
});
