// A library desk over folders of its own, with the real engine, and copies of a small LoRA with other metadata.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { EngineClient } from '../../src-main/client/engine-client.ts';
import { forkedEngine } from '../../src-main/client/engine-process-port.ts';
import type { LibraryCard, LibraryContents } from '../../src-main/contract/window-library.ts';
import type { News } from '../../src-main/contract/window.ts';
import { LibraryDesk } from '../../src-main/host/library-desk.ts';
import { PictureShelf } from '../../src-main/host/picture-shelf.ts';
import { sleep } from './wait.ts';

const root = resolve(import.meta.dirname, '../..');
export const bundledFolder = join(root, 'assets/experts');
export const bundledModel = join(root, 'models/atelier-mini');

/** The engine as it was built. */
export const testEngine = (): EngineClient =>
  new EngineClient({ spawn: forkedEngine(join(root, 'out/main/engine.js')) });

/** Changes the metadata of a safetensors file and nothing else. */
export function withMetadata(file: Buffer, metadata: Readonly<Record<string, string>>): Buffer {
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as { __metadata__?: Record<string, string> };
  header.__metadata__ = { ...header.__metadata__, ...metadata };
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([size, padded, file.subarray(8 + length)]);
}

/** Writes a copy of a bundled LoRA, with `metadata` instead of its own where it names the same fields. */
export function copyLora(path: string, name = 'fox', metadata: Readonly<Record<string, string>> = {}): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, withMetadata(readFileSync(join(bundledFolder, `${name}.safetensors`)), metadata));
  return path;
}

export class LibraryCase {
  readonly folder = mkdtempSync(join(tmpdir(), 'atelier-library-'));
  /** A folder for the artist's LoRAs. */
  readonly loras = join(this.folder, 'loras');
  readonly stateFolder = join(this.folder, 'state');
  readonly news: News[] = [];
  readonly #client: EngineClient;
  #desk: LibraryDesk | undefined;

  constructor(client: EngineClient) {
    this.#client = client;
    mkdirSync(this.loras);
    mkdirSync(this.stateFolder);
  }

  get desk(): LibraryDesk {
    return this.#desk!;
  }

  /** Opens the desk; closes the one that was open first, as a restart of the app does. */
  async open(bundled: readonly string[] = []): Promise<LibraryDesk> {
    await this.close();
    const client = this.#client;
    const options = {
      client,
      trainingClient: client,
      folder: this.folder,
      stateFolder: this.stateFolder,
      place: 'browser',
      version: 'test',
      model: bundledModel,
      bundled,
    } as const;
    const tell = (news: News): void => void this.news.push(news);
    this.#desk = await LibraryDesk.open({ options, shelf: new PictureShelf(), tell }, client);
    return this.#desk;
  }

  /** Everything, once all files have been read. */
  async contents(model?: string): Promise<LibraryContents> {
    const asked = model === undefined ? {} : { model };
    let contents = await this.desk.handlers.library(asked);
    while (contents.reading > 0) {
      await sleep(50);
      contents = await this.desk.handlers.library(asked);
    }
    return contents;
  }

  async cards(): Promise<readonly LibraryCard[]> {
    return (await this.contents()).cards;
  }

  async close(): Promise<void> {
    await this.#desk?.close();
    this.#desk = undefined;
  }

  async end(): Promise<void> {
    await this.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
