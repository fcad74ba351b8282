// The files that a window may fetch, by the path of its address: those of the built interface, and finished pictures by id.
// Nothing else on the disk has an address, whatever is written in it.
import { readFile, realpath } from 'node:fs/promises';
import { extname, join, sep } from 'node:path';
import type { PictureShelf } from './picture-shelf.ts';

export interface WindowFile {
  readonly bytes: Buffer;
  readonly type: string;
  /** Its content never changes under this address. */
  readonly immutable: boolean;
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
};

/** Headers of everything a window loads: its own scripts and styles only, and no frame around it. */
export const securityHeaders: Readonly<Record<string, string>> = {
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
};

/**
 * What lies under `pathname` (still percent-encoded, from `/`): `/pictures/<id>` and `/thumbnails/<id>` are pictures of
 * `shelf`, everything else is a file of `folder`. Undefined when there is none, or when it would lie outside of `folder`.
 */
export async function fileForWindow(
  pathname: string,
  folder: string,
  shelf: PictureShelf,
): Promise<WindowFile | undefined> {
  const [, kind, id] = /^\/(pictures|thumbnails)\/([0-9a-f-]{36})$/.exec(pathname) ?? [];
  const path =
    id === undefined
      ? await inside(folder, pathname)
      : kind === 'pictures'
        ? shelf.pathOf(id)
        : await shelf.thumbnails?.pathOf(id);
  const type = path === undefined ? undefined : types[extname(path).toLowerCase()];
  if (path === undefined || type === undefined) return undefined;
  try {
    return { bytes: await readFile(path), type, immutable: id !== undefined || pathname.startsWith('/assets/') };
  } catch {
    return undefined;
  }
}

/** The real path of a file of `folder`, links followed; undefined when it is missing or lies elsewhere. */
async function inside(folder: string, pathname: string): Promise<string | undefined> {
  try {
    const name = decodeURIComponent(pathname);
    if (name.includes('\0')) return undefined;
    const [root, path] = await Promise.all([
      realpath(folder),
      realpath(join(folder, name === '/' ? 'index.html' : name)),
    ]);
    return path.startsWith(root + sep) ? path : undefined;
  } catch {
    return undefined;
  }
}
