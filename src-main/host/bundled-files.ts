// What came with the app: the bundled model (models/atelier-mini), its LoRAs and gates (assets/experts) and the built interface
// (out/renderer), in the repository and in the package alike.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of the bundled model; undefined when it is not installed. */
export const bundledModelPath = (): string | undefined => beside('models/atelier-mini', 'model_index.json');

/** Absolute paths of the LoRAs and gates that came with the app, in the order of their names. */
export function bundledExpertPaths(): readonly string[] {
  const folder = beside('assets/experts', 'README.md');
  if (folder === undefined) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
  return names.sort().map((name) => join(folder, name));
}

/** Absolute path of the lists of words that came with the app; undefined when they are not installed. */
export const bundledWildcardFolder = (): string | undefined => beside('assets/wildcards', 'subject.txt');

/** The folder of the built interface. Throws when it was not built. */
export function rendererFolder(): string {
  const folder = beside('out/renderer', 'index.html') ?? beside('renderer', 'index.html');
  if (folder === undefined) throw new Error('The interface (out/renderer) is not there. Build it with: npm run build');
  return folder;
}

/** `path` in the folder of the built file (out/main or one below) or one above it, where it holds `file`. */
function beside(path: string, file: string): string | undefined {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const found = join(folder, path);
    if (existsSync(join(found, file))) return found;
    if (folder === dirname(folder)) return undefined;
  }
}
