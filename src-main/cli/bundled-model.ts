// The bundled model and its LoRAs, as the commands ask for them: with words for when they were not installed.
import { basename } from 'node:path';
import { bundledExpertPaths, bundledModelPath } from '../host/bundled-files.ts';
import { UsageError } from './arguments.ts';

/** Absolute path of the bundled model. Throws UsageError when it was not installed. */
export function bundledModel(): string {
  const model = bundledModelPath();
  if (model !== undefined) return model;
  throw new UsageError('The bundled model (models/atelier-mini) is not installed. Name a model with --model PATH.');
}

/** Absolute path of the bundled LoRA or gate of this name (`fox`, `subject-style.mole`). Throws UsageError when it was not installed. */
export function bundledExpert(name: string): string {
  const path = bundledExpertPaths().find((candidate) => basename(candidate) === `${name}.safetensors`);
  if (path === undefined) throw new UsageError(`The bundled ${name} (in assets/experts) is not installed.`);
  return path;
}
