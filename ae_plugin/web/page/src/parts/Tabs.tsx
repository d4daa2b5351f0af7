export interface Tab {
  id: string;
  text: string;
  href: string;
}

/** Views of one thing, each with an address of its own. */
export function Tabs({ label, tabs, current }: { label: string; tabs: Tab[]; current: string }) {
  return (
    <nav className="tabs" aria-label={label}>
      {tabs.map((tab) => (
        <a key={tab.id} href={tab.href} aria-current={tab.id === current ? 'page' : undefined}>
          {tab.text}
        </a>
      ))}
    </nav>
  );
}
