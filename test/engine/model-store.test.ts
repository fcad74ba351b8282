// The model that stays open between pictures: what keeps it, and what opens it anew.
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ModelStore } from '../../src-main/engine/model-store.ts';

const model = resolve(import.meta.dirname, '../../models/atelier-mini');

describe('the open model', () => {
  it('is the same for another order, and another one for another device', async () => {
    const store = new ModelStore();
    const device = { provider: 'cpu', fusedAttention: true } as const;
    const order = { model, prompt: 'a red apple', seed: 1, steps: 20 };
    const first = await store.open(order, device);
    const next = { model, prompt: 'a fox', seed: 2, steps: 3 };
    expect(await store.open(next, device)).toBe(first);
    expect(await store.open(next, { ...device, threads: 1 })).not.toBe(first);
    await store.close();
  });
});
