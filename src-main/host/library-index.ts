// What is known of the library's files: headers are read one at a time by an engine of low priority, kept by size and time so that
// each is read once, and read again only where the file changed or another model is drawn with.
import { mkdir, readFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { EngineClient } from '../client/engine-client.ts';
import { writeAtomically } from '../client/write-atomically.ts';
import type { FileHashes } from '../contract/files.ts';
import type { ExpertPlace } from '../contract/window-library.ts';
import { factsOf, reasonOf, refusedFacts, refusedReason, unreadableFacts, type CardFacts } from './library-facts.ts';
import type { FoundFile } from './library-files.ts';

/** A file with the place it was found in. */
export interface PlacedFile extends FoundFile {
  readonly place: ExpertPlace;
}

/** Known of one file. */
interface Entry {
  readonly stamp: string;
  readonly facts: CardFacts;
  /** By model: why the file cannot be used with it; null when it can. */
  readonly reasons: Readonly<Record<string, string | null>>;
}

/** Hashes hold while size and time are the same, whatever lies beside the file. */
interface KnownHashes {
  readonly stamp: string;
  readonly sha256: string;
  readonly autoV3: string;
}

export interface IndexOptions {
  readonly client: EngineClient;
  /** The file that what is known is kept in. It may be deleted at any time. */
  readonly cacheFile: string;
  /** Called when a file was read, with its path, and after the last one with none. */
  readonly onRead: (path: string | undefined) => void;
}

/** Models whose comparisons are kept. */
const mostModels = 4;
const saveAfterMs = 3000;
/** Larger is nicer: below the drawing, above nothing else. */
const lowPriority = 10;

const hashesSchema = z.object({ stamp: z.string(), sha256: z.string(), autoV3: z.string() });
const cacheSchema = z.object({
  version: z.literal(1),
  // Written by us and only shown: a look at its shape is enough.
  entries: z.record(
    z.string(),
    z.object({
      stamp: z.string(),
      facts: z.object({ shown: z.object({ kind: z.string(), summary: z.string() }).loose() }).loose(),
      reasons: z.record(z.string(), z.string().nullable()),
    }),
  ),
  hashes: z.record(z.string(), hashesSchema),
});

export class LibraryIndex {
  readonly #options: IndexOptions;
  readonly #entries: Map<string, Entry>;
  readonly #hashes: Map<string, KnownHashes>;
  #files: readonly PlacedFile[] = [];
  #model: string | undefined;
  #toRead: PlacedFile[] = [];
  #reading: Promise<void> | undefined;
  #saveTimer: NodeJS.Timeout | undefined;
  #changed = false;
  #closed = false;
  #nicePid: number | undefined;

  private constructor(options: IndexOptions, entries: Map<string, Entry>, hashes: Map<string, KnownHashes>) {
    this.#options = options;
    this.#entries = entries;
    this.#hashes = hashes;
  }

  /** Opens with what is known from before; a damaged cache counts as none. */
  static async open(options: IndexOptions): Promise<LibraryIndex> {
    try {
      const { entries, hashes } = cacheSchema.parse(JSON.parse(await readFile(options.cacheFile, 'utf8')));
      const known = Object.entries(entries) as unknown as [string, Entry][];
      return new LibraryIndex(options, new Map(known), new Map(Object.entries(hashes)));
    } catch {
      return new LibraryIndex(options, new Map(), new Map());
    }
  }

  /** In the order they were given. */
  get files(): readonly PlacedFile[] {
    return this.#files;
  }

  /** Files that are still to be read. */
  get waiting(): number {
    return this.#toRead.length;
  }

  /** Takes over which files there are, and what they are compared with; reads what is not known. */
  update(files: readonly PlacedFile[], model: string | undefined): void {
    this.#files = files;
    this.#model = model;
    this.#toRead = files.filter((file) => !this.#isKnown(file));
    this.#readOn();
  }

  /** What is known of a file; undefined until it was read. */
  factsOf({ path, refused }: PlacedFile): CardFacts | undefined {
    return refused ? refusedFacts : this.#entries.get(path)?.facts;
  }

  /** Why it cannot be used with the present model; undefined when it can, or is not known. */
  reasonOf({ path, refused }: PlacedFile): string | undefined {
    if (refused) return refusedReason;
    return this.#entries.get(path)?.reasons[this.#model ?? ''] ?? undefined;
  }

  /** Hashes that were read before and still hold. */
  knownHashes(file: PlacedFile): KnownHashes | undefined {
    const known = this.#hashes.get(file.path);
    return known?.stamp === stampOf(file) ? known : undefined;
  }

  /** Reads the whole file when its hashes are not known. Rejects with a FailureError. */
  async readHashes(file: PlacedFile): Promise<KnownHashes> {
    const known = this.knownHashes(file);
    if (known !== undefined) return known;
    const { hashes } = await this.#options.client.request('inspect', { path: file.path, hashes: true });
    const { sha256, autoV3 } = hashes as FileHashes;
    const read = { stamp: stampOf(file), sha256, autoV3 };
    this.#hashes.set(file.path, read);
    this.#saveLater();
    return read;
  }

  /** Resolves when all files have been read. */
  async allRead(): Promise<void> {
    while (this.#reading !== undefined) await this.#reading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#toRead = [];
    clearTimeout(this.#saveTimer);
    if (this.#changed) await this.#save();
  }

  #isKnown({ path, stamp, refused }: PlacedFile): boolean {
    const entry = this.#entries.get(path);
    return refused || (entry?.stamp === stamp && entry.reasons[this.#model ?? ''] !== undefined);
  }

  #readOn(): void {
    if (this.#reading !== undefined || this.#toRead.length === 0) return;
    this.#reading = this.#readAll().finally(() => {
      this.#reading = undefined;
      this.#readOn();
    });
  }

  async #readAll(): Promise<void> {
    for (let file = this.#toRead[0]; file !== undefined; file = this.#toRead[0]) {
      await this.#read(file);
      if (this.#toRead[0] === file) this.#toRead.shift();
      if (!this.#closed) this.#options.onRead(file.path);
    }
    if (!this.#closed) this.#options.onRead(undefined);
  }

  async #read({ path, stamp }: PlacedFile): Promise<void> {
    const model = this.#model;
    const before = this.#entries.get(path);
    const others = before?.stamp === stamp ? Object.entries(before.reasons).slice(1 - mostModels) : [];
    let facts: CardFacts;
    let reason: string | undefined;
    try {
      const report = await this.#inspect(path, model);
      // What it was does not change where only the model cannot be read.
      facts = report.kind === 'unknown' && before?.stamp === stamp ? before.facts : factsOf(report);
      reason = reasonOf(report);
    } catch (error) {
      if (this.#closed) return;
      facts = before?.facts ?? unreadableFacts;
      reason = error instanceof Error ? error.message : String(error);
    }
    this.#entries.set(path, {
      stamp,
      facts,
      reasons: Object.fromEntries([...others, [model ?? '', reason ?? null]]),
    });
    this.#saveLater();
  }

  async #inspect(path: string, model: string | undefined) {
    const { client } = this.#options;
    const report = client.request('inspect', { path, ...(model === undefined ? {} : { model }) });
    const { pid } = client;
    if (pid !== undefined && pid !== this.#nicePid) {
      this.#nicePid = pid;
      try {
        setPriority(pid, lowPriority);
      } catch {
        // Then it competes with the drawing.
      }
    }
    return report;
  }

  #saveLater(): void {
    this.#changed = true;
    if (this.#closed) return;
    this.#saveTimer ??= setTimeout(() => {
      this.#saveTimer = undefined;
      void this.#save();
    }, saveAfterMs);
  }

  /** A cache that cannot be written is made again the next time. */
  async #save(): Promise<void> {
    this.#changed = false;
    const text = JSON.stringify({
      version: 1,
      entries: Object.fromEntries(this.#entries),
      hashes: Object.fromEntries(this.#hashes),
    });
    try {
      await mkdir(dirname(this.#options.cacheFile), { recursive: true });
      await writeAtomically(this.#options.cacheFile, text);
    } catch {
      this.#changed = true;
    }
  }
}

const stampOf = ({ bytes, modifiedMs }: FoundFile): string => `${bytes}:${modifiedMs}`;
