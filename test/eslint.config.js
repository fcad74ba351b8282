// Lint rules with reasons: strict types everywhere, and the habits of CONTRIBUTING.md that a machine can check.
import svelte from 'eslint-plugin-svelte';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['**/out/**', '**/node_modules/**'] },
  ...tseslint.configs.strictTypeChecked,
  ...svelte.configs.recommended,
  {
    languageOptions: {
      parserOptions: {
        project: [
          './src-main/tsconfig.json',
          './src-renderer/tsconfig.json',
          './test/tsconfig.json',
          './test/app/tsconfig.json',
        ],
        extraFileExtensions: ['.svelte'],
        tsconfigRootDir: `${import.meta.dirname}/..`,
      },
    },
    rules: {
      // Template strings with numbers are how shapes are printed.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // noUncheckedIndexedAccess makes every typed-array read possibly undefined; loops over a known length assert it.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Seeds and counts are compared with undefined, never with ||: 0 is a value.
      '@typescript-eslint/prefer-nullish-coalescing': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'Named exports only: a name is searchable.' },
        { selector: 'TSEnumDeclaration', message: 'Use a union of string literals.' },
      ],
    },
  },
  {
    files: ['electron.vite.config.ts', 'test/vitest.config.ts', 'test/bench/vite.config.ts', 'test/eslint.config.js'],
    rules: { 'no-restricted-syntax': 'off' },
  },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: tseslint.parser } },
  },
  {
    // ESLint sees other components as any; svelte-check, which knows them, checks the same types.
    files: ['**/*.svelte'],
    rules: {
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unnecessary-type-assertion': 'off',
    },
  },
  {
    files: ['src-renderer/**'],
    ignores: ['src-renderer/bridge.ts'],
    rules: {
      'no-restricted-globals': ['error', { name: 'WebSocket', message: 'Only bridge.ts talks to the host.' }],
      'no-restricted-properties': [
        'error',
        { object: 'window', property: 'mole', message: 'Only bridge.ts reads it.' },
      ],
    },
  },
  { files: ['test/**/*.{js,mjs}'], extends: [tseslint.configs.disableTypeChecked] },
);
