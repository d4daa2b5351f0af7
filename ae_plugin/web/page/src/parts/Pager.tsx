import { count } from '../format';

interface PagerProps {
  total: number;
  page: number;
  size: number;
  what: string;
  hrefOf: (page: number) => string;
}

/** Which part of a long list is shown, and the way to the others. */
export function Pager({ total, page, size, what, hrefOf }: PagerProps) {
  const last = Math.max(0, Math.ceil(total / size) - 1);
  if (total <= size && page === 0) return null;
  return (
    <nav className="pager" aria-label={`Pages of ${what}`}>
      {page > 0 ? <a href={hrefOf(page - 1)}>← Previous</a> : <span className="off">← Previous</span>}
      <span>
        {count(Math.min(page * size + 1, total))}–{count(Math.min((page + 1) * size, total))} of {count(total)} {what}
      </span>
      {page < last ? <a href={hrefOf(page + 1)}>Next →</a> : <span className="off">Next →</span>}
    </nav>
  );
}
