// Opens what a user calls a model: one .safetensors file or a diffusers folder, without converting or copying a weight.
// Headers and configs are read and checked whole; what cannot be used is refused by name, in words.
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { readSafetensorsHeader } from '../formats/safetensors.ts';
import { CheckpointError } from '../networks/checkpoint-error.ts';
import { openFile } from './checkpoint-file.ts';
import { openFolder, openVaeFolder } from './checkpoint-folder.ts';
import { vaeProblems, type Checkpoint, type CheckpointOptions, type OpenedVae, type Vae } from './checkpoint-parts.ts';
import { recognise } from './model-family.ts';
import { findTaesd, klVae, taesdVae } from './vae-parts.ts';

export type { Checkpoint, CheckpointOptions, Vae } from './checkpoint-parts.ts';

/**
 * Opens the checkpoint at `path`; nothing but headers and configs is read. Throws SafetensorsError or CheckpointError with
 * all that is wrong with it.
 */
export async function openCheckpoint(path: string, options: CheckpointOptions = {}): Promise<Checkpoint> {
  const folder = await isFolder(path);
  const vae = options.vae === undefined ? undefined : await openAnyVae(options.vae);
  return folder ? openFolder(path, options, vae) : openFile(path, options, vae);
}

/** Opens a separate autoencoder: a KL one (LDM or diffusers naming, file or folder) or TAESD. Throws as openCheckpoint. */
export async function openVae(path: string): Promise<Vae> {
  return openAnyVae(path);
}

/** Opens TAESD for previews. Throws CheckpointError when the file is something else. */
export async function openTaesd(path: string): Promise<Extract<Vae, { kind: 'taesd' }>> {
  const vae = await openAnyVae(path);
  if (vae.kind !== 'taesd') throw new CheckpointError(path, 'this is a full autoencoder. Previews need TAESD.');
  return vae;
}

async function openAnyVae(path: string): Promise<OpenedVae> {
  const vae = (await isFolder(path)) ? await openVaeFolder(resolve(path)) : await openVaeFile(path);
  const problems = vaeProblems(vae);
  if (problems.length === 0) return vae;
  throw new CheckpointError(vae.file, `it is incomplete or damaged. ${problems.join(' ')} Download it again.`);
}

async function openVaeFile(path: string): Promise<OpenedVae> {
  const { file, tensors, warnings } = await readSafetensorsHeader(path);
  const taesd = findTaesd(tensors);
  const vae = taesd.decoder || taesd.encoder ? taesdVae(tensors, file) : klVae(tensors, file);
  if (vae === undefined) {
    throw new CheckpointError(
      file,
      `this is ${recognise(tensors).what}. Expected a VAE (autoencoder) of Stable Diffusion 1.x or 2.x.`,
    );
  }
  // An SDXL decoder has the same shapes and other latents, so its name is the only sign.
  const sdxl = /xl/i.test(basename(file))
    ? ['The name of the VAE says SDXL, whose latents differ; colours will be wrong if it is one.']
    : [];
  return { ...vae, files: [file], warnings: [...warnings, ...sdxl] };
}

async function isFolder(path: string): Promise<boolean> {
  // What is wrong with a path that cannot be looked at, the reader says.
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
