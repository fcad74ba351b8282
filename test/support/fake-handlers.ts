// Handlers that are quick and misbehave on order, for tests of everything around the engine: they go through the same
// server, process and client as the real ones. What a generate job does is said in its prompt.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GenerateRequest, GenerateSettings, FinishedPicture } from '../../src-main/contract/generation.ts';
import type { Handlers, JobContext } from '../../src-main/engine/engine.ts';
import type { GenerateEvent } from '../../src-main/contract/generation.ts';

/** Milliseconds of one step. */
const stepMs = 15;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A native call as onnxruntime makes them: nothing else of the process runs meanwhile. */
const block = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** True the first time it is asked in `folder`, also across processes. */
function firstTime(folder: string, name: string): boolean {
  const mark = join(folder, `.${name}`);
  if (existsSync(mark)) return false;
  writeFileSync(mark, '');
  return true;
}

async function generate(params: unknown, { signal, emit }: JobContext<GenerateEvent>) {
  const { prompt, seed = 0, batch, steps, output } = params as GenerateSettings;
  mkdirSync(output.folder, { recursive: true });
  if (prompt === 'throw') throw new TypeError('x is not a function');
  if (prompt === 'reject unheard') void Promise.reject(new Error('nobody listens'));
  if (prompt === 'no memory') throw Object.assign(new Error('The unet failed: bad_alloc'), { outOfMemory: true });
  if (prompt === 'exit') process.exit(3);
  if (prompt === 'abort') process.abort();
  const pictures: FinishedPicture[] = [];
  emit({ kind: 'stage', stage: 'denoising', message: 'Drawing' });
  for (let index = 0; index < batch; index++) {
    for (let step = 1; step <= steps; step++) {
      signal.throwIfAborted();
      if (prompt === 'block') block(60_000);
      await sleep(stepMs);
      emit({ kind: 'step', step, steps, index, batch, elapsedMs: stepMs * step });
    }
    const path = join(output.folder, `${seed + index}-${Date.now()}.png`);
    writeFileSync(path, `picture of seed ${seed + index}`);
    const picture = { path, seed: seed + index, width: 64, height: 64 };
    pictures.push(picture);
    emit({ kind: 'picture', picture });
    const crashes = /^crash (once|always) after (\d+)$/.exec(prompt);
    if (crashes !== null && pictures.length === Number(crashes[2])) {
      if (crashes[1] === 'always' || firstTime(output.folder, 'crashed')) process.kill(process.pid, 'SIGKILL');
    }
  }
  const timings = { openMs: 0, encodeMs: 0, denoiseMs: 0, stepMs, decodeMs: 0, totalMs: 0 };
  return { pictures, device: 'cpu', deviceReason: 'The test asked for it.', warnings: [], timings };
}

/** A complete request for the fake generate. */
export function fakeRequest(prompt: string, folder: string, more: Partial<GenerateRequest> = {}): GenerateRequest {
  return { model: '/no/model', prompt, seed: 5, steps: 2, output: { folder }, ...more };
}

const notFaked = (): Promise<never> => Promise.reject(new Error('not faked'));

export const fakeHandlers: Handlers = {
  generate,
  tokenCount: (params) => {
    const { prompt } = params as { readonly prompt: string };
    return Promise.resolve({ tokens: prompt.split(' ').length, limit: 75 });
  },
  inspect: notFaked,
  network: notFaked,
  noise: notFaked,
  trainGate: notFaked,
  trainLora: notFaked,
  trainingMemory: notFaked,
  bake: notFaked,
  saveRecipe: notFaked,
  devices: notFaked,
  sheet: notFaked,
  readPicture: notFaked,
  exportPicture: notFaked,
  thumbnail: notFaked,
};
