import { bothTimes, NONE } from '../format';
import type { FeedbackMark } from '../types';
import { MARKED } from '../words';

/** The last word that a person said on a row. */
export function Marked({ mark }: { mark: FeedbackMark | null }) {
  if (mark === null) return <span className="faint">{NONE}</span>;
  return (
    <span title={`${mark.who ?? 'somebody'}, ${bothTimes(mark.when)}`}>
      <span className={`tag ${mark.verdict}`}>{MARKED[mark.verdict]}</span>
      {mark.column !== null && <span className="faint name"> on {mark.column}</span>}
      <span className="faint"> by {mark.who ?? 'somebody'}</span>
      {mark.note !== null && <span className="said">“{mark.note}”</span>}
    </span>
  );
}
