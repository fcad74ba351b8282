// How an engine has a provider tried where it cannot start processes itself: under Electron, whose packed program does not run
// as Node. The engine asks the process that started it, which starts probe.js and tells how it ended.
import { z } from 'zod';

/** Engine to its parent. */
export const probeOrderSchema = z.object({
  kind: z.literal('probe'),
  /** Tells one order from another. */
  probe: z.number().int(),
  /** The argument of probe.js. */
  provider: z.string().regex(/^[a-z]+$/),
  /** Milliseconds after which it is ended. */
  timeoutMs: z.number().min(0),
});

/** Parent to engine: exactly one ends each order. */
export const probeEndSchema = z.object({
  kind: z.literal('probe-ended'),
  probe: z.number().int(),
  end: z.discriminatedUnion('kind', [
    /** What probe.js said; the engine checks it. */
    z.object({ kind: z.literal('said'), message: z.unknown() }),
    z.object({ kind: z.literal('exited'), code: z.number(), lastWords: z.string() }),
    z.object({ kind: z.literal('timed-out') }),
  ]),
});

export type ProbeOrder = z.output<typeof probeOrderSchema>;
export type ProbeEnd = z.output<typeof probeEndSchema>;
