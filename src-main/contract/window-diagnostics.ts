// The window's language of diagnostics: what a report of a mistake needs, without a word of what was drawn.
import { z } from 'zod';

export const diagnosticsMethodSchemas = {
  /** Everything worth knowing about this installation, as text to paste. */
  diagnostics: z.strictObject({}),
} as const;

export interface DiagnosticsMethods {
  diagnostics: { params: z.input<typeof diagnosticsMethodSchemas.diagnostics>; result: Diagnostics };
}

export interface Diagnostics {
  /** Lines of text; no prompt, and the home folder written as `~`. */
  readonly text: string;
  /** Where the log files lie, on the machine of the host. */
  readonly logFolder: string;
}
