// Lays out the pictures of the bundled experts: a folder per LoRA with its drawings and captions, a folder with a few of each for
// the gate, and one with a few others, on which the gate is judged. Reads what prepare.ts rendered; asserts that nothing held out
// for composition is among them.
//   npx tsx references.ts [--data data/128] [--out data/experts] [--gate ../../assets/experts]
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

type Drawing = {
  file: string;
  subject: string;
  core: boolean;
  style: string;
  split: string;
  captions: { plain: string[] };
};
type Experts = {
  styles: { name: string; set: string; drawings: number }[];
  subjects: { name: string; sets: string[] }[];
  gateDrawings: number;
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
const heldOut = new Set(load<{ subjects: string[] }>(join(here, 'holdout.json')).subjects);
const experts = load<Experts>(join(here, 'experts.json'));

/** The same choice every time, spread over the vocabulary. */
function spread<T>(items: T[], most: number): T[] {
  const count = Math.min(most, items.length);
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}

function put(folder: string, chosen: Drawing[], caption: (drawing: Drawing) => string): void {
  mkdirSync(folder, { recursive: true });
  for (const drawing of chosen) {
    const name = `${drawing.style}-${drawing.subject}`.replace(/\W+/g, '-');
    copyFileSync(join(values.data, drawing.file), join(folder, `${name}.png`));
    writeFileSync(join(folder, `${name}.txt`), `${caption(drawing)}\n`);
  }
}

const [references, judged] = [join(values.gate, 'references'), join(values.gate, 'held-out')];
for (const folder of [values.out, references, judged]) rmSync(folder, { recursive: true, force: true });

/** A third of a few drawings judge the gate; the others train it. */
function share(name: string, chosen: Drawing[], caption: (drawing: Drawing) => string): void {
  const few = spread(chosen, experts.gateDrawings);
  const others = few.filter((_, i) => i % 3 === 2);
  put(
    join(references, name),
    few.filter((drawing) => !others.includes(drawing)),
    caption,
  );
  put(join(judged, name), others, caption);
}

for (const { name, set, drawings: count } of experts.styles) {
  const known = drawings
    .filter(({ style, core, subject }) => style === set && core && !heldOut.has(subject))
    .sort((a, b) => (a.subject < b.subject ? -1 : 1));
  const chosen = spread(known, count);
  const caption = ({ captions }: Drawing): string => `${captions.plain[1]!}, ${name} style`;
  put(join(values.out, name), chosen, caption);
  share(name, chosen, caption);
}
for (const { name, sets } of experts.subjects) {
  const chosen = drawings.filter(({ style, subject }) => subject === name && sets.includes(style));
  if (chosen.some(({ split }) => split !== 'heldout-subject')) throw new Error(`${name} is no held-out subject.`);
  const caption = ({ captions, style }: Drawing): string => `${captions.plain[1]!}, ${style} style`;
  put(join(values.out, name), chosen, caption);
  share(name, chosen, caption);
}
console.log(`${values.out}: ${[...experts.styles, ...experts.subjects].map(({ name }) => name).join(', ')}`);
