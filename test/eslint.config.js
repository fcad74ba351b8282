// Lint rules with reasons: strict types everywhere, and the habits of CONTRIBUTING.md that a machine can check.
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['**/out/**', '**/node_modules/**'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: ['./src-main/tsconfig.json', './test/tsconfig.json'],
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
  { files: ['test/**/*.js'], extends: [tseslint.configs.disableTypeChecked] },
);
