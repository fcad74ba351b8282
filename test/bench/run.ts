// `npm run bench`: ours and diffusers in turn, each measurement in a fresh process, on the same full-size random weights.
// Writes RESULTS.md. Python with torch and diffusers is looked for in ATELIER_BENCH_PYTHON, then python3; without it, ours alone.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

interface Measurement {
  readonly openMs: number;
  /** From nothing loaded to the end of the first run. */
  readonly firstMs: number;
  readonly runsMs: readonly number[];
  readonly peakBytes: number;
  readonly anonymousBytes?: number;
  readonly mappedBytes?: number;
  readonly weightBytes?: number;
  readonly versions?: string;
}
type What = 'unet' | 'unet16' | 'vae' | 'text';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    folder: { type: 'string', default: join(tmpdir(), 'atelier-bench-sd15') },
  },
});
const here = import.meta.dirname;
const root = resolve(here, '../..');
const bench = join(root, 'test/bench');
const rounds = Number(values.rounds);
const python = ['ATELIER_BENCH_PYTHON' in process.env ? process.env['ATELIER_BENCH_PYTHON']! : '', 'python3'].find(
  (command) => {
    if (command === '') return false;
    try {
      execFileSync(command, ['-c', 'import torch, diffusers, transformers'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  },
);

const text = (command: string, args: readonly string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1e8 });
const lastJson = (output: string): Measurement => JSON.parse(output.trim().split('\n').at(-1)!) as Measurement;
const ours = (what: What, count: number): Measurement =>
  lastJson(text(process.execPath, [join(here, 'measure.js'), what, values.folder, String(count), values.threads]));
const theirs = (what: What, count: number): Measurement =>
  lastJson(text(python!, [join(bench, 'baseline.py'), what, values.folder, String(count), values.threads]));
/** Drops a checkpoint from the page cache; false where the system cannot. */
const evict = (what: What): boolean => {
  try {
    text(python!, [
      join(bench, 'baseline.py'),
      'evict',
      join(values.folder, what, 'diffusion_pytorch_model.safetensors'),
    ]);
    return true;
  } catch {
    return false;
  }
};

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};
const seconds = (ms: number): string => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`);
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

const rows: string[] = [];
const row = (
  what: string,
  mine: string,
  other: string,
  ratio: number | undefined,
  target: string,
  met?: boolean,
): void => {
  const shown = ratio === undefined ? '' : ratio.toFixed(2);
  rows.push(
    `| ${what} | ${mine} | ${other} | ${shown} | ${target} | ${met === undefined ? '' : met ? 'yes' : '**no**'} |`,
  );
  console.log(rows.at(-1));
};

if (python === undefined) {
  console.error(
    'No Python with torch, diffusers and transformers: the full-size weights cannot be made. Set ATELIER_BENCH_PYTHON.',
  );
} else {
  mkdirSync(values.folder, { recursive: true });
  console.error(`Full-size random weights in ${values.folder}`);
  text(python, [join(bench, 'make_sd15.py'), values.folder]);
}

let versions = '';
if (python !== undefined) {
  for (const [what, name] of [
    ['unet', 'UNet step, float32 file'],
    ['unet16', 'UNet step, float16 file'],
  ] as const) {
    // Cold first, then both in turn on a warm cache: A B A B.
    const cold = evict(what);
    const coldOurs = ours(what, 1);
    evict(what);
    const coldTheirs = theirs(what, 1);
    const mine: Measurement[] = [];
    const other: Measurement[] = [];
    for (let i = 0; i < 2; i++) {
      mine.push(ours(what, rounds));
      other.push(theirs(what, rounds));
    }
    versions = other[0]!.versions ?? '';
    const [a, b] = [median(mine.flatMap((m) => m.runsMs)), median(other.flatMap((m) => m.runsMs))];
    row(name, seconds(a), seconds(b), a / b, '1.0 (aim 0.7)', a / b <= 1);
    const weights = mine[0]!.weightBytes!;
    const [peak, peakTheirs] = [Math.max(...mine.map((m) => m.peakBytes)), Math.max(...other.map((m) => m.peakBytes))];
    const split = ` (${gigabytes(mine[0]!.anonymousBytes ?? 0)} own, ${gigabytes(mine[0]!.mappedBytes ?? 0)} mapped from the file)`;
    row('— peak memory', gigabytes(peak) + split, gigabytes(peakTheirs), peak / peakTheirs, '');
    row(
      '— peak against the float32 weights',
      (peak / weights).toFixed(2),
      (peakTheirs / weights).toFixed(2),
      undefined,
      '1.25',
      peak / weights <= 1.25,
    );
    const warm = [median(mine.map((m) => m.openMs)), median(other.map((m) => m.openMs))];
    row('— open, warm cache', seconds(warm[0]!), seconds(warm[1]!), warm[0]! / warm[1]!, '');
    row(
      cold ? '— cold file to the end of the first step' : '— first step (the page cache could not be emptied)',
      seconds(coldOurs.firstMs),
      seconds(coldTheirs.firstMs),
      coldOurs.firstMs / coldTheirs.firstMs,
      '',
    );
  }
  for (const [what, name] of [
    ['vae', 'VAE decode, 64x64 latents'],
    ['text', 'Text encode, 77 tokens'],
  ] as const) {
    const mine: Measurement[] = [];
    const other: Measurement[] = [];
    for (let i = 0; i < 2; i++) {
      mine.push(ours(what, rounds));
      other.push(theirs(what, rounds));
    }
    const [a, b] = [median(mine.flatMap((m) => m.runsMs)), median(other.flatMap((m) => m.runsMs))];
    row(name, seconds(a), seconds(b), a / b, '');
    const [peak, peakTheirs] = [Math.max(...mine.map((m) => m.peakBytes)), Math.max(...other.map((m) => m.peakBytes))];
    row('— peak memory', gigabytes(peak), gigabytes(peakTheirs), peak / peakTheirs, '');
  }
}

if (python !== undefined) {
  type Times = Readonly<Record<string, readonly number[]>>;
  const experts = lastJson(
    text(process.execPath, [join(here, 'measure-experts.js'), values.folder, values.rounds, values.threads]),
  ) as unknown as Times;
  const peft = lastJson(
    text(python, [join(bench, 'baseline.py'), 'peft', values.folder, values.rounds, values.threads]),
  ) as unknown as Times;
  const plain = median(experts['plain']!);
  const ratio = (name: string): number => median(experts[name]!) / plain;
  row('UNet step without experts, in the run below', seconds(plain), seconds(median(peft['plain']!)), undefined, '');
  for (const [name, what, target] of [
    ['mole3', '— three rank-16 experts, MoLE gates (pooled, block): against the step without', 1.12],
    ['mole6', '— six', 1.2],
    ['sum3', '— three, plain sum', undefined],
    ['naive3', "— three, gates in the paper's naive form", undefined],
  ] as const) {
    const met = target === undefined ? undefined : ratio(name) <= target;
    row(
      what,
      `${seconds(median(experts[name]!))}, ${ratio(name).toFixed(3)}x`,
      '',
      undefined,
      target === undefined ? '' : `${target}x`,
      met,
    );
  }
  const peftRatio = median(peft['peft3']!) / median(peft['plain']!);
  row(
    '— three, plain sum, diffusers with PEFT: against its own step without',
    '',
    `${seconds(median(peft['peft3']!))}, ${peftRatio.toFixed(3)}x`,
    undefined,
    '',
  );
}

const scratch = mkdtempSync(join(tmpdir(), 'atelier-bench-'));
const cli = (...args: readonly string[]): { readonly wallMs: number; readonly output: string } => {
  const start = performance.now();
  const output = text(process.execPath, [join(root, 'out/main/atelier.js'), ...args]);
  return { wallMs: performance.now() - start, output };
};
execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'ignore', shell: process.platform === 'win32' });
const pictures = Array.from({ length: 5 }, (_, seed) =>
  cli(
    'generate',
    '--prompt',
    'a red apple, noto style',
    '--cfg',
    '5',
    '--seed',
    String(seed),
    '--out',
    scratch,
    '--json',
  ),
);
const wall = median(pictures.map(({ wallMs }) => wallMs));
const inside = median(
  pictures.map(({ output }) => {
    const result = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; result?: { timings: { totalMs: number } } });
    return result.find(({ kind }) => kind === 'result')!.result!.timings.totalMs;
  }),
);
row(
  'Bundled model: a picture, 20 steps with CFG, in the engine',
  seconds(inside),
  '',
  undefined,
  '4 s',
  inside <= 4000,
);
row('— the same as a whole command', seconds(wall), '', undefined, '4 s', wall <= 4000);
const demo = cli('demo', '--device', 'cpu', '--out', join(scratch, 'demo'));
row('`npm run demo` after the build', seconds(demo.wallMs), '', undefined, '60 s', demo.wallMs <= 60_000);
rmSync(scratch, { recursive: true, force: true });

const lock = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };
const command = `npm run bench -- --rounds ${values.rounds} --threads ${values.threads}`;
writeFileSync(
  join(bench, 'RESULTS.md'),
  `# Results

Made by \`${command}\` on ${new Date().toISOString().slice(0, 10)}: ${cpus()[0]?.model.trim()}, ${cpus().length} cores, ${gigabytes(totalmem())},
Node ${process.versions.node}, onnxruntime-node ${lock.dependencies['onnxruntime-node']}${versions === '' ? '' : `; ${versions}`}.

Full-size Stable Diffusion 1.5 with random weights, 512x512, batch 1, CPU, ${values.threads} threads on both sides, float32 arithmetic. Each
measurement is a fresh process; ours and diffusers' alternate; medians of ${2 * (rounds - 1)} runs, the first of each process left out. The ratio is
ours to theirs: below 1 is faster or smaller. "Own" memory cannot be given back; "mapped" is the checkpoint file itself, shared with
other processes and evictable.

| what | ours | diffusers | ratio | target | met |
|---|---|---|---|---|---|
${rows.join('\n')}
`,
);
