// Experts from sample pictures to one baked file, as an artist runs it: the real command line and the real engine in processes of
// their own, on the bundled model. Killed, interrupted and asked wrongly on the way.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { TrainEvent, TrainResult } from '../../src-main/contract/training.ts';
import { decodePicture, encodePicture } from '../../src-main/formats/png.ts';
import { readSafetensorsHeader, readTensor } from '../../src-main/formats/safetensors.ts';
import { maskedGateAlone } from '../support/tolerances.ts';
import { until } from '../support/wait.ts';

const root = resolve(import.meta.dirname, '../..');
/** A copy of the build where its packages and the bundled model are found, so that a build at the same time takes nothing away. */
const program = join(root, `node_modules/.cache/atelier-training-${process.pid}`);
const hasModel = existsSync(join(root, 'models/atelier-mini/unet/diffusion_pytorch_model.safetensors'));
if (!hasModel) console.log('Skipped: models/atelier-mini is not here, so nothing can be trained.');

let folder: string;
const running: ChildProcess[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-training-'));
  cpSync(join(root, 'out/main'), program, { recursive: true });
});
afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});
afterAll(() => {
  for (const path of [folder, program]) rmSync(path, { recursive: true, force: true });
});

interface Started {
  readonly child: ChildProcess;
  readonly output: { stdout: string; stderr: string };
  readonly code: Promise<number | null>;
  /** Resolves when `text` was printed, or the process has ended. */
  readonly printed: (text: string) => Promise<void>;
}

