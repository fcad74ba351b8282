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

/** The LoRAs for the bundled model, and the gate that was trained for all three. Throws UsageError when they are not there. */
export function bundledExperts(): Readonly<Record<'fox' | 'ink' | 'sketch' | 'gate', string>> {
  const paths = bundledExpertPaths();
  const find = (name: string): string => {
    const path = paths.find((candidate) => basename(candidate) === `${name}.safetensors`);
    if (path === undefined) throw new UsageError('The bundled LoRAs (assets/experts) are not installed.');
    return path;
  };
  return { fox: find('fox'), ink: find('ink'), sketch: find('sketch'), gate: find('fox-ink-sketch.mole') };
}
