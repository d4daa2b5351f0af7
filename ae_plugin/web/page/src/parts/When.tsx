import { age, bothTimes, localTime, NONE } from '../format';

/** A time in the viewer's zone; its title has the zone, and UTC. */
export function When({ at }: { at: string | null }) {
  if (!at) return <>{NONE}</>;
  return (
    <time dateTime={at} title={bothTimes(at)}>
      {localTime(at)}
    </time>
  );
}

/** How long ago. */
export function Age({ at }: { at: string | null }) {
  if (!at) return <>{NONE}</>;
  return (
    <time dateTime={at} title={bothTimes(at)}>
      {age(at, Date.now())}
    </time>
  );
}
