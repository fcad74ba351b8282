// The programs that are measured, each in a process of its own: our built benchmarks, the command line, and Python's side.
import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';

export interface Measurement {
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
export type What = 'unet' | 'unet16' | 'vae' | 'text';

/** How to measure. */
export interface Setup {
  readonly rounds: number;
  readonly threads: string;
  /** Where the full-size random weights lie. */
  readonly folder: string;
  /** A Python with torch and diffusers. */
  readonly python: string;
}

/** The folder of the built benchmarks. */
export const built = import.meta.dirname;
export const root = resolve(built, '../..');
const bench = join(root, 'test/bench');
export const baseline = join(bench, 'baseline.py');

/** Python is looked for in ATELIER_BENCH_PYTHON, then python3. */
export function findPython(): string | undefined {
  return [process.env['ATELIER_BENCH_PYTHON'] ?? '', 'python3'].find((command) => {
    if (command === '') return false;
    try {
      execFileSync(command, ['-c', 'import torch, diffusers, transformers'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

export const text = (command: string, args: readonly string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1e8 });

/** The last line of a program's output, as JSON. */
export const lastJson = (output: string): unknown => JSON.parse(output.trim().split('\n').at(-1)!);

export const ours = ({ folder, threads }: Setup, what: What, count: number): Measurement =>
  lastJson(text(process.execPath, [join(built, 'measure.js'), what, folder, String(count), threads])) as Measurement;

export const theirs = ({ folder, threads, python }: Setup, what: What, count: number): Measurement =>
  lastJson(text(python, [baseline, what, folder, String(count), threads])) as Measurement;

/** Drops a checkpoint from the page cache; false where the system cannot. */
export function evict({ folder, python }: Setup, what: What): boolean {
  try {
    text(python, [baseline, 'evict', join(folder, what, 'diffusion_pytorch_model.safetensors')]);
    return true;
  } catch {
    return false;
  }
}

/** Writes the full-size random weights into the folder, where they are not there yet. */
export function makeWeights({ folder, python }: Setup): void {
  console.error(`Full-size random weights in ${folder}`);
  text(python, [join(bench, 'make_sd15.py'), folder]);
}

/** Builds the command line. */
export function buildCli(): void {
  execFileSync('npm', ['run', '--silent', 'build'], {
    cwd: root,
    stdio: 'ignore',
    shell: process.platform === 'win32',
  });
}

/** One command of it, from start to end. */
export function cli(...args: readonly string[]): { readonly wallMs: number; readonly output: string } {
  const start = performance.now();
  const output = text(process.execPath, [join(root, 'out/main/atelier.js'), ...args]);
  return { wallMs: performance.now() - start, output };
}
