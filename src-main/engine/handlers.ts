// What the engine can do, method by method: each handler ties a function of its own file to the contract.
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { DeviceChoice } from '../contract/generation.ts';
import { checkParams } from '../contract/check.ts';
import { FailureError } from '../contract/failure.ts';
import { writeSafetensors } from '../formats/safetensors-write.ts';
import { RuntimeFailure } from '../runtime/session.ts';
import { TorchGenerator } from '../tensor/random.ts';
import { tokenCount } from '../text/prompt.ts';
import { describeFile } from './describe-file.ts';
import { availableMemory, chooseDevice, probeDevices, type DeviceDecision } from './devices.ts';
import type { Handlers } from './engine.ts';
import { drawSheet } from './draw-sheet.ts';
import { generateImage } from './generate-image.ts';
import type { ModelDevice } from './loaded-model.ts';
import { Mixture } from './mixture.ts';
import { ModelStore } from './model-store.ts';
import { runNetwork } from './run-network.ts';

/** Where probes are remembered between runs of the program. */
const cacheFolder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'mole-atelier');

const noMixture = new Mixture([], { mode: 'sum' });

/** The product's handlers, over one store of open models. */
export function createHandlers(): Handlers {
  const store = new ModelStore();
  const choose = (choice: DeviceChoice): Promise<DeviceDecision> => chooseDevice(choice, { cacheFolder });
  const deviceOf = (decision: DeviceDecision, threads?: number): ModelDevice => ({
    provider: decision.provider,
    fusedAttention: decision.fusedAttention,
    threads,
  });

  return {
    async generate(params, context) {
      const settings = checkParams('generate', params);
      const decision = await choose(settings.device);
      const draw = async (device: ModelDevice, reason: string) => {
        const model = await store.open(settings, device);
        const pictures = await generateImage(settings, model, noMixture, context, availableMemory());
        return { ...pictures, device: device.provider, deviceReason: reason };
      };
      const device = deviceOf(decision, settings.threads);
      if (device.provider === 'cpu') return draw(device, decision.reason);
      try {
        return await draw(device, decision.reason);
      } catch (error) {
        // A device that passed its self-test can still fail on a real network: the picture matters more than the device.
        if (!isDeviceTrouble(error)) throw error;
        const reason = `The CPU runs: ${device.provider} failed on this picture (${error.message})`;
        context.emit({ kind: 'warning', message: reason });
        return draw({ provider: 'cpu', fusedAttention: true, threads: settings.threads }, reason);
      }
    },

    async inspect(params) {
      return describeFile(checkParams('inspect', params).path);
    },

    async network(params) {
      const run = checkParams('network', params);
      const decision = await choose(run.device);
      const model = await store.open({ model: run.model, vae: run.vae }, deviceOf(decision));
      return { ...(await runNetwork(run, model)), device: decision.provider };
    },

    async noise(params) {
      const { seed, shape, output } = checkParams('noise', params);
      const noise = new TorchGenerator(seed).randn(shape);
      await writeSafetensors(output, { noise }, { seed: String(seed) });
      return { shape };
    },

    async devices(params) {
      const { refresh } = checkParams('devices', params);
      return probeDevices({ refresh, cacheFolder });
    },

    async sheet(params) {
      return drawSheet(checkParams('sheet', params));
    },

    tokenCount(params) {
      return Promise.resolve(tokenCount(checkParams('tokenCount', params).prompt));
    },
  };
}

function isDeviceTrouble(error: unknown): error is Error {
  return error instanceof RuntimeFailure || (error instanceof FailureError && error.failure.kind === 'not-a-number');
}
