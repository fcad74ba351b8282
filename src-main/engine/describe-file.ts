// What a file is, for `atelier inspect` and dropped files: checkpoint, VAE, LoRA, gate, learned word or picture, told by what is
// in it. A file that cannot be used gets a report too: its problems are the answer.
import { open, readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { FailureError } from '../contract/failure.ts';
import type { FileReport } from '../contract/files.ts';
import { sniffFormat } from '../formats/picture-file.ts';
import { readMetadata } from '../formats/picture-metadata.ts';
import { SafetensorsError } from '../formats/safetensors-header.ts';
import { readSafetensorsHeader, type SafetensorsHeader } from '../formats/safetensors.ts';
import type { TensorRef } from '../graph/ir.ts';
import { CheckpointError } from '../networks/checkpoint-error.ts';
import { ExpertError } from '../networks/expert-error.ts';
import { elementCount } from '../tensor/shape.ts';
import { precisionOf } from './checkpoint-parts.ts';
import { openCheckpoint, openVae, type Checkpoint } from './checkpoint.ts';
import { describeAdapter, describeEmbedding } from './describe-adapter.ts';
import { describeGate } from './describe-gate.ts';
import { fileHashes } from './file-hashes.ts';
import { isGateFile } from './gate-file.ts';
import { recognise, type ModelFamily } from './model-family.ts';
import { locate } from './open-expert.ts';
import { holdsPictures } from './thumbnail.ts';

export interface DescribeFileOptions {
  /** Hashes too, which read the whole file. */
  readonly hashes?: boolean;
  /** Path of the model whose layers a LoRA is compared with; by default the one that it is for. */
  readonly model?: string | undefined;
  readonly signal?: AbortSignal;
}

/**
 * Describes the file, diffusers folder or PEFT folder at `path`. Throws FailureError when there is nothing there, or it
 * cannot be read; what is wrong with `options.model` as openCheckpoint does.
 */
export async function describeFile(path: string, options: DescribeFileOptions = {}): Promise<FileReport> {
  const absolute = resolve(path);
  const found = await look(absolute);
  if (found.folder) return describeFolder(absolute, options);
  const report = await describeOne(absolute, found, options);
  return options.hashes === true ? { ...report, hashes: await fileHashes(absolute, options.signal) } : report;
}

async function describeOne(absolute: string, found: Found, options: DescribeFileOptions): Promise<FileReport> {
  if (sniffFormat(found.head) !== undefined) return describePicture(absolute, found.size);
  try {
    return await describeTensors(await readSafetensorsHeader(absolute), options);
  } catch (error) {
    if (!(error instanceof SafetensorsError)) throw error;
    return {
      path: absolute,
      sizeBytes: found.size,
      kind: 'unknown',
      summary: 'A file that cannot be used.',
      metadata: {},
      problems: [withoutPath(error.message, absolute)],
    };
  }
}

interface Found {
  readonly folder: boolean;
  readonly size: number;
  readonly head: Uint8Array;
}

async function look(path: string): Promise<Found> {
  try {
    const found = await stat(path);
    // A named pipe would wait for ever; the safetensors reader names it.
    if (!found.isFile()) return { folder: found.isDirectory(), size: 0, head: new Uint8Array() };
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, 0);
      return { folder: false, size: found.size, head: buffer.subarray(0, bytesRead) };
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const why =
      code === 'ENOENT' || code === 'ENOTDIR'
        ? 'there is no such file. Check the path.'
        : code === 'EACCES' || code === 'EPERM'
          ? 'this account may not read it. Change its permissions.'
          : `it could not be read (${error instanceof Error ? error.message : String(error)}).`;
    throw new FailureError({ kind: 'bad-request', file: path, message: `${path}: ${why}` }, error);
  }
}

