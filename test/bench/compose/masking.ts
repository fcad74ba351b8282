// Masking in numbers: experts that are muted, or that nobody asks for, beside those that are heard.
import { Mixture } from '../../../src-main/engine/mixture.ts';
import { isValidationPair, pairs, promptFor, type Composition } from './compositions.ts';
import type { Bench, Served } from './methods.ts';
import { mixtureAt, search, spaces } from './search.ts';

/**
 * Experts that are muted or not asked for, without training again (the paper's Figures 6 and 8, in numbers): the stack holds the subject, the
 * style and perhaps the next style, and the picture is judged for what its prompt asks for.
 */
export function masking(bench: Bench, modelPath: string): readonly Served[] {
  const subjectAlone = (composition: Composition): Composition => ({
    ...composition,
    styles: [],
    prompt: promptFor(composition.subject, []),
  });
  const nextStyle = ([style]: readonly string[]): string =>
    pairs.styles[(pairs.styles.indexOf(style!) + 1) % pairs.styles.length]!;
  interface Masked {
    readonly id: string;
    readonly label: string;
    /** Places in the stack: subject, style, third. */
    readonly muted: readonly number[];
    readonly third?: boolean;
    readonly only?: boolean;
    readonly sum?: boolean;
  }
  const masked = ({ id, label, muted, third, only, sum }: Masked): Served => ({
    id: `masked-${id}`,
    label,
    kind: 'masked',
    serves: isValidationPair,
    ...(only === true ? { asks: subjectAlone } : {}),
    async mixture(_, { name, subject }) {
      const [, style] = pairs.validation.pairs.find((names) => names.join('-') === name)!;
      const names = [subject, style!, ...(third === true ? [nextStyle([style!])] : [])];
      const gated = await mixtureAt(bench, await search(bench, modelPath, spaces.full), names, muted);
      return sum === true ? new Mixture(gated.entries, { mode: 'sum' }) : gated;
    },
  });
  return [
    masked({ id: 'style', label: 'MoLE, style muted, subject asked for', muted: [1], only: true }),
    masked({ id: 'none-style', label: 'MoLE, nobody muted, subject asked for', muted: [], only: true }),
    masked({ id: 'sum', label: 'sum, nobody muted, subject asked for', muted: [], only: true, sum: true }),
    masked({ id: 'sum-style', label: 'sum, style muted, subject asked for', muted: [1], only: true, sum: true }),
    masked({ id: 'subject', label: 'MoLE, subject muted', muted: [0] }),
    masked({ id: 'third', label: 'MoLE, third expert muted', muted: [2], third: true }),
    masked({ id: 'none-third', label: 'MoLE, third expert heard', muted: [], third: true }),
    masked({ id: 'sum-third', label: 'sum, third expert heard', muted: [], third: true, sum: true }),
  ];
}
