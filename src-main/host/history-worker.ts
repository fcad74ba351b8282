// The thread of the history: answers calls on the database one after the other, and looks through the folder of pictures.
// Started by history.ts.
import { readdirSync } from 'node:fs';
import { join, sep } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { HistoryDatabase, saysDamage } from './history-database.ts';
import type { HistoryAnswer, HistoryCall, HistoryCalls } from './history.ts';

const pictureName = /\.(png|jpe?g|webp)$/i;
/** A folder with more is a mistaken one. */
const mostFiles = 200_000;
const deepest = 8;

const { file } = workerData as { readonly file: string };
let opened: HistoryDatabase | undefined;
const database = (): HistoryDatabase => (opened ??= HistoryDatabase.open(file));

const calls: HistoryCalls = {
  open: () => database().message,
  close: () => {
    opened?.close();
    opened = undefined;
  },
  scan: (folder) => database().compare(folder + sep, filesBelow(folder)),
  record: (pictures) => database().record(pictures),
  search: (query) => database().search(query),
  experts: () => database().experts(),
  details: (path) => database().details(path),
  setFavourite: (paths, favourite) => {
    database().setFavourite(paths, favourite);
  },
  setState: (paths, state) => {
    database().setState(paths, state);
  },
  pathsIn: (state) => database().pathsIn(state),
};

/** Pictures in `folder` and below, hidden folders left out. */
function filesBelow(folder: string): ReadonlySet<string> {
  const files = new Set<string>();
  const walk = (path: string, depth: number): void => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.name.startsWith('.') || files.size >= mostFiles) continue;
      const full = join(path, entry.name);
      if (entry.isFile() && pictureName.test(entry.name)) files.add(full);
      else if (entry.isDirectory() && depth < deepest) walk(full, depth + 1);
    }
  };
  walk(folder, 0);
  return files;
}

parentPort!.on('message', ({ id, name, values }: HistoryCall) => {
  const answer = (): HistoryAnswer => {
    const call = calls[name] as (...given: readonly unknown[]) => unknown;
    try {
      return { id, result: call(...values) };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (opened === undefined || !saysDamage(reason)) return { id, error: reason };
      opened.close();
      opened = HistoryDatabase.replace(file, reason);
      return { id, result: call(...values), replaced: opened.message };
    }
  };
  try {
    parentPort!.postMessage(answer());
  } catch (error) {
    parentPort!.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
});
