// The command line as a user or a script meets it: the real one, in a process of its own, beside an engine whose
// handlers are quick and misbehave on order.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { GenerateRequest } from '../../src-main/contract/generation.ts';
import { buildFakeAtelier, type Fixture } from '../support/build-fixture.ts';
import { exists, until } from '../support/wait.ts';

let fixture: Fixture;
let folder: string;
const running: ChildProcess[] = [];
beforeAll(async () => {
  fixture = await buildFakeAtelier();
  folder = mkdtempSync(join(tmpdir(), 'atelier-cli-'));
});
afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});
afterAll(() => {
  fixture.remove();
  rmSync(folder, { recursive: true, force: true });
});

interface Started {
  readonly child: ChildProcess;
  readonly output: { stdout: string; stderr: string };
  readonly code: Promise<number | null>;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const child = spawn(process.execPath, [fixture.path('atelier'), ...args], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  return { child, output, code: new Promise((resolve) => child.once('close', resolve)) };
}

async function run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { output, code } = start(args);
  return { code: await code, ...output };
}

const generate = (...args: string[]) => run('generate', '--model', 'model.safetensors', ...args);
const jsonLines = (stdout: string): Record<string, unknown>[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('help', () => {
  it.each(['generate', 'train-gate', 'train-lora', 'bake', 'recipe', 'inspect', 'network', 'devices', 'demo'])(
    '%s --help shows flags and examples',
    async (command) => {
      const { code, stdout, stderr } = await run(command, '--help');
      expect(code).toBe(0);
      expect(stderr).toBe('');
      expect(stdout).toContain('--json');
      const examples = stdout.slice(stdout.indexOf('Examples:')).match(/^ {2}atelier /gm);
      expect(examples!.length).toBeGreaterThanOrEqual(2);
      expect(examples!.length).toBeLessThanOrEqual(4);
    },
  );

  it('without a command lists the commands', async () => {
    const { code, stdout } = await run();
    expect(code).toBe(0);
    for (const name of ['generate', 'inspect', 'network', 'devices', 'demo']) expect(stdout).toContain(`  ${name}`);
  });

  it('--version prints the version alone', async () => {
    const { code, stdout } = await run('--version');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('a wrong command ends with code 2 and one clear paragraph', () => {
  it.each<[readonly string[], RegExp]>([
    [['genrate'], /no command "genrate".*Did you mean generate\?/],
    [['generate', '--promt', 'a cat'], /--promt is not known here\. Did you mean --prompt\?/],
    [['generate', '--sed', '1', '--prompt', 'x'], /Did you mean --seed\?/],
    [['generate'], /--prompt is missing/],
    [['generate', '--prompt'], /--prompt needs a value/],
    [['generate', '--prompt', 'a', 'red', 'cat'], /in quotes: --prompt/],
    [['generate', '--model', 'm', '--prompt', 'x', '--steps', 'many'], /--steps must be a number, not "many"/],
    [['generate', '--model', 'm', '--prompt', 'x', '--steps', '0'], /--steps must be at least 1, not 0/],
    [['generate', '--model', 'm', '--prompt', 'x', '--cfg', '-1'], /--cfg must be at least 0, not -1/],
    [
      ['generate', '--model', 'm', '--prompt', 'x', '--width', '100'],
      /--width must be a multiple of 8 pixels, not 100/,
    ],
    [['generate', '--model', 'm', '--prompt', 'x', '--height', '1e9'], /--height must be at most 4096 pixels/],
    [
      ['generate', '--model', 'm', '--prompt', 'x', '--sampler', 'magic'],
      /--sampler must be one of euler,.*not "magic"/,
    ],
    [['generate', '--model', 'm', '--prompt', 'x', '--strength', '0.5'], /--strength.*--init/],
    [['generate', '--model', 'm', '--prompt', 'x', '--out', 'a.png', '--format', 'webp'], /--out ends in \.png/],
    [['generate', '--model', 'm', '--prompt', 'x', '--lossless'], /--format webp/],
    [['generate', '--json=yes', '--prompt', 'x'], /--json takes no value/],
    [['inspect'], /at least one file/],
    [['network', 'unett', '--in', 'a', '--out', 'b'], /Did you mean unet\?/],
    [['network', '--seed-noise', '1', '--shape', '1,x', '--out', 'b'], /--shape must be whole numbers/],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await run(...args);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(stderr.trim()).not.toContain('\n');
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });
});

describe('generate', () => {
  it('prints the absolute paths of its pictures on stdout and progress on stderr', async () => {
    const { code, stdout, stderr } = await generate(
      '--prompt',
      'apple',
      '--batch',
      '2',
      '--seed',
      '0',
      '--out',
      'here',
    );
    expect(code).toBe(0);
    const paths = stdout.trim().split('\n');
    expect(paths).toHaveLength(2);
    for (const path of paths) expect(isAbsolute(path) && path.startsWith(folder) && existsSync(path)).toBe(true);
    expect(stderr).toContain('step');
  });

  it('--json prints events and the result, one object per line, and nothing else', async () => {
    const { code, stdout, stderr } = await generate('--prompt', 'apple', '--seed', '3', '--json');
    expect(code).toBe(0);
    const lines = jsonLines(stdout);
    expect(new Set(lines.slice(0, -1).map(({ kind }) => kind))).toEqual(new Set(['event']));
    expect(lines.at(-1)).toMatchObject({ kind: 'result', result: { device: 'cpu', pictures: [{ seed: 3 }] } });
    expect(stderr).toBe('');
  });

  it('--json prints a failure as its last line, a wrong flag too', async () => {
    const failed = await generate('--prompt', 'throw', '--json');
    expect(jsonLines(failed.stdout).at(-1)).toMatchObject({ kind: 'failure', failure: { kind: 'internal' } });
    const wrong = await generate('--prompt', 'x', '--stps', '3', '--json');
    expect(jsonLines(wrong.stdout)).toMatchObject([{ kind: 'failure', failure: { kind: 'bad-request' } }]);
    expect(wrong.code).toBe(2);
  });

  it('--quiet prints the paths alone', async () => {
    const { stdout, stderr } = await generate('--prompt', 'apple', '--quiet');
    expect(stderr).toBe('');
    expect(existsSync(stdout.trim())).toBe(true);
  });

  it.each([
    ['throw', 1],
    ['no memory', 1],
    ['crash always after 1', 1],
  ])('that fails with "%s" ends with code %d, without a stack', async (prompt, expected) => {
    const { code, stderr } = await generate('--prompt', prompt, '--batch', '4', '--out', prompt.replaceAll(' ', '-'));
    expect(code).toBe(expected);
    expect(stderr).toMatch(/^atelier: .+$/m);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  it('shows the stack when debugging', async () => {
    const { output, code } = start(['generate', '--model', 'm', '--prompt', 'throw'], { ATELIER_DEBUG: '1' });
    expect(await code).toBe(1);
    expect(output.stderr).toMatch(/\n\s+at /);
  });

  it('goes on after one crash of the engine, from the first unfinished picture', async () => {
    const { code, stdout, stderr } = await generate(
      '--prompt',
      'crash once after 1',
      '--batch',
      '3',
      '--seed',
      '7',
      '--out',
      'again',
    );
    expect(code).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(3);
    expect(stderr).toContain('tried once more');
    const seeds = readdirSync(join(folder, 'again')).filter((name) => name.endsWith('.png'));
    expect(seeds.map((name) => Number.parseInt(name, 10)).sort()).toEqual([7, 8, 9]);
  });

  it('goes on when the reader of its output has gone', async () => {
    const { child, code } = start(['generate', '--model', 'm', '--prompt', 'apple', '--batch', '6', '--out', 'pipe']);
    child.stdout!.destroy();
    child.stderr!.destroy();
    expect(await code).toBe(0);
    expect(readdirSync(join(folder, 'pipe'))).toHaveLength(6);
  });
});

describe('Ctrl-C', () => {
  it('stops within a step with code 130 and keeps finished pictures', async () => {
    const { child, output, code } = start([
      'generate',
      '--model',
      'm',
      '--prompt',
      'apple',
      '--batch',
      '60',
      '--out',
      'stop',
    ]);
    await until('a picture', () => output.stdout.includes('.png'));
    child.kill('SIGINT');
    expect(await code).toBe(130);
    expect(output.stderr).toContain('cancelled');
    expect(readdirSync(join(folder, 'stop')).length).toBeGreaterThan(0);
    expect(readdirSync(join(folder, 'stop')).length).toBeLessThan(60);
  });

  it('a second time ends a job that does not listen', async () => {
    const { child, output, code } = start(['generate', '--model', 'm', '--prompt', 'block', '--out', 'block']);
    await until('it draws', () => output.stderr.includes('Drawing'));
    child.kill('SIGINT');
    await until('it says so', () => output.stderr.includes('again'));
    child.kill('SIGINT');
    expect(await code).toBe(130);
  });

  it('leaves no engine behind, also when the command itself is killed', async () => {
    const { child, output, code } = start(['generate', '--model', 'm', '--prompt', 'apple', '--batch', '60', '--json']);
    await until('it draws', () => output.stdout.includes('step'));
    const { execFileSync } = await import('node:child_process');
    const engine = Number(execFileSync('ps', ['-o', 'pid=', '--ppid', String(child.pid)], { encoding: 'utf8' }));
    expect(exists(engine)).toBe(true);
    child.kill('SIGKILL');
    await code;
    await until('the engine ends', () => !exists(engine));
  });
});

describe('flags become the request', () => {
  it('with relative paths resolved, names understood as A1111 and diffusers write them, and absent what was not said', async () => {
    const { ParsedArguments, parseArguments } = await import('../../src-main/cli/arguments.ts');
    const { generateCommand, generateRequestOf } = await import('../../src-main/cli/generate.ts');
    const requestOf = (...args: string[]): GenerateRequest => {
      const parsed = parseArguments(args, generateCommand.flags);
      expect(parsed).toBeInstanceOf(ParsedArguments);
      return generateRequestOf(parsed);
    };
    expect(requestOf('--model', 'm', '--prompt', 'x')).toEqual({
      model: join(process.cwd(), 'm'),
      prompt: 'x',
      output: { folder: join(process.cwd(), 'outputs'), lossless: false, metadata: true },
    });
    const full = requestOf(
      ...['--model', '/m', '--prompt', 'x', '--sampler', 'DPM++ 2M SDE', '--schedule', 'SGM Uniform', '--seed', '-1'],
      ...['--out', '/a/b.c.JPG', '--init', '/i.png', '--strength', '0', '--cfg', '1', '--no-metadata'],
    );
    expect(full).toEqual({
      model: '/m',
      prompt: 'x',
      sampler: 'dpmpp-2m-sde',
      schedule: 'sgm-uniform',
      cfgScale: 1,
      init: { picture: '/i.png', strength: 0 },
      output: { folder: '/a', pattern: 'b.c', format: 'jpeg', lossless: false, metadata: false },
    });
    expect(requestOf('--model', '/m', '--prompt=-x', '--seed', '0').seed).toBe(0);
  });
});
