import type { Shape } from '../words';

const PATHS: Record<Shape, string> = {
  check: 'M3 8.5l3.2 3.2L13 4.8',
  bell: 'M8 2L1.5 13.5h13zM8 6.5v3.2M8 11.4v.4',
  shift: 'M2 6h9M8.5 3L12 6l-3.5 3M14 11H5',
  stop: 'M5 1.8h6L14.2 5v6L11 14.2H5L1.8 11V5zM5.5 5.5l5 5M10.5 5.5l-5 5',
  dashed: 'M8 2a6 6 0 014.2 1.8M14 8a6 6 0 01-1.8 4.2M8 14a6 6 0 01-4.2-1.8M2 8a6 6 0 011.8-4.2',
  question: 'M5.5 5.6C5.5 2 11 2.400 11 5.600 11 8 8 7.800 8 10.200M8 13v.3',
};

/** A state's sign; the word beside it says the same. */
export function Icon({ shape }: { shape: Shape }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[shape]} />
    </svg>
  );
}