async function describeTensors(
  header: SafetensorsHeader,
  { model }: DescribeFileOptions,
  config?: unknown,
): Promise<FileReport> {
  const { file, tensors } = header;
  const precision = precisionOf(tensors.values());
  const parameters = countParameters(tensors.values());
  const facts = { path: file, sizeBytes: header.sizeBytes, tensors: tensors.size, parameters, precision };
  if (isGateFile(header)) return { ...facts, ...describeGate(header), metadata: readable(header.metadata) };
  const family = recognise(tensors);
  const described =
    family.kind === 'lora'
      ? await describeAdapter(header, { config, model: model === undefined ? undefined : await openCheckpoint(model) })
      : undefined;
  const base = described?.base.name ?? family.base;
  const naming = described?.family ?? family.family;
  const opened = described === undefined ? await tryToOpen(file, family) : { problems: [] };
  const embeddings = described?.embeddings ?? (family.kind === 'embedding' ? describeEmbedding(header) : []);
  const rank = showRanks(described?.adapter.ranks);
  const details = [
    mostOf(precision),
    ...(rank === undefined ? [] : [rank]),
    `${tensors.size} ${tensors.size === 1 ? 'tensor' : 'tensors'}`,
    `${showCount(parameters)} parameters`,
  ];
  return {
    ...facts,
    kind: family.kind,
    summary: `${sentence(family.what)}: ${details.join(', ')}.`,
    ...(base === undefined ? {} : { base }),
    ...(naming === undefined ? {} : { family: naming }),
    ...(described === undefined ? {} : { adapter: described.adapter }),
    ...(embeddings.length === 0 ? {} : { embeddings }),
    metadata: readable(header.metadata),
    ...(opened.side === undefined ? {} : { side: opened.side }),
    problems: [...header.warnings, ...(described?.problems ?? opened.problems)],
  };
}

/** Metadata without embedded pictures, and no text longer than a message between processes should be. */
function readable(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const shown = (key: string, value: string): string =>
    holdsPictures(key) && value !== ''
      ? `(pictures, ${value.length} characters)`
      : value.length > longestField
        ? `${value.slice(0, longestField)}... (${value.length} characters)`
        : value;
  return Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, shown(key, value)]));
}

const longestField = 2 ** 20;

interface Opened {
  /** What stands in the way of using the file as what it is. */
  readonly problems: readonly string[];
  /** Of a checkpoint, pixels. */
  readonly side?: number;
}

async function tryToOpen(file: string, family: ModelFamily): Promise<Opened> {
  try {
    if (family.kind === 'checkpoint') {
      const checkpoint = await openCheckpoint(file);
      return { problems: checkpoint.warnings, side: sideOf(checkpoint) };
    }
    if (family.kind === 'vae' || family.kind === 'taesd') await openVae(file);
    return { problems: family.supported ? [] : ['It cannot be used here.'] };
  } catch (error) {
    if (error instanceof CheckpointError || error instanceof SafetensorsError)
      return { problems: [withoutPath(error.message, file)] };
    throw error;
  }
}

/** Every autoencoder of Stable Diffusion makes 8 x 8 pixels of a latent. */
const sideOf = ({ unet }: Checkpoint): number => unet.config.sampleSize * 8;

async function describeFolder(path: string, options: DescribeFileOptions): Promise<FileReport> {
  if (await isAdapterFolder(path)) return describeAdapterFolder(path, options);
  let checkpoint: Checkpoint;
  try {
    checkpoint = await openCheckpoint(path);
  } catch (error) {
    if (!(error instanceof CheckpointError || error instanceof SafetensorsError)) throw error;
    const problems = [withoutPath(error.message, path)];
    return { path, sizeBytes: 0, kind: 'unknown', summary: 'A folder that cannot be used.', metadata: {}, problems };
  }
  const headers = await Promise.all(checkpoint.files.map((file) => readSafetensorsHeader(file)));
  const refs = headers.flatMap(({ tensors }) => [...tensors.values()]);
  const parameters = countParameters(refs);
  const precision = precisionOf(refs);
  const base = { sd1: 'SD 1.x', sd2: 'SD 2.x', custom: undefined }[checkpoint.family];
  return {
    path,
    sizeBytes: headers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    kind: 'checkpoint',
    summary: `A checkpoint of ${base ?? "Stable Diffusion's design in a size of its own"}: ${mostOf(precision)}, ${refs.length} tensors, ${showCount(parameters)} parameters.`,
    ...(base === undefined ? {} : { base }),
    family: 'diffusers',
    side: sideOf(checkpoint),
    tensors: refs.length,
    parameters,
    precision,
    metadata: checkpoint.metadata,
    problems: checkpoint.warnings,
  };
}

