import { type ReactNode, useEffect, useRef } from 'react';

interface HeadingProps {
  title: string;
  children?: ReactNode;
}

let first = true;

/** A view's title; it takes the focus when the view changes, so that keyboards and readers start there. */
export function Heading({ title, children }: HeadingProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Anomalies`;
    if (!first) heading.current?.focus({ preventScroll: true });
    first = false;
  }, [title]);
  return (
    <div className="title">
      <h1 ref={heading} tabIndex={-1} title={title}>
        {title}
      </h1>
      {children}
    </div>
  );
}
