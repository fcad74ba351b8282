// Where the bundled model and its LoRAs lie: models/atelier-mini and assets/experts beside out/, in the repository and in the
// package alike.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from './arguments.ts';

/** Absolute path of the bundled model. Throws UsageError when it was not installed. */
export function bundledModel(): string {
  const model = beside('models/atelier-mini', 'model_index.json');
  if (model !== undefined) return model;
  throw new UsageError('The bundled model (models/atelier-mini) is not installed. Name a model with --model PATH.');
}

/** The LoRAs for the bundled model, and the gate that was trained for all three. Throws UsageError when they are not there. */
export function bundledExperts(): Readonly<Record<'fox' | 'ink' | 'sketch' | 'gate', string>> {
  const gateName = 'fox-ink-sketch.mole.safetensors';
  const folder = beside('assets/experts', gateName);
  if (folder === undefined) throw new UsageError('The bundled LoRAs (assets/experts) are not installed.');
  const file = (name: string): string => join(folder, `${name}.safetensors`);
  return { fox: file('fox'), ink: file('ink'), sketch: file('sketch'), gate: join(folder, gateName) };
}

/** `path` in the folder of the built file (out/main or one below) or one above it, where it holds `file`. */
function beside(path: string, file: string): string | undefined {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const found = join(folder, path);
    if (existsSync(join(found, file))) return found;
    if (folder === dirname(folder)) return undefined;
  }
}
