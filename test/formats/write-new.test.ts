// A file appears complete or not at all and never replaces another: with failing sources, a failing file system
// (a real file-size limit, in a child process), no hard links, and several processes at once.
import { execFile, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  makeFolder,
  removeUnfinished,
  reserveAndRename,
  WriteError,
  writeNew,
} from '../../src-main/formats/write-new.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'write-new-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** write-new.ts as a script of its own, since a child Node process reads no TypeScript. */
async function asScript(body: string): Promise<string> {
  const source = await readFile(join(import.meta.dirname, '../../src-main/formats/write-new.ts'), 'utf8');
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  await writeFile(join(folder, 'write-new.mjs'), ts.transpileModule(source, { compilerOptions: options }).outputText);
  const script = join(folder, 'script.mjs');
  await writeFile(script, `import { writeNew } from './write-new.mjs';\n${body}`);
  return script;
}

describe('writeNew', () => {
  it('writes bytes under the name asked for, and leaves nothing else', async () => {
    const path = join(folder, 'a.png');
    expect(await writeNew(path, bytes('hello'))).toBe(path);
    expect(await readdir(folder)).toEqual(['a.png']);
    expect(await readFile(path, 'utf8')).toBe('hello');
  });

  it('numbers a name that is taken, and never touches the old file', async () => {
    const path = join(folder, 'a.tar.png');
    await writeFile(path, 'old');
    expect(await writeNew(path, bytes('2'))).toBe(join(folder, 'a.tar-2.png'));
    expect(await writeNew(path, bytes('3'))).toBe(join(folder, 'a.tar-3.png'));
    expect(await readFile(path, 'utf8')).toBe('old');
  });

  it('counts a dangling link and a folder as taken', async () => {
    await mkdir(join(folder, 'a.png'));
    await symlink(join(folder, 'nowhere'), join(folder, 'a-2.png'));
    expect(await writeNew(join(folder, 'a.png'), bytes('x'))).toBe(join(folder, 'a-3.png'));
    expect(await readdir(folder)).not.toContain('nowhere');
  });

  it('fails or replaces when asked to', async () => {
    const path = join(folder, 'a.json');
    await writeFile(path, 'old');
    await expect(writeNew(path, bytes('new'), { whenTaken: 'fail' })).rejects.toMatchObject({ problem: 'taken' });
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await writeNew(path, bytes('new'), { whenTaken: 'replace' })).toBe(path);
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await readdir(folder)).toEqual(['a.json']);
  });

  it('takes chunks as they come', async () => {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (const part of ['one ', '', 'two']) {
        await Promise.resolve();
        yield bytes(part);
      }
    }
    expect(await readFile(await writeNew(join(folder, 'a'), chunks()), 'utf8')).toBe('one two');
  });

  it('leaves nothing when the source fails half-way, and lets its error through', async () => {
    const broken = new Error('the source broke');
    function* chunks(): Generator<Uint8Array> {
      yield bytes('half');
      throw broken;
    }
    await expect(writeNew(join(folder, 'a.png'), chunks())).rejects.toBe(broken);
    expect(await readdir(folder)).toEqual([]);
  });

  it('says what to do when the folder is missing, is a file, or the name is too long', async () => {
    await writeFile(join(folder, 'file'), '');
    const missing = writeNew(join(folder, 'no', 'a.png'), bytes('x'));
    await expect(missing).rejects.toThrow(WriteError);
    await expect(missing).rejects.toThrow(/a\.png.*folder does not exist\. Create it/);
    await expect(writeNew(join(folder, 'file', 'a.png'), bytes('x'))).rejects.toMatchObject({ problem: 'no-folder' });
    await expect(writeNew(join(folder, `${'x'.repeat(300)}.png`), bytes('x'))).rejects.toMatchObject({
      problem: 'bad-name',
    });
    expect(await readdir(folder)).toEqual(['file']);
  });

  it('says so when this account may not write', async (context) => {
    if (process.getuid?.() === 0 || process.platform === 'win32') {
      console.log('skipped: an administrator may write everywhere');
      context.skip();
    }
    await chmod(folder, 0o500);
    await expect(writeNew(join(folder, 'a.png'), bytes('x'))).rejects.toMatchObject({ problem: 'no-permission' });
    await chmod(folder, 0o700);
  });

  it('leaves nothing when the system refuses more bytes in the middle of the file', async (context) => {
    if (process.platform === 'win32') {
      console.log('skipped: needs ulimit');
      context.skip();
    }
    // A file-size limit is a write that really fails after some bytes, without filling anybody's disk.
    const script = await asScript(
      `await writeNew(${JSON.stringify(join(folder, 'big.png'))}, new Uint8Array(1 << 20)).catch((e) => console.log(e.problem + '|' + e.message));`,
    );
    const run = spawnSync('bash', ['-c', `trap '' XFSZ; ulimit -f 64; exec "$0" "$1"`, process.execPath, script]);
    expect(run.stderr.toString()).toBe('');
    expect(run.stdout.toString()).toMatch(/^disk-full\|Could not write big\.png .* Nothing was left behind\./);
    expect((await readdir(folder)).sort()).toEqual(['script.mjs', 'write-new.mjs']);
  });

  it('gives every one of four processes its own names', async () => {
    const script = await asScript(
      `for (let i = 0; i < 25; i += 1) console.log(await writeNew(${JSON.stringify(join(folder, 'p.png'))}, Buffer.from(process.argv[2] + i)));`,
    );
    const runs = await Promise.all(
      ['a', 'b', 'c', 'd'].map((who) => promisify(execFile)(process.execPath, [script, who])),
    );
    const paths = runs.flatMap(({ stdout }) => stdout.trim().split('\n'));
    expect(new Set(paths).size).toBe(100);
    const contents = await Promise.all(paths.map((path) => readFile(path, 'utf8')));
    expect(contents).toEqual(['a', 'b', 'c', 'd'].flatMap((who) => Array.from({ length: 25 }, (_, i) => `${who}${i}`)));
    expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual([]);
  });
});

