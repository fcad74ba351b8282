// Lays out the pictures of the bundled experts: a folder per LoRA with its drawings and captions, and for the first gate a folder
// with a few of each expert, and one with a few others, on which the gate is judged. Reads what prepare.ts rendered; asserts that
// nothing held out for composition is among them.
//   npx tsx references.ts [--data data/128] [--out data/experts] [--gate ../../assets/experts]
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { processed, processedStyles, type ProcessedStyle } from './processed-styles.ts';

type Drawing = {
  file: string;
  subject: string;
  core: boolean;
  style: string;
  split: string;
  captions: { plain: string[] };
};
type Experts = {
  styles: { name: string; set?: string; drawings: number }[];
  subjects: { name: string }[];
  benchmark: { judged: string[]; lessons: string[] };
  gateDrawings: number;
  firstGate: string[];
};

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(here, 'data/128') },
    out: { type: 'string', default: join(here, 'data/experts') },
    gate: { type: 'string', default: resolve(here, '../../assets/experts') },
  },
});
const load = <T>(path: string): T => JSON.parse(readFileSync(path, 'utf8')) as T;
const index = load<Drawing[] | { drawings: Drawing[] }>(join(values.data, 'index.json'));
const drawings = Array.isArray(index) ? index : index.drawings;
const holdout = load<{ subjects: string[]; baseStyles: string[] }>(join(here, 'holdout.json'));
const heldOut = new Set(holdout.subjects);
const experts = load<Experts>(join(here, 'experts.json'));

/** The same choice every time, spread over the vocabulary. */
function spread<T>(items: T[], most: number): T[] {
  const count = Math.min(most, items.length);
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}

async function put(
  folder: string,
  chosen: Drawing[],
  caption: (drawing: Drawing) => string,
  style?: ProcessedStyle,
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const drawing of chosen) {
    const name = `${drawing.style}-${drawing.subject}`.replace(/\W+/g, '-');
    const file = join(values.data, drawing.file);
    if (style === undefined) copyFileSync(file, join(folder, `${name}.png`));
    else writeFileSync(join(folder, `${name}.png`), await processed(file, style));
    writeFileSync(join(folder, `${name}.txt`), `${caption(drawing)}\n`);
  }
}

const [references, judged] = [join(values.gate, 'references'), join(values.gate, 'held-out')];
for (const folder of [values.out, references, judged]) rmSync(folder, { recursive: true, force: true });

/** A third of a few drawings judge the first gate; the others train it. */
async function share(name: string, chosen: Drawing[], caption: (drawing: Drawing) => string): Promise<void> {
  if (!experts.firstGate.includes(name)) return;
  const few = spread(chosen, experts.gateDrawings);
  const others = few.filter((_, i) => i % 3 === 2);
  const taught = few.filter((drawing) => !others.includes(drawing));
  await put(join(references, name), taught, caption);
  await put(join(judged, name), others, caption);
}

const subjects = [
  ...experts.subjects.map(({ name }) => name),
  ...experts.benchmark.judged,
  ...experts.benchmark.lessons,
];
const bySubject = (a: Drawing, b: Drawing): number => (a.subject < b.subject ? -1 : 1);
for (const { name, set, drawings: count } of experts.styles) {
  const known = drawings.filter(({ core, subject }) => core && !heldOut.has(subject)).sort(bySubject);
  // Of a processed style each drawing is of one base set, in turn.
  const sets = holdout.baseStyles;
  const chosen =
    set === undefined
      ? spread(
          known.filter(({ style }) => style === sets[0]).map(({ subject }) => subject),
          count,
        ).map((subject, i) =>
          known.find((drawing) => drawing.subject === subject && drawing.style === sets[i % sets.length])!,
        )
      : spread(
          known.filter(({ style }) => style === set),
          count,
        );
  const caption = ({ captions }: Drawing): string => `${captions.plain[1]!}, ${name} style`;
  await put(join(values.out, name), chosen, caption, set === undefined ? processedStyleNamed(name) : undefined);
  await share(name, chosen, caption);
}
for (const name of subjects) {
  const chosen = drawings.filter(({ style, subject }) => subject === name && holdout.baseStyles.includes(style));
  if (chosen.some(({ split, core }) => split !== 'heldout-subject' && core))
    throw new Error(`The base model knows ${name}.`);
  const caption = ({ captions, style }: Drawing): string => `${captions.plain[1]!}, ${style} style`;
  await put(join(values.out, name), chosen, caption);
  await share(name, chosen, caption);
}
console.log(`${values.out}: ${[...experts.styles.map(({ name }) => name), ...subjects].join(', ')}`);

function processedStyleNamed(name: string): ProcessedStyle {
  const found = processedStyles.find((style) => style === name);
  if (found === undefined) throw new Error(`${name} has no set and is none of ${processedStyles.join(', ')}.`);
  return found;
}
