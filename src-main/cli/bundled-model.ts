// Where the bundled model lies: models/atelier-mini beside out/, in the repository and in the package alike.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from './arguments.ts';

/** Absolute path of the bundled model. Throws UsageError when it was not installed. */
export function bundledModel(): string {
  // The built file lies in out/main or one folder below.
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const model = join(folder, 'models/atelier-mini');
    if (existsSync(join(model, 'model_index.json'))) return model;
    if (folder === dirname(folder)) break;
  }
  throw new UsageError('The bundled model (models/atelier-mini) is not installed. Name a model with --model PATH.');
}
