// `npm run bench`: ours and theirs in turn, each measurement in a fresh process, on the same full-size random weights.
// Writes RESULTS.md, section by section; `--only engine|experts|training|app` measures one and leaves the others as they were. Python with
// torch and diffusers is looked for in ATELIER_BENCH_PYTHON, then python3; without it, only the bundled model is measured.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { appRows } from './app-rows.ts';
import { networkRows, pictureRows } from './engine-rows.ts';
import { expertRows } from './expert-rows.ts';
import { buildCli, findPython, makeWeights, root, type Setup } from './programs.ts';
import { gigabytes, Table, writeSections } from './report.ts';
import { bundledRows, gradientRows } from './training-rows.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    folder: { type: 'string', default: join(tmpdir(), 'atelier-bench-sd15') },
    only: { type: 'string' },
  },
});
const { only, threads, folder } = values;
const headings = { engine: 'Engine', experts: 'Experts', training: 'Training', app: 'App' } as const;
if (only !== undefined && !Object.hasOwn(headings, only)) {
  throw new RangeError(`--only takes ${Object.keys(headings).join(', ')}, got ${only}.`);
}
const python = findPython();
const setup: Setup = { rounds: Number(values.rounds), threads, folder, python: python ?? '' };
if (python === undefined) {
  console.error(
    'No Python with torch, diffusers and transformers: the full-size weights cannot be made. Set ATELIER_BENCH_PYTHON.',
  );
} else if (only !== 'app') {
  mkdirSync(folder, { recursive: true });
  makeWeights(setup);
}
buildCli();
const scratch = mkdtempSync(join(tmpdir(), 'atelier-bench-'));
const measure: Readonly<Record<keyof typeof headings, (table: Table) => void | Promise<void>>> = {
  engine: (table) => {
    if (python !== undefined) networkRows(table, setup);
    pictureRows(table, scratch);
  },
  experts: (table) => {
    if (python !== undefined) expertRows(table, setup);
  },
  training: (table) => {
    if (python !== undefined) gradientRows(table, setup);
    bundledRows(table, setup, scratch);
  },
  app: (table) => appRows(table, setup.rounds),
};
const lock = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };
const sections: Record<string, string> = {};
try {
  for (const name of ['engine', 'experts', 'training', 'app'] as const) {
    if (only !== undefined && only !== name) continue;
    const table = new Table();
    await measure[name](table);
    const { rounds } = values;
    const command = `npm run bench -- --only ${name} --rounds ${rounds} --threads ${threads}`;
    const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} cores, ${gigabytes(totalmem())}`;
    const programs = `Node ${process.versions.node}, onnxruntime-node ${lock.dependencies['onnxruntime-node']}`;
    const other = table.versions === '' ? '' : `; ${table.versions}`;
    sections[headings[name]] = `Made by \`${command}\` on ${new Date().toISOString().slice(0, 10)}: ${machine},
${programs}${other}.

${table.text}`;
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
writeSections(
  join(root, 'test/bench/RESULTS.md'),
  `# Results

Full-size Stable Diffusion 1.5 with random weights, 512x512 where no size is named, batch 1, CPU, the same threads on both sides, float32
arithmetic. Each measurement is a fresh process; ours and theirs (diffusers, PEFT, PyTorch) alternate; medians, the first run of each
process left out. The ratio is ours to theirs: below 1 is faster or smaller. "Own" memory cannot be given back; "mapped" is the
checkpoint file itself, shared with other processes and evictable. The app is measured by itself: see its rows.
`,
  sections,
  Object.values(headings),
);
