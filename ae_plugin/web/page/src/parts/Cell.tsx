import { useEffect, useRef } from 'react';
import { shortened } from '../format';
import type { WrongCell } from '../types';

const MOST = 80;

export function Text({ value }: { value: string | null }) {
  if (value === null) return <span className="null">null</span>;
  if (value === '') return <span className="null">empty</span>;
  return value.length > MOST ? <span title={value}>{shortened(value, MOST)}</span> : <span>{value}</span>;
}

/** A wrong cell: what stands there, struck through, and what the rest of its row asks for. */
export function ObservedExpected({ cell }: { cell: WrongCell }) {
  return (
    <span className="wrong">
      <span className="column" title={cell.column}>
        {cell.column}
      </span>
      <del>
        <span className="sr">observed </span>
        <Text value={cell.observed} />
      </del>
      <span aria-hidden="true">→</span>
      <ins>
        <span className="sr">expected </span>
        <Text value={cell.expected} />
      </ins>
    </span>
  );
}

interface CheckAllProps {
  label: string;
  all: boolean;
  some: boolean;
  onChange: (on: boolean) => void;
}

export function CheckAll({ label, all, some, onChange }: CheckAllProps) {
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (box.current) box.current.indeterminate = some && !all;
  }, [some, all]);
  return <input ref={box} type="checkbox" aria-label={label} checked={all} onChange={(event) => onChange(event.target.checked)} />;
}
