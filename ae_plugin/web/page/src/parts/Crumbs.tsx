export interface Crumb {
  text: string;
  href?: string;
}

/** Where we are, and the way back up. */
export function Crumbs({ crumbs }: { crumbs: Crumb[] }) {
  if (crumbs.length === 0) return null;
  return (
    <nav className="crumbs" aria-label="Breadcrumb">
      <ol>
        {crumbs.map((crumb, index) => (
          <li key={index}>
            {crumb.href === undefined ? (
              <span aria-current="page" title={crumb.text}>
                {crumb.text}
              </span>
            ) : (
              <a href={crumb.href} title={crumb.text}>
                {crumb.text}
              </a>
            )}
          </li>
        ))}
      </ol>
    </nav>
  );
}
