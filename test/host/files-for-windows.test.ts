// What has an address and what has none, on a real folder: links that lead out of it, folders, foreign types, unknown ids.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileForWindow } from '../../src-main/host/files-for-windows.ts';
import { PictureShelf } from '../../src-main/host/picture-shelf.ts';

let root: string;
let folder: string;
const shelf = new PictureShelf();

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'atelier-files-'));
  folder = join(root, 'renderer');
  mkdirSync(join(folder, 'assets'), { recursive: true });
  mkdirSync(join(root, 'renderer-secret'));
  writeFileSync(join(folder, 'index.html'), 'page');
  writeFileSync(join(folder, 'assets/a b.js'), 'script');
  writeFileSync(join(folder, 'notes.exe'), 'program');
  writeFileSync(join(root, 'secret.html'), 'secret');
  writeFileSync(join(root, 'renderer-secret/page.html'), 'secret');
  symlinkSync(join(root, 'secret.html'), join(folder, 'link.html'));
  symlinkSync(join(folder, 'index.html'), join(folder, 'inner.html'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const textAt = async (pathname: string): Promise<string | undefined> =>
  (await fileForWindow(pathname, folder, shelf))?.bytes.toString();

describe('the built interface', () => {
  it('has an address for each of its files, and the page is the folder itself', async () => {
    expect(await textAt('/')).toBe('page');
    expect(await textAt('/index.html')).toBe('page');
    expect(await textAt('/assets/a%20b.js')).toBe('script');
    expect(await textAt('/inner.html')).toBe('page');
  });

  it.each([
    '/link.html',
    '/../secret.html',
    '/..%2fsecret.html',
    '/../renderer-secret/page.html',
    '/assets',
    '/no.html',
  ])('%s is nothing: it lies elsewhere, or is no file', async (pathname) => {
    expect(await textAt(pathname)).toBeUndefined();
  });

  it('gives out only the types that an interface is made of', async () => {
    expect(await textAt('/notes.exe')).toBeUndefined();
  });
});

describe('a picture', () => {
  it('is fetched by its id, wherever it lies, and keeps it', async () => {
    const path = join(root, 'fox.png');
    writeFileSync(path, 'pixels');
    const picture = { path, seed: 7, width: 8, height: 8 };
    const { id, name } = shelf.put(picture);
    expect(name).toBe('fox.png');
    expect(shelf.put(picture).id).toBe(id);
    expect(await textAt(`/pictures/${id}`)).toBe('pixels');
    expect(await textAt(`/pictures/${id.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))}`)).toBeUndefined();
    expect(await textAt(`/pictures/${encodeURIComponent(path)}`)).toBeUndefined();
  });
});
