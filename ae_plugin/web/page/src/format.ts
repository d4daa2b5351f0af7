// Numbers and times as people read them.

export const NONE = '–';

const counts = new Intl.NumberFormat('en');
const clock = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
const zoned = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'long' });

export function count(value: number | null | undefined): string {
  return value == null ? NONE : counts.format(value);
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A share as a percentage: two digits that matter, and never "100%" of what is not all. */
export function percent(share: number | null | undefined): string {
  if (share == null || !Number.isFinite(share)) return NONE;
  const value = share * 100;
  if (value === 0) return '0%';
  if (Math.abs(value) < 0.01) return '<0.01%';
  if (value > 99 && value < 100) return value >= 99.95 ? '>99.9%' : `${value.toFixed(1)}%`;
  return `${trim(Math.abs(value) >= 10 ? value.toFixed(0) : value.toPrecision(2))}%`;
}

/** A float of no known scale: three digits that matter. */
export function digits(value: number | null | undefined, significant = 3): string {
  if (value == null || !Number.isFinite(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 10 ** significant) return counts.format(Math.round(value));
  return size < 1e-4 ? value.toExponential(1) : trim(value.toPrecision(significant));
}

function trim(text: string): string {
  return text.includes('.') && !text.includes('e') ? text.replace(/\.?0+$/, '') : text;
}

export function bytes(value: number | null): string {
  if (value == null) return NONE;
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? count(size) : digits(size)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${digits(seconds, 2)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function localTime(iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? iso : clock.format(date);
}

/** For a title: the time with its zone, and the same in UTC. */
export function bothTimes(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return `${zoned.format(date)} = ${date.toISOString().replace(/\.\d+Z$/, 'Z')} (UTC)`;
}

export function age(iso: string, now: number): string {
  const hours = (now - new Date(iso).getTime()) / 3_600_000;
  if (!Number.isFinite(hours)) return NONE;
  if (hours < 1) return `${Math.max(0, Math.round(hours * 60))} min`;
  if (hours < 48) return `${Math.round(hours)} h`;
  return plural(Math.round(hours / 24), 'day');
}

export function partitionName(partition: string): string {
  return partition === '' ? 'whole source' : partition;
}

/** Of a partition of one key, the value: what differs along an axis. */
export function partitionTick(partition: string): string {
  return /^[^/=]+=[^/]*$/.test(partition) ? partition.slice(partition.indexOf('=') + 1) : partitionName(partition);
}

export function shortened(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
