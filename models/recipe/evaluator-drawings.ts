// Every drawing that the judge of the composition benchmark learns from or is judged on: all sets as prepare.ts rendered them, the
// base sets in each processed style, and two styles at once. Those of an evaluated subject in an evaluated style are marked.
//   npx tsx evaluator-drawings.ts [--data data/128] [--out data/evaluator]
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { processed, processedStyles } from './processed-styles.ts';

type Drawing = { file: string; subject: string; style: string };
type Entry = { file: string; subject: string; set: string; styles: string[]; evaluated: boolean };

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(here, 'data/128') },
    out: { type: 'string', default: join(here, 'data/evaluator') },
  },
});
const load = <T>(path: string): T => JSON.parse(readFileSync(path, 'utf8')) as T;
const index = load<Drawing[] | { drawings: Drawing[] }>(join(values.data, 'index.json'));
const drawings = Array.isArray(index) ? index : index.drawings;
const pairs = load<{ subjects: string[]; judged: string[] }>(join(here, '../../test/bench/compose/pairs.json'));
const subjects = [...pairs.subjects, ...pairs.judged];
const { baseStyles } = load<{ baseStyles: string[] }>(join(here, 'holdout.json'));
const experts = load<{ styles: { name: string; set?: string }[] }>(join(here, 'experts.json'));
const drawn = new Map(experts.styles.flatMap(({ name, set }) => (set === undefined ? [] : [[set, name] as const])));

rmSync(values.out, { recursive: true, force: true });
mkdirSync(values.out, { recursive: true });
const entries: Entry[] = [];
let position = 0;
for (const { file, subject, style: set } of drawings) {
  const own = drawn.get(set);
  const source = join(values.data, file);
  const evaluated = (styles: string[]): boolean => styles.length > 0 && subjects.includes(subject);
  const put = (styles: string[], png: Buffer): void => {
    const name = `${set}-${subject}-${styles.join('-')}.png`.replace(/[^\w.-]+/g, '-');
    writeFileSync(join(values.out, name), png);
    entries.push({ file: name, subject, set, styles, evaluated: evaluated(styles) });
  };
  const base = own === undefined ? [] : [own];
  put(base, readFileSync(source));
  // A drawn style with a processed one over it: one of the three in turn, all of them for the judged subjects.
  const over = own !== undefined ? processedStyles : baseStyles.includes(set) ? processedStyles : [];
  for (const [i, style] of over.entries()) {
    if (own !== undefined && !subjects.includes(subject) && position % processedStyles.length !== i) continue;
    const once = await processed(source, style);
    put([...base, style], once);
    // Cells over lines or colours; the other order would lose the cells.
    if (style !== 'pixel' && own === undefined && (subjects.includes(subject) || position % 4 === 0)) {
      put([style, 'pixel'], await processed(once, 'pixel'));
    }
  }
  position++;
}
writeFileSync(join(values.out, 'index.json'), JSON.stringify(entries));
console.log(
  `${values.out}: ${entries.length} drawings, ${entries.filter((entry) => entry.evaluated).length} of them judged`,
);
