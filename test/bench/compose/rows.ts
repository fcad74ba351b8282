// What the report is made of.
import type { Method, Training } from './methods.ts';
import type { Half } from './compositions.ts';
import type { Score } from './score.ts';

/** A method and how its pictures were judged. */
export interface Row extends Pick<Method, 'id' | 'label' | 'kind'> {
  readonly training?: Training;
  readonly scores: Readonly<Record<Half, readonly Score[]>>;
}

/** A section of its own. */
export interface Ablation {
  readonly title: string;
  readonly text: string;
}