function start(...args: readonly string[]): Started {
  const child = spawn(process.execPath, [join(program, 'atelier.js'), ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const code = new Promise<number | null>((done) => child.once('close', done));
  const printed = (text: string): Promise<void> =>
    new Promise((done) => {
      const look = (): void => {
        if (output.stdout.includes(text) || output.stderr.includes(text)) done();
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      void code.then(() => {
        done();
      });
      look();
    });
  return { child, output, code, printed };
}

async function run(...args: readonly string[]) {
  const { output, code } = start(...args);
  return { code: await code, ...output };
}

type Line =
  | { readonly kind: 'event'; readonly event: TrainEvent }
  | {
      readonly kind: 'result';
      readonly result: TrainResult & { readonly gates?: readonly { readonly mean: number }[] };
    }
  | { readonly kind: 'failure'; readonly failure: { readonly kind: string; readonly message: string } };
const jsonLines = (stdout: string): Line[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

/** Loss by update. */
const curveOf = (stdout: string): ReadonlyMap<number, number> =>
  new Map(
    jsonLines(stdout).flatMap((line) =>
      line.kind === 'event' && line.event.kind === 'update' ? [[line.event.step, line.event.loss] as const] : [],
    ),
  );

async function tensorsOf(path: string): Promise<ReadonlyMap<string, unknown>> {
  const { tensors } = await readSafetensorsHeader(path);
  const read = [...tensors].map(async ([name, ref]) => [name, (await readTensor(ref)).data] as const);
  return new Map(await Promise.all(read));
}

/** Squares of one colour on another: nothing that the base model draws. */
async function paint(name: string, square: readonly number[], ground: readonly number[]): Promise<void> {
  mkdirSync(join(folder, name));
  for (const at of [20, 50]) {
    const rgb = new Uint8Array(128 * 128 * 3);
    for (let i = 0; i < 128 * 128; i++) {
      const [x, y] = [i % 128, Math.floor(i / 128)];
      rgb.set(x > at && x < at + 50 && y > at && y < at + 50 ? square : ground, 3 * i);
    }
    const bytes = await encodePicture({ width: 128, height: 128, rgb }, { format: 'png' }, undefined);
    writeFileSync(join(folder, name, `${at}.png`), bytes);
    writeFileSync(join(folder, name, `${at}.txt`), `a square, ${name}`);
  }
}

/** Mean difference of two drawings, in steps of 0..255. */
async function difference(a: string, b: string): Promise<number> {
  const [left, right] = [(await decodePicture(a)).rgb, (await decodePicture(b)).rgb];
  return left.reduce((sum, value, i) => sum + Math.abs(value - right[i]!), 0) / left.length;
}

async function draw(...args: readonly string[]) {
  const drawn = await run('generate', '--prompt', 'a square, blue', '--steps', '3', '--seed', '1', ...args);
  expect(drawn).toMatchObject({ code: 0 });
  return { path: drawn.stdout.trim(), stderr: drawn.stderr };
}

const quick = ['--steps', '4', '--batch', '1'] as const;

describe.skipIf(!hasModel)('from pictures to one file', { timeout: 180_000 }, () => {
  const both = ['--expert', 'blue.safetensors', '--expert', 'red.safetensors'] as const;
  const gate = ['--gate', 'blue-red.mole.safetensors'] as const;

  beforeAll(async () => {
    await paint('blue', [250, 220, 40], [30, 60, 200]);
    await paint('red', [20, 20, 20], [220, 40, 30]);
  });

  it('three flags train a LoRA, named after the folder', async () => {
    const { code, stdout, stderr } = await run('train-lora', '--images', 'blue', '--rank', '2', '--steps', '4');
    expect(code).toBe(0);
    expect(stdout).toBe(`${join(folder, 'blue.safetensors')}\n`);
    expect(stderr).toMatch(/^4 updates on 2 pictures in 0:\d\d on cpu\. Loss [\d.]+ -> [\d.]+ [▁-█]{4}\./m);
    const { tensors } = await readSafetensorsHeader(join(folder, 'blue.safetensors'));
    const downs = [...tensors].filter(([name]) => name.endsWith('.lora_down.weight'));
    expect(new Set(downs.map(([, { shape }]) => shape[0]))).toEqual(new Set([2]));
  });

  it('--json lines parse, and the last one is the result', async () => {
    const strong = ['--lr', '0.02', '--warmup', '0', '--rank', '2', '--caption-dropout', '0'];
    const { code, stdout, stderr } = await run('train-lora', '--images', 'red', ...strong, ...quick, '--json');
    expect([code, stderr]).toEqual([0, '']);
    const lines = jsonLines(stdout);
    expect(lines.filter(({ kind }) => kind === 'event').length).toBe(lines.length - 1);
    expect(lines.at(-1)).toMatchObject({
      kind: 'result',
      result: { path: join(folder, 'red.safetensors'), ended: 'finished', steps: 4, pictures: 2 },
    });
    expect([...curveOf(stdout).keys()]).toEqual([1, 2, 3, 4]);
  });

  it('three flags train a gate over two of them, and say who is heard', async () => {
    const { code, stdout, stderr } = await run('train-gate', ...both, '--images', 'blue', ...quick);
    expect(code).toBe(0);
    expect(stdout).toBe(`${join(folder, 'blue-red.mole.safetensors')}\n`);
    expect(stderr).toMatch(/^Heard on average: blue 0\.\d\d, red 0\.\d\d; /m);
  });

  it('inspect says whom the gate mixes and how it was trained', async () => {
    const { stdout } = await run('inspect', 'blue-red.mole.safetensors');
    expect(stdout).toMatch(/gates over 2 experts: blue, red\./);
    expect(stdout).toMatch(/experts +blue {2}\(sha256 [0-9a-f]{64}\)\n +red {2}\(sha256 [0-9a-f]{64}\)/);
    expect(stdout).toMatch(/granularity block: .*\n +form +pooled: .*\n +amplitude +convex: /);
    expect(stdout).toMatch(/training +4 updates on 2 pictures\n +loss +denoise, [\d.]+ -> [\d.]+\n/);
  });

  it('the gate, the plain sum and a mask each draw another picture; the map of the gates comes with the gate alone', async () => {
    const mixed = await draw(...both, ...gate, '--out', 'mixed.png');
    const sum = await draw(...both, '--mode', 'sum', '--out', 'sum.png');
    const masked = await draw(...both, ...gate, '--mask', '0,1', '--out', 'masked.png');
    const alone = await draw('--expert', 'red.safetensors', '--out', 'alone.png');
    expect(mixed.stderr).toMatch(/Who spoke where.*\n +blue +red\nIN01 +[█░]{8} 0\.\d\d +[█░]{8} 0\.\d\d\n/);
    expect(mixed.stderr).toMatch(/\nMID .*\n(.*\n)*OUT0\d /);
    expect(sum.stderr).not.toContain('Who spoke');
    expect(masked.stderr).toMatch(/IN01 +░{8} 0\.00 +█{8} 1\.00\n/);
    expect(await difference(mixed.path, sum.path)).toBeGreaterThan(1);
    expect(await difference(masked.path, alone.path)).toBeLessThanOrEqual(maskedGateAlone);
    expect(await difference(masked.path, mixed.path)).toBeGreaterThan(1);
  });

  it('--quiet draws no map', async () => {
    const { stderr } = await draw(...both, ...gate, '--quiet', '--out', 'quiet.png');
    expect(stderr).toBe('');
  });

  it('bake makes one LoRA that draws nearly the same, and says what it leaves out', async () => {
    const drawing = ['--prompt', 'a square, blue', '--steps', '3', '--seed', '1'];
    const { code, stdout, stderr } = await run('bake', ...both, ...gate, ...drawing, '--out', 'baked.safetensors');
    expect(code).toBe(0);
    expect(stdout).toBe(`${join(folder, 'baked.safetensors')}\n`);
    expect(stderr).toMatch(/^One LoRA of \d+ layers, rank 4, with blue 0\.\d\d, red 0\.\d\d \(mean strength\)\.$/m);
    const [, said] = /^What is left out: .* %.* by constant gates, 0 % by the cut in rank; pictures differ by ([\d.]+) of 255 on average\.$/m.exec(stderr)!; // prettier-ignore
    const baked = await draw('--expert', 'baked.safetensors', '--out', 'baked.png');
    expect(await difference(baked.path, join(folder, 'mixed.png'))).toBeCloseTo(Number(said), 0);
  });

  it('a gate over other experts says who is missing and who is unknown', async () => {
    const { code, stderr } = await run('generate', '--prompt', 'x', '--expert', 'red.safetensors', ...gate);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^atelier: .* was trained for blue \([0-9a-f]{12}\), red .* Missing: blue \([0-9a-f]{12}\)/m,
    );
    const others = ['--expert', 'red.safetensors', '--expert', 'baked.safetensors'];
    const unknown = await run('generate', '--prompt', 'x', ...others, ...gate);
    expect(unknown.stderr).toMatch(/Missing: blue .* Unknown to it: baked /);
  });
});

describe.skipIf(!hasModel)('a training', { timeout: 180_000 }, () => {
  const order = ['train-lora', '--images', 'samples', '--rank', '2', '--batch', '1', '--caption-dropout', '0.5'];

  beforeAll(() => paint('samples', [250, 220, 40], [30, 60, 200]));

  it('whose engine is killed and that is resumed walks the same curve to the same file', async () => {
    const more = ['--steps', '10', '--save-every', '2', '--json'];
    const whole = await run(...order, ...more, '--out', 'whole.safetensors');
    const part = start(...order, ...more, '--out', 'again.safetensors');
    await part.printed('"step":5');
    const engine = execFileSync('ps', ['-o', 'pid=', '--ppid', String(part.child.pid)], { encoding: 'utf8' });
    process.kill(Number(engine), 'SIGKILL');
    expect(await part.code).toBe(1);
    expect(part.output.stderr).toContain('--resume goes on from the last saved update');
    expect(existsSync(join(folder, 'again.safetensors'))).toBe(false);
    const rest = await run(...order, ...more, '--out', 'again.safetensors', '--resume');
    expect(rest.code).toBe(0);
    const [curve, before, after] = [whole, part.output, rest].map(({ stdout }) => curveOf(stdout));
    expect(after!.has(1)).toBe(false);
    expect(after!.size).toBeGreaterThan(0);
    expect(new Map([...before!, ...after!])).toEqual(curve);
    expect(await tensorsOf(join(folder, 'again.safetensors'))).toEqual(
      await tensorsOf(join(folder, 'whole.safetensors')),
    );
    expect(readdirSync(folder).filter((name) => name.includes('again'))).toEqual(['again.safetensors']);
  });

  it('stopped by Ctrl-C keeps the best so far, says where, and ends with code 130', async () => {
    const { child, output, code, printed } = start(...order, '--out', 'stopped.safetensors');
    await printed('update 1/1000');
    child.kill('SIGINT');
    expect(await code).toBe(130);
    expect(output.stderr).toMatch(
      /Stopping after this update and keeping the best so far\. Ctrl-C again stops at once\./,
    );
    expect(output.stderr).toMatch(
      /Stopped after \d+ of 1000 updates; the file holds the best so far\. --resume goes on/,
    );
    expect(output.stdout).toBe(`${join(folder, 'stopped.safetensors')}\n`);
    expect((await tensorsOf(join(folder, 'stopped.safetensors'))).size).toBeGreaterThan(0);
  });

  it('stopped by Ctrl-C names the file in its JSON result', async () => {
    const { child, output, code, printed } = start(...order, '--out', 'stopped-too.safetensors', '--json');
    await printed('"update"');
    child.kill('SIGINT');
    expect(await code).toBe(130);
    expect(jsonLines(output.stdout).at(-1)).toMatchObject({
      kind: 'result',
      result: { ended: 'cancelled', path: join(folder, 'stopped-too.safetensors') },
    });
  });

  it('stopped twice ends at once, and what --resume needs is there', async () => {
    const { child, code, printed } = start(...order, '--out', 'twice.safetensors', '--save-every', '1');
    await printed('update 1/1000');
    const state = join(folder, 'twice.safetensors.state.safetensors');
    await until('the first update is saved', () => existsSync(state));
    child.kill('SIGINT');
    await printed('again stops at once');
    child.kill('SIGINT');
    expect(await code).toBe(130);
    expect(existsSync(state)).toBe(true);
  });
});

describe('what is asked wrongly ends with code 2 and one clear paragraph', { timeout: 60_000 }, () => {
  const pair = ['--expert', 'a.safetensors', '--expert', 'b.safetensors'];
  it.each<[readonly string[], RegExp]>([
    [['train-lora'], /--images is missing/],
    [['train-lora', 'pictures'], /--images is missing/],
    [['train-lora', '--images', 'x', 'y.png'], /"y\.png" stands alone\. .*--images/],
    [['train-lora', '--image', 'x'], /Did you mean --images\?/],
    [['train-lora', '--images', 'x', '--rank', '0'], /--rank must be at least 1, not 0/],
    [['train-lora', '--images', 'x', '--lr', '-1'], /--lr must be/],
    [['train-lora', '--images', 'x', '--caption-dropout', '2'], /--caption-dropout must be at most 1, not 2/],
    [
      ['train-lora', '--images', 'x', '--targets', 'everything'],
      /--targets must be one of attention, transformer, all/,
    ],
    [['train-lora', '--images', 'x', '--out', 'x.ckpt'], /--out must be a file name ending in \.safetensors/],
    [['train-lora', '--images', 'x', '--out', 'no/such/x.safetensors'], /The folder .*such of --out cannot be made/],
    [['train-lora', '--images', 'x', '--sample-every', '5'], /--sample-prompt/],
    [['train-gate', '--images', 'x'], /give --expert at least twice, not 0 times/],
    [['train-gate', ...pair, '--images', 'x', '--form', 'square'], /--form must be one of pooled, paper/],
    [['train-gate', ...pair, '--gate', 'x'], /--gate is not known here/],
    [['train-gate', '--expert', 'a:0.5', '--expert', 'b', '--images', 'x'], /leave the weights at --expert out/],
    [['bake', '--prompt', 'x'], /nothing to bake: give the experts with --expert/],
    [['bake', ...pair], /--prompt is missing/],
    [['bake', ...pair, '--prompt', 'x', '--rank', '0'], /--rank must be at least 1, not 0/],
    [['bake', ...pair, '--prompt', 'a', 'cat'], /in quotes: --prompt "cat"/],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await run(...args);
    expect(stderr).toMatch(message);
    expect(stderr.trim()).not.toContain('\n');
    expect([code, stdout]).toEqual([2, '']);
  });

  it.skipIf(!hasModel)('files that are not there are named', async () => {
    const folderMissing = await run('train-lora', '--images', 'nowhere', '--quiet');
    expect(folderMissing.stderr).toMatch(/nowhere: there is no such file or folder/);
    const expertMissing = await run('train-gate', ...pair, '--images', '.', '--quiet');
    expect(expertMissing.stderr).toMatch(/a\.safetensors: .*no such file/i);
    const gateMissing = await run('generate', '--prompt', 'x', '--gate', 'nowhere.mole.safetensors', '--quiet');
    expect(gateMissing.stderr).toMatch(/nowhere\.mole\.safetensors/);
    expect([folderMissing.code, expertMissing.code, gateMissing.code]).toEqual([2, 2, 2]);
  });

  it('--json reports it as a line', async () => {
    const { stdout, code } = await run('train-gate', '--expert', 'a', '--json');
    expect(jsonLines(stdout)).toMatchObject([{ kind: 'failure', failure: { kind: 'bad-request' } }]);
    expect(code).toBe(2);
  });
});
