// The stack of the last session: kept beside the form, and put back when the window opens. Files are read again, so that what
// changed or went meanwhile is seen.
import type { MixRequest } from '../../src-main/contract/experts.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { mixingOf, type NamedRow } from './expert-stack.svelte.ts';
import { studio } from './studio.svelte.ts';

const key = 'mole-atelier-stack-v1';
const { experts } = studio;

interface Kept {
  readonly mix: MixRequest;
  /** Also where the mode does not use it. */
  readonly gate?: string | undefined;
}

class StackMemory {
  /** Nothing is kept before the last stack is back: it would be overwritten by an empty one. */
  #back = $state(false);

  constructor() {
    connection.onWelcome(() => {
      if (!this.#back) void this.#bringBack();
    });
  }

  /** Keeps the stack as it is now; for an effect, which calls it whenever the stack changes. */
  keep(): void {
    if (!this.#back) return;
    const mix = experts.mix();
    const kept: Kept | undefined = mix === undefined ? undefined : { mix, gate: experts.gate?.path };
    if (kept === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(kept));
  }

  async #bringBack(): Promise<void> {
    const kept = stored();
    if (kept !== undefined) await putBack(kept);
    this.#back = true;
  }
}

async function putBack({ mix, gate }: Kept): Promise<void> {
  const files = mix.experts ?? [];
  const read = await Promise.all(
    files.map(async ({ path, ...settings }) => ({ report: await inspect(path), settings })),
  );
  const rows = read.filter((row): row is NamedRow => row.report !== undefined);
  const gateReport = gate === undefined ? undefined : await inspect(gate);
  // What was added while the files were read is not taken away.
  if (experts.rows.length > 0) return;
  const mixing = mixingOf(mix, rows.length === files.length);
  for (const message of experts.restore(rows, gateReport, mixing)) connection.tell(message);
  const gone = files.filter((_file, i) => read[i]?.report === undefined).map(({ path }) => path);
  if (gone.length > 0) connection.tell(strings.experts.gone(gone));
}

/** What a file is to the chosen model; undefined when it is not there any more. */
const inspect = (path: string) => studio.inspect(path).catch(() => undefined);

/** Undefined when nothing was kept, or nothing that can be read. */
function stored(): Kept | undefined {
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? 'null') as Kept | null;
    const isStack = kept?.mix.experts?.every(({ path, weight }) => typeof path === 'string' && weight !== undefined);
    return kept !== null && isStack === true ? kept : undefined;
  } catch {
    return undefined;
  }
}

export const stackMemory = new StackMemory();