describe('the way without hard links', () => {
  it('takes a free name and refuses a taken one', async () => {
    await writeFile(join(folder, 't1'), 'one');
    await writeFile(join(folder, 't2'), 'two');
    expect(await reserveAndRename(join(folder, 't1'), join(folder, 'a'))).toBe(true);
    expect(await reserveAndRename(join(folder, 't2'), join(folder, 'a'))).toBe(false);
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('one');
  });

  it('gives the name back when the last step fails', async () => {
    await expect(reserveAndRename(join(folder, 'gone'), join(folder, 'a'))).rejects.toThrow();
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('removeUnfinished', () => {
  it('removes old temporary files of killed writers and nothing else', async () => {
    for (const name of ['.atelier-1-aa.part', '.atelier-2-bb.part', 'a.png', '.atelier.json'])
      await writeFile(join(folder, name), '');
    await utimes(join(folder, '.atelier-1-aa.part'), 0, 0);
    await utimes(join(folder, 'a.png'), 0, 0);
    expect(await removeUnfinished(folder)).toBe(1);
    expect((await readdir(folder)).sort()).toEqual(['.atelier-2-bb.part', '.atelier.json', 'a.png']);
    expect(await removeUnfinished(join(folder, 'missing'))).toBe(0);
  });
});

describe('makeFolder', () => {
  it('makes what is missing, leaves what is there, and returns from a file system that refuses without a reason', async () => {
    const inner = join(folder, 'a', 'b');
    await makeFolder(inner);
    await makeFolder(inner);
    expect(await readdir(join(folder, 'a'))).toEqual(['b']);
    await writeFile(join(inner, 'file'), '');
    await expect(makeFolder(join(inner, 'file', 'c'))).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(makeFolder(join(inner, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
    if (process.platform === 'linux') {
      await expect(makeFolder('/proc/atelier/pictures')).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });
});
