// Checks a request's parameters against the contract and says what is wrong in plain words: which field, what it may be,
// what came. Used where a message enters the engine, and by the command line, which calls the fields by their flags.
import type { z } from 'zod';
import { methodSchemas, type MethodName } from './channels.ts';
import { FailureError } from './failure.ts';

/** How a field is called in messages, e.g. `cfgScale` or `--cfg`. Takes the path, e.g. `output.quality`. */
export type FieldName = (path: string) => string;

/**
 * `params` with every default filled in. Throws a FailureError of kind 'bad-request' that names each wrong field (at most
 * five of them).
 */
export function checkParams<Name extends MethodName>(
  method: Name,
  params: unknown,
  fieldName: FieldName = (path) => path,
): z.output<(typeof methodSchemas)[Name]> {
  const parsed = methodSchemas[method].safeParse(params);
  if (parsed.success) return parsed.data as z.output<(typeof methodSchemas)[Name]>;
  throw new FailureError({ kind: 'bad-request', message: explainIssues(parsed.error, params, fieldName) });
}

/** What is wrong with `params`, in sentences: at most five of them. */
export function explainIssues(error: z.ZodError, params: unknown, fieldName: FieldName = (path) => path): string {
  return error.issues
    .slice(0, 5)
    .flatMap((issue) => explainIssue(issue, params, fieldName))
    .join(' ');
}

/** One sentence per wrong field of one issue. */
function explainIssue(issue: z.core.$ZodIssue, params: unknown, fieldName: FieldName): readonly string[] {
  const path = issue.path.map(String).join('.');
  const field = path === '' ? 'The request' : fieldName(path);
  const came = issue.path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    params,
  );
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const full = path === '' ? key : `${path}.${key}`;
      return `${fieldName(full)} is not known here; check its spelling.`;
    });
  }
  if (came === undefined) return [`${field} is missing: give ${expectation(issue)}.`];
  return [`${field} must be ${expectation(issue)}, not ${show(came)}.`];
}

const kindWords: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
};

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return kindWords[issue.expected] ?? issue.expected;
    case 'invalid_value':
      return issue.values.length === 1 ? String(issue.values[0]) : `one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      if (issue.origin === 'string')
        return issue.minimum === 1 ? 'not empty' : `${String(issue.minimum)} characters or longer`;
      if (issue.origin === 'array') return `a list of at least ${String(issue.minimum)}`;
      return `at least ${String(issue.minimum)}${unit(issue.message)}`;
    case 'too_big':
      if (issue.origin === 'string') return `at most ${String(issue.maximum)} characters long`;
      if (issue.origin === 'array') return `a list of at most ${String(issue.maximum)}`;
      return `at most ${String(issue.maximum)}${unit(issue.message)}`;
    case 'custom':
      // The schema's own words: "a side must be a multiple of 8 pixels".
      return issue.message.replace(/^.*? must be /, '');
    default:
      return issue.message;
  }
}

const unit = (message: string): string => (/\bpixels\b/.test(message) ? ' pixels' : '');

function show(value: unknown): string {
  if (typeof value === 'string') return value.length > 60 ? `a text of ${value.length} characters` : `"${value}"`;
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
}