/** Whether PEFT or diffusers saved a LoRA in the folder. */
async function isAdapterFolder(path: string): Promise<boolean> {
  const names = await readdir(path).catch(() => []);
  return names.some((name) => /^(adapter_config\.json|(adapter_model|pytorch_lora_weights)\.\w+)$/.test(name));
}

async function describeAdapterFolder(path: string, options: DescribeFileOptions): Promise<FileReport> {
  try {
    const { file, config } = await locate(path);
    const report = await describeTensors(await readSafetensorsHeader(file), options, config);
    return options.hashes === true ? { ...report, hashes: await fileHashes(file, options.signal) } : report;
  } catch (error) {
    if (!(error instanceof ExpertError || error instanceof SafetensorsError)) throw error;
    const problems = [withoutPath(error.message, path)];
    return { path, sizeBytes: 0, kind: 'lora', summary: 'A LoRA that cannot be used.', metadata: {}, problems };
  }
}

async function describePicture(path: string, sizeBytes: number): Promise<FileReport> {
  const found = await readMetadata(path);
  const metadata: Record<string, string> = {};
  if (found.kind === 'mole') metadata['mole'] = JSON.stringify(found.mole, undefined, 2);
  if ((found.kind === 'mole' || found.kind === 'a1111') && found.infotext !== undefined) {
    metadata['parameters'] = found.infotext;
  }
  if (found.kind === 'comfyui') {
    for (const [name, value] of Object.entries(found.parameters)) {
      metadata[name] = typeof value === 'object' ? JSON.stringify(value) : String(value as string | number | bigint);
    }
    if (found.loras.length > 0) metadata['loras'] = JSON.stringify(found.loras);
  }
  const from = {
    mole: 'settings of this program',
    a1111: 'A1111 settings',
    comfyui: 'a ComfyUI workflow',
    none: 'no settings',
  };
  return {
    path,
    sizeBytes,
    kind: 'picture',
    summary: `A picture with ${from[found.kind]}.`,
    metadata,
    problems: found.warnings,
  };
}

/** "rank 4" or "ranks 4 to 32". */
function showRanks(ranks: readonly [number, number] | undefined): string | undefined {
  if (ranks === undefined) return undefined;
  const [least, most] = ranks;
  return least === most ? `rank ${most}` : `ranks ${least} to ${most}`;
}

function countParameters(refs: Iterable<TensorRef>): number {
  let count = 0;
  for (const { shape } of refs) count += elementCount(shape);
  return count;
}

/** The type of most tensors, with "mostly" when there are others. */
function mostOf(precision: Readonly<Record<string, number>>): string {
  const [first, second] = Object.entries(precision).sort(([, a], [, b]) => b - a);
  return first === undefined ? 'empty' : second === undefined ? first[0] : `mostly ${first[0]}`;
}

/** 1 066 235 307 as "1 066 M", 4 500 as "4 500". */
function showCount(count: number): string {
  const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ' ');
  return count < 1e6 ? grouped(count) : `${grouped(Math.round(count / 1e6))} M`;
}

const sentence = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1);

/** The report names its file already. */
function withoutPath(message: string, path: string): string {
  return message.startsWith(`${path}: `) ? sentence(message.slice(path.length + 2)) : message;
}
