import type { Word } from '../words';
import { Icon } from './Icon';

/** A state in a word and a sign, never in colour alone. */
export function Badge({ word }: { word: Word }) {
  return (
    <span className={`badge ${word.tone}`} title={word.meaning}>
      <Icon shape={word.shape} />
      {word.text}
    </span>
  );
}
