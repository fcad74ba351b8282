// What is asked of every method: a subject in one style or two that no expert has seen together, with the true drawings.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../programs.ts';

export type Half = 'validation' | 'test';

export interface Composition {
  /** `fox-ink`, `penguin-ink-pixel`. */
  readonly name: string;
  readonly half: Half;
  readonly subject: string;
  readonly styles: readonly string[];
  readonly prompt: string;
  /** Files of true drawings. */
  readonly truth: readonly string[];
}

interface Pairs {
  readonly styles: readonly string[];
  readonly subjects: readonly string[];
  /** Of the test half. */
  readonly judged: readonly string[];
  /** Whose bundled LoRAs teach gates, and those that do so in the benchmark alone. */
  readonly taught: readonly string[];
  readonly lessons: readonly string[];
  readonly unseenStyle: string;
  readonly validation: Halves;
  readonly test: Halves;
  readonly seeds: readonly number[];
}
interface Halves {
  readonly pairs: readonly (readonly string[])[];
  readonly triples: readonly (readonly string[])[];
}

export const folder = join(root, 'test/bench/compose');
export const pairs = JSON.parse(readFileSync(join(folder, 'pairs.json'), 'utf8')) as Pairs;

/** The prompt that asks for a subject in styles, in the captions' words. */
export function promptFor(subject: string, styles: readonly string[]): string {
  const article = /^[aeiou]/.test(subject) ? 'an' : 'a';
  return [`${article} ${subject}`, ...styles.map((style) => `${style} style`)].join(', ');
}

/**
 * The stack of a composition with `unasked` further experts that the prompt does not ask for: a style, a subject, a style, a subject, the
 * next ones after those of the composition. With further ones the order is random, so that no place says who is asked for.
 */
export function stackOf(subject: string, styles: readonly string[], unasked = 0): readonly string[] {
  const group = [pairs.taught, pairs.lessons, pairs.subjects, pairs.judged].find((own) => own.includes(subject))!;
  const after = (names: readonly string[], name: string, step: number): string =>
    names[(names.indexOf(name) + step) % names.length]!;
  const asked = [subject, ...styles];
  if (unasked === 0) return asked;
  const further = Array.from({ length: unasked }, (_, i) => {
    const step = 1 + Math.floor(i / 2);
    return i % 2 === 0 ? after(pairs.styles, styles[0]!, step) : after(group, subject, step);
  });
  const rank = (name: string): string =>
    createHash('sha256')
      .update(`${asked.join('-')} ${name}`)
      .digest('hex');
  return [...asked, ...further].sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

/** A subject in one style, of the half that chooses. */
export const isValidationPair = ({ styles, half }: Composition): boolean =>
  styles.length === 1 && half === 'validation';

/** All compositions of both halves, pairs before triples. */
export function compositions(): readonly Composition[] {
  return (['validation', 'test'] as const).flatMap((half) =>
    [...pairs[half].pairs, ...pairs[half].triples].map(([subject, ...styles]): Composition => {
      const name = [subject, ...styles].join('-');
      const own = join(folder, 'truth', name);
      const truth = existsSync(own)
        ? readdirSync(own)
            .sort()
            .map((file) => join(own, file))
        : [];
      if (truth.length === 0)
        throw new Error(`${own} holds no true drawing: make them with models/recipe/compositions.ts.`);
      return { name, half, subject: subject!, styles, prompt: promptFor(subject!, styles), truth };
    }),
  );
}
