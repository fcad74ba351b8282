// What the throw-away probe process tells its parent. Plain data: it crosses a process border as JSON.
import { z } from 'zod';
import type { ProviderName } from '../contract/devices.ts';

/** A JSON number; infinity travels as null. */
const measured = z
  .number()
  .nullable()
  .transform((value) => value ?? Infinity);

export const probeMessageSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('measured'),
    result: z.object({
      error: measured,
      worst: z.string(),
      fusedAttentionError: measured.optional(),
      speed: z.object({ provider: z.number(), cpu: z.number() }).optional(),
    }),
  }),
  z.object({ kind: z.literal('not-in-this-build'), version: z.string() }),
  z.object({ kind: z.literal('failed'), message: z.string() }),
]);

export type ProbeMessage = z.output<typeof probeMessageSchema>;

const providers = ['cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const satisfies readonly ProviderName[];

/** True for the name of a provider that the product knows. */
export function isProvider(name: unknown): name is ProviderName {
  return (providers as readonly unknown[]).includes(name);
}
