// The layers are real: every relative import in src-main stays inside the table, every native door has one file,
// and there are no import cycles. The table is the one in CONTRIBUTING.md.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../src-main');

/** folder -> folders it may import (itself is always allowed). Everything else fails. */
const allowedImports: Readonly<Record<string, readonly string[]>> = {
  tensor: [],
  text: [],
  contract: [],
  graph: ['tensor'],
  diffusion: ['tensor'],
  training: ['tensor'],
  autodiff: ['graph', 'tensor'],
  networks: ['graph', 'tensor'],
  formats: ['graph', 'tensor'],
  runtime: ['formats', 'graph', 'tensor'],
  mole: ['networks', 'graph', 'tensor'],
  engine: [
    'tensor',
    'text',
    'graph',
    'diffusion',
    'training',
    'autodiff',
    'networks',
    'formats',
    'runtime',
    'mole',
    'contract',
  ],
  client: ['contract'],
  host: ['client', 'contract', 'text'],
  serve: ['host', 'client', 'contract'],
  desktop: ['host', 'client', 'contract'],
  cli: ['serve', 'host', 'client', 'contract'],
};

/** The same for the interface: folder or file of src-renderer -> what it may import, `types` being the contract's types alone. */
const rendererImports: Readonly<Record<string, readonly string[]>> = {
  'strings.ts': ['words', 'types'],
  words: ['types'],
  'bridge.ts': ['strings.ts', 'types', 'contract'],
  state: ['bridge.ts', 'strings.ts', 'types', 'contract'],
  components: ['strings.ts', 'types'],
  views: ['state', 'components', 'strings.ts', 'types'],
  'App.svelte': ['views', 'state', 'components', 'strings.ts'],
  'main.ts': ['App.svelte', 'styles'],
};
/** Files of the contract that import no package, so that the interface may use their values. */
const plainContract: readonly string[] = ['contract/json-bytes.ts', 'contract/failure.ts'];

/** package -> the only files that may import it. */
const doors: Readonly<Record<string, (file: string) => boolean>> = {
  'onnxruntime-node': (file) => file === 'runtime/session.ts',
  sharp: (file) => file === 'formats/png.ts',
  'node-sqlite3-wasm': (file) => file === 'host/history-database.ts',
  chokidar: (file) => file === 'host/folder-watch.ts',
  ws: (file) => file === 'serve/web-server.ts',
  electron: (file) => file === 'main.ts' || file === 'preload.ts' || file.startsWith('desktop/'),
};

const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.split(sep).join('/'));

const importsOf = (file: string): string[] =>
  [...readFileSync(join(root, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)].map(
    (match) => match[1]!,
  );

const relativeImports = (file: string): string[] =>
  importsOf(file)
    // package.json, for the version, belongs to no layer.
    .filter((specifier) => specifier.startsWith('.') && !specifier.endsWith('/package.json'))
    .map((specifier) =>
      relative(root, resolve(root, dirname(file), specifier.replace(/\?.*$/, '')))
        .split(sep)
        .join('/'),
    );

const rendererRoot = resolve(import.meta.dirname, '../src-renderer');
const rendererFiles = readdirSync(rendererRoot, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.(ts|svelte)$/.test(file))
  .map((file) => file.split(sep).join('/'));
const rendererText = (file: string): string => readFileSync(join(rendererRoot, file), 'utf8');
const importsOfRenderer = (file: string): readonly { readonly specifier: string; readonly typesOnly: boolean }[] =>
  [...rendererText(file).matchAll(/import\s+(type\s)?(?:[^'";]*?\sfrom\s+)?['"](\.[^'"]+)['"]/g)].map((match) => ({
    specifier: match[2]!,
    typesOnly: match[1] !== undefined,
  }));

describe('the import table', () => {
  it.each(files.filter((file) => file.includes('/')))('%s imports only what its layer may', (file) => {
    const layer = file.split('/')[0]!;
    const may = allowedImports[layer];
    expect(may, `src-main/${layer} is not in the import table of test/architecture.test.ts`).toBeDefined();
    for (const target of relativeImports(file)) {
      const targetLayer = target.split('/')[0]!;
      expect([layer, ...may!], `${file} imports ${target}`).toContain(targetLayer);
    }
  });

  it.each(rendererFiles)('src-renderer/%s imports only what its layer may', (file) => {
    const layer = file.split('/')[0]!;
    const may = rendererImports[layer];
    expect(may, `src-renderer/${layer} is not in the import table of test/architecture.test.ts`).toBeDefined();
    for (const { specifier, typesOnly } of importsOfRenderer(file)) {
      const target = relative(rendererRoot, resolve(rendererRoot, dirname(file), specifier))
        .split(sep)
        .join('/');
      const [, contractFile] = /^\.\.\/src-main\/(contract\/.*)$/.exec(target) ?? [];
      if (contractFile === undefined) {
        expect([layer, ...may!], `${file} imports ${target}`).toContain(target.split('/')[0]!);
      } else if (typesOnly) {
        expect(may, `${file} imports ${target}`).toContain('types');
      } else {
        expect(may, `${file} imports values of ${target}`).toContain('contract');
        expect(plainContract).toContain(contractFile);
      }
    }
  });

  it('only the bridge reads window.mole', () => {
    const readers = rendererFiles.filter((file) => /window\.mole|new WebSocket/.test(rendererText(file)));
    expect(readers).toEqual(['bridge.ts']);
  });

  it.each(Object.entries(doors))('%s has one door', (name, isDoor) => {
    const importers = files.filter((file) => importsOf(file).some((s) => s === name || s.startsWith(`${name}/`)));
    expect(importers.filter((file) => !isDoor(file))).toEqual([]);
  });

  it('protobuf bytes are written in formats/onnx-model.ts alone', () => {
    const writers = files.filter((file) =>
      /protobuf|varint/i.test(readFileSync(join(root, file), 'utf8').replace(/\/\/.*|\/\*[\s\S]*?\*\//g, '')),
    );
    expect(writers.filter((file) => file !== 'formats/onnx-model.ts')).toEqual([]);
  });

  it('has no import cycle', () => {
    const state = new Map<string, 'open' | 'done'>();
    const visit = (file: string, path: readonly string[]): void => {
      if (state.get(file) === 'done') return;
      expect(state.get(file), `cycle: ${[...path, file].join(' -> ')}`).not.toBe('open');
      state.set(file, 'open');
      for (const target of relativeImports(file)) {
        const next = files.find((f) => f === target);
        if (next !== undefined) visit(next, [...path, file]);
      }
      state.set(file, 'done');
    };
    for (const file of files) visit(file, []);
  });

  it('no folder is named utils, helpers, common or manager', () => {
    expect(files.filter((file) => /(^|\/)(utils|helpers|common|manager)(\/|\.ts)/.test(file))).toEqual([]);
  });
});
