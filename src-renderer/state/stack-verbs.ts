// What the artist does to the stack that needs the host, or can be undone.
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import type { ExpertRow } from './expert-stack.svelte.ts';
import { studio } from './studio.svelte.ts';

type Change = Parameters<typeof studio.experts.change>[1];

const text = strings.library.row;
const { experts } = studio;

export const stackVerbs = {
  /** Changes a row; block weights bring the mode with them that listens to them. */
  change: (path: string, change: Change): void => {
    experts.change(path, change);
    if (change.blocks !== undefined && experts.mode === 'sum') experts.setMode('manual');
  },

  /** Takes a row out, with the way back. */
  remove: ({ path, name }: ExpertRow): void => {
    const undo = experts.keep();
    experts.remove(path);
    connection.offer(text.removed(name), { label: text.undo, run: undo });
  },

  /** Takes the gate away, with the way back. */
  removeGate: (): void => {
    const { gate } = experts;
    if (gate === undefined) return;
    const undo = experts.keep();
    experts.removeGate();
    connection.offer(text.removed(gate.name), { label: text.undo, run: undo });
  },

  /** Puts the file that `locate` finds in the place of the one at `path`. */
  replace: async (path: string, locate: () => Promise<string>): Promise<void> => {
    await connection.attempt(async () => {
      const added = experts.replace(path, await studio.inspect(await locate()));
      if (added.kind === 'refused') connection.tell(added.message);
    });
  },

  /** Looks for a file that is missing where it was, and by its name. */
  find: async ({ path, name }: ExpertRow): Promise<void> => {
    const there = await studio.inspect(path).catch(() => undefined);
    if (there !== undefined) {
      experts.markMissing(path, false);
      return;
    }
    const found = await connection.attempt(() => connection.request('findExperts', { names: [name] }));
    const [first] = found ?? [];
    if (first === undefined) connection.tell(text.notFound(name));
    else await stackVerbs.replace(path, () => Promise.resolve(first.path));
  },

  /** Adds a bundled gate and the experts that it was trained for. */
  addBundled: async (): Promise<void> => {
    const bundled = connection.welcome?.bundled ?? [];
    const nameOf = (path: string): string => /([^\\/]+)\.safetensors$/.exec(path)?.[1] ?? path;
    for (const gate of bundled.filter((path) => path.endsWith('.mole.safetensors'))) {
      const report = await connection.attempt(() => studio.inspect(gate));
      const names = report?.gate?.experts.map(({ name }) => name) ?? [];
      const paths = names.map((name) => bundled.find((path) => nameOf(path) === name));
      if (paths.length === 0 || paths.includes(undefined)) continue;
      for (const path of paths) if (path !== undefined) await studio.addPath(path);
      await studio.addPath(gate);
      return;
    }
  },
} as const;
