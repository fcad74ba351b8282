// Lays out what the composition benchmark needs beside the experts: the true drawings of the judged compositions, the drawings that
// teach composing gates (other subjects in the same styles), and those that teach a gate each expert alone, as the paper does.
//   npx tsx compositions.ts [--data data/128] [--truth ../../test/bench/compose/truth] [--lessons ../../assets/experts/compositions]
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { processed, processedStyles } from './processed-styles.ts';

type Drawing = { file: string; subject: string; style: string; captions: { plain: string[] } };
type Half = { pairs: string[][]; triples: string[][] };
type Pairs = {
  styles: string[];
  subjects: string[];
  taught: string[];
  lessons: string[];
  unseenStyle: string;
  validation: Half;
  test: Half;
};

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(here, 'data/128') },
    truth: { type: 'string', default: resolve(here, '../../test/bench/compose/truth') },
    lessons: { type: 'string', default: resolve(here, '../../assets/experts/compositions') },
    more: { type: 'string', default: resolve(here, '../../test/bench/compose/lessons') },
    alone: { type: 'string', default: resolve(here, '../../test/bench/compose/alone') },
    experts: { type: 'string', default: join(here, 'data/experts') },
  },
});
const load = <T>(path: string): T => JSON.parse(readFileSync(path, 'utf8')) as T;
const index = load<Drawing[] | { drawings: Drawing[] }>(join(values.data, 'index.json'));
const drawings = Array.isArray(index) ? index : index.drawings;
const pairs = load<Pairs>(join(here, '../../test/bench/compose/pairs.json'));
const { baseStyles } = load<{ baseStyles: string[] }>(join(here, 'holdout.json'));
const experts = load<{ styles: { name: string; set?: string }[] }>(join(here, 'experts.json'));
const setOf = new Map(experts.styles.map(({ name, set }) => [name, set]));

/** Every true drawing of `subject` in `styles`: a drawn set or the base sets, then processed in the order named. */
async function truths(subject: string, styles: string[]): Promise<{ name: string; png: Buffer; said: string }[]> {
  const [first, ...more] = styles;
  const set = setOf.get(first!);
  const sets = set === undefined ? baseStyles : [set];
  const found = [];
  for (const drawing of drawings.filter((one) => one.subject === subject && sets.includes(one.style))) {
    let png: Buffer = readFileSync(join(values.data, drawing.file));
    for (const style of set === undefined ? styles : more) {
      png = await processed(
        png,
        processedStyles.find((known) => known === style)!,
      );
    }
    found.push({ name: drawing.style, png, said: drawing.captions.plain[1]! });
  }
  return found;
}

const judged = [pairs.validation, pairs.test].flatMap((half) => [...half.pairs, ...half.triples]);
for (const folder of [values.truth, values.lessons, values.alone, values.more])
  rmSync(folder, { recursive: true, force: true });
for (const [subject, ...styles] of judged) {
  const folder = join(values.truth, [subject, ...styles].join('-'));
  mkdirSync(folder, { recursive: true });
  for (const { name, png } of await truths(subject!, styles)) writeFileSync(join(folder, `${name}.png`), png);
}
/** Pictures of every lesson: a drawn set has one drawing where a processed style has four, and each style counts alike. */
const perLesson = 4;

/** Writes a lesson into its folder: drawings and captions, as often as every other. */
function teach(
  name: string,
  found: { name: string; png: Buffer; said: string }[],
  styles: string[],
  into = values.lessons,
): void {
  const folder = join(into, name);
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < perLesson; i++) {
    const { name: set, png, said } = found[i % found.length]!;
    const file = join(folder, found.length < perLesson ? `${set}-${i + 1}` : set);
    writeFileSync(`${file}.png`, png);
    writeFileSync(`${file}.txt`, `${[said, ...styles.map((style) => `${style} style`)].join(', ')}\n`);
  }
}

const doubles = [...new Set(judged.filter((parts) => parts.length === 3).map(([, ...styles]) => styles.join(' ')))];
for (const subject of pairs.taught) {
  if (judged.some(([own]) => own === subject)) throw new Error(`${subject} is judged and cannot teach.`);
  // One style is left out of most gates (variants.ts), but has its lessons.
  const known = doubles.map((both) => both.split(' ')).filter((one) => !one.includes(pairs.unseenStyle));
  for (const styles of [...pairs.styles.map((style) => [style]), ...known]) {
    teach([subject, ...styles].join('-'), await truths(subject, styles), styles);
  }
}
// More subjects than the bundled ones, for the gates of the benchmark and the bundled gate of a subject and a style.
for (const subject of pairs.lessons) {
  for (const style of pairs.styles) {
    const found = await truths(subject, [style]);
    if (found.length > 0) teach(`${subject}-${style}`, found, [style], values.more);
  }
}
// Two styles at once, of subjects that the base model knows.
const everyday = ['cat', 'car', 'mushroom', 'house'];
for (const first of pairs.styles.filter((style) => style !== 'pixel')) {
  const found = [];
  for (const subject of everyday) found.push((await truths(subject, [first, 'pixel']))[0]);
  const drawn = found.flatMap((one, i) => (one === undefined ? [] : [{ ...one, name: everyday[i]! }]));
  teach(`${first}-pixel`, drawn, [first, 'pixel']);
}
// Four drawings of each expert by itself.
for (const name of [...pairs.styles, ...pairs.subjects, ...pairs.taught]) {
  const from = join(values.experts, name);
  const files = readdirSync(from)
    .filter((file) => file.endsWith('.png'))
    .sort();
  const to = join(values.alone, name);
  mkdirSync(to, { recursive: true });
  for (let i = 0; i < 4; i++) {
    const file = files[Math.floor((i * files.length) / 4)]!;
    for (const one of [file, file.replace('.png', '.txt')]) copyFileSync(join(from, one), join(to, one));
  }
}
console.log(
  `${judged.length} compositions in ${values.truth}, lessons in ${values.lessons}, single experts in ${values.alone}`,
);
