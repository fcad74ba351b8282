// Makes the bundled experts from the drawings, in one go: lays out pictures, trains every LoRA, draws its preview, writes its
// sidecar, trains the gates and writes the recipes. What is there already is left alone, so that an interrupted run goes on; remove
// a file to make it anew. Needs data/128 (npm run prepare-data -- --size 128) and the command line (npm run build in the root).
//   npx tsx make-experts.ts [--threads 2] [--out ../../assets/experts]
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

type Style = { name: string; set?: string; about: string };
type Subject = { name: string; rank: number };
/**
 * Of named experts; or for roles and taught by lessons: folders of assets/experts/compositions, or of the benchmark's, that are called
 * like their experts; or found by the search of the benchmark (test/bench/compose/search.ts).
 */
type Gate = { name: string } & (
  | { experts: string[]; images: string; flags: string[] }
  | { roles: string[]; lessons: string[]; steps: number }
  | { search: true }
);
type Recipe = { name: string; gate: string; experts: string[] };
type Experts = {
  styles: Style[];
  subjects: Subject[];
  benchmark: { judged: string[]; lessons: string[]; rank: number };
  gates: Gate[];
  roleFlags: string[];
  recipes: Recipe[];
};

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '2' },
    out: { type: 'string', default: join(root, 'assets/experts') },
  },
});
const { styles, subjects, benchmark, gates, roleFlags, recipes } = JSON.parse(
  readFileSync(join(here, 'experts.json'), 'utf8'),
) as Experts;
const mostBytes = 1_000_000;

function atelier(...args: string[]): void {
  execFileSync(process.execPath, [join(root, 'out/main/atelier.js'), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

function tsx(script: string): void {
  execFileSync(process.execPath, ['--import', 'tsx', join(here, script)], { cwd: here, stdio: 'inherit' });
}

const file = (name: string, ending: string): string => join(values.out, `${name}${ending}`);

/** A LoRA from data/experts/<name>, with the settings that suit the bundled model. */
function lora(name: string, trigger: string, rank: number, steps: number, into = values.out): void {
  const output = join(into, `${name}.safetensors`);
  if (existsSync(output)) return;
  const training = ['--rank', String(rank), '--steps', String(steps), '--batch', '4', '--lr', '2e-3', '--mirror'];
  const images = join(here, 'data/experts', name);
  atelier(
    'train-lora',
    '--images',
    images,
    '--trigger',
    trigger,
    ...training,
    '--threads',
    values.threads,
    '--out',
    output,
  );
  const { size } = statSync(output);
  if (size > mostBytes) throw new Error(`${output} has ${size} bytes, more than ${mostBytes}.`);
}

/** What the LoRA itself draws, as the picture beside it, and what A1111's editor would have noted. */
function sidecars(name: string, prompt: string, seed: number, trigger: string, description: string): void {
  if (!existsSync(file(name, '.png'))) {
    const scratch = mkdtempSync(join(tmpdir(), 'atelier-preview-'));
    const drawing = ['--steps', '20', '--cfg', '4', '--seed', String(seed), '--threads', values.threads];
    atelier('generate', '--prompt', prompt, '--expert', file(name, '.safetensors'), ...drawing, '--out', scratch);
    const picture = readdirSync(scratch).find((one) => one.endsWith('.png'))!;
    copyFileSync(join(scratch, picture), file(name, '.png'));
    rmSync(scratch, { recursive: true });
  }
  const notes = {
    description,
    'sd version': 'Unknown',
    'activation text': trigger,
    'preferred weight': 1,
    notes: 'For models/atelier-mini.',
  };
  writeFileSync(file(name, '.json'), `${JSON.stringify(notes, undefined, 2)}\n`);
}

tsx('references.ts');
tsx('compositions.ts');
for (const { name, about } of styles) {
  lora(name, `${name} style`, 8, 900);
  sidecars(
    name,
    `a cat, ${name} style`,
    5,
    `${name} style`,
    `A style for the bundled model: ${about}. Never shown to the base model.`,
  );
}
for (const { name, rank } of subjects) {
  lora(name, name, rank, 400);
  const article = /^[aeiou]/.test(name) ? 'an' : 'a';
  const about = `A subject for the bundled model: ${article} ${name}, from four drawings. Never shown to the base model.`;
  sidecars(name, `${article} ${name}, noto style`, 5, name, about);
}
// Those of the benchmark alone.
const judging = join(root, 'test/bench/compose/experts');
mkdirSync(judging, { recursive: true });
for (const name of [...benchmark.lessons, ...benchmark.judged]) lora(name, name, benchmark.rank, 400, judging);
/** Where a LoRA or a gate lies. */
const fileOf = (name: string): string =>
  benchmark.lessons.includes(name) ? join(judging, `${name}.safetensors`) : file(name, '.safetensors');
/** `--expert` and `--images` of the first lesson, `--also` of the others. */
function lessonFlags(roles: string[], lessons: string[], steps: number): string[] {
  const stacks = lessons.map((lesson) => ({
    experts: lesson.split('-').map(fileOf),
    images: benchmark.lessons.includes(lesson.split('-')[0]!)
      ? join(judging, '../lessons', lesson)
      : join(values.out, 'compositions', lesson),
  }));
  const [first, ...others] = stacks;
  return [
    ...roles.flatMap((role) => ['--role', role]),
    ...first!.experts.flatMap((expert) => ['--expert', expert]),
    ...['--images', first!.images],
    ...others.flatMap(({ experts, images }) => ['--also', `${experts.join(',')}=${images}`]),
    ...roleFlags,
    ...['--steps', String(steps)],
  ];
}
for (const gate of gates) {
  const output = file(gate.name, '.mole.safetensors');
  if (existsSync(output)) continue;
  if ('search' in gate) {
    execFileSync('npx', ['vite', 'build', '--config', 'test/bench/vite.config.ts', '--logLevel', 'warn'], {
      cwd: root,
    });
    execFileSync(process.execPath, [join(root, 'out/bench/search.js'), 'full', '0', '1', output], { stdio: 'inherit' });
    continue;
  }
  const flags =
    'roles' in gate
      ? lessonFlags(gate.roles, gate.lessons, gate.steps)
      : [
          ...gate.experts.flatMap((one) => ['--expert', fileOf(one)]),
          '--images',
          join(values.out, gate.images),
          ...gate.flags,
        ];
  atelier('train-gate', ...flags, '--threads', values.threads, '--out', output);
}
for (const { name, gate, experts } of recipes) {
  const output = file(name, '.mole.json');
  if (existsSync(output)) continue;
  // Weights and shares stand behind colons.
  const stack = experts.flatMap((expert) => {
    const [own, ...settings] = expert.split(':');
    return ['--expert', [fileOf(own!), ...settings].join(':')];
  });
  atelier('recipe', ...stack, '--mode', 'mole', '--gate', fileOf(`${gate}.mole`), '--out', output);
}
