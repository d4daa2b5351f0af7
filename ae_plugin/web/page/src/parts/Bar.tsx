interface BarProps {
  share: number;
  text: string;
  tone?: 'now' | 'training' | 'calm';
}

/** A share as a bar, with its number beside it. */
export function Bar({ share, text, tone = 'now' }: BarProps) {
  const width = Math.min(100, Math.max(0, share * 100));
  return (
    <span className="bar">
      <span className="track" aria-hidden="true">
        <span className={`fill ${tone}`} style={{ width: `${width}%` }} />
      </span>
      <span className="number">{text}</span>
    </span>
  );
}
