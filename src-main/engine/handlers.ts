// What the engine can do, method by method: each handler ties a function of its own file to the contract.
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MixSettings } from '../contract/experts.ts';
import { generateRequestSchema, type DeviceChoice } from '../contract/generation.ts';
import { checkParams } from '../contract/check.ts';
import { FailureError } from '../contract/failure.ts';
import { writeSafetensors } from '../formats/safetensors-write.ts';
import { RuntimeFailure } from '../runtime/session.ts';
import { TorchGenerator } from '../tensor/random.ts';
import { tokenCount } from '../text/prompt.ts';
import { bake, bakedMetadata } from './bake.ts';
import { completeMix } from './complete-mix.ts';
import { describeFile } from './describe-file.ts';
import { availableMemory, chooseDevice, probeDevices, type DeviceDecision, type DeviceOptions } from './devices.ts';
import type { Handlers } from './engine.ts';
import { drawSheet } from './draw-sheet.ts';
import { buildMixture, ExpertStore } from './expert-stack.ts';
import { exportPicture } from './export-picture.ts';
import type { GateExpert } from './gate-learner.ts';
import { generateImage } from './generate-image.ts';
import type { LoadedModel, ModelDevice } from './loaded-model.ts';
import type { Mixture } from './mixture.ts';
import { ModelStore } from './model-store.ts';
import { readPicture } from './read-picture.ts';
import { writeRecipe } from './recipe.ts';
import { runNetwork } from './run-network.ts';
import { writeThumbnail } from './thumbnail.ts';
import { trainGate, type FurtherStack } from './train-gate.ts';
import { trainLora } from './train-lora.ts';
import { trainingMemory } from './training-memory.ts';

/** Where probes are remembered between runs of the program. */
const cacheFolder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'mole-atelier');

/** The product's handlers, over one store of open models. `launch` tries a provider; by default a forked probe.js does. */
export function createHandlers(launch?: DeviceOptions['launch']): Handlers {
  const store = new ModelStore();
  const experts = new ExpertStore();
  const devices: DeviceOptions = { cacheFolder, ...(launch === undefined ? {} : { launch }) };
  const choose = (choice: DeviceChoice): Promise<DeviceDecision> => chooseDevice(choice, devices);
  const deviceOf = (decision: DeviceDecision, threads?: number): ModelDevice => ({
    provider: decision.provider,
    fusedAttention: decision.fusedAttention,
    threads,
  });

  /** `work` on the chosen device; on the CPU once more when the device fails on a real network: the result matters more. */
  const onDevice = async <T>(
    choice: DeviceChoice,
    threads: number | undefined,
    warn: (message: string) => void,
    work: (device: ModelDevice) => Promise<T>,
  ): Promise<T & { readonly device: string; readonly deviceReason: string }> => {
    const decision = await choose(choice);
    const run = async (device: ModelDevice, deviceReason: string) => ({
      ...(await work(device)),
      device: device.provider,
      deviceReason,
    });
    const device = deviceOf(decision, threads);
    if (device.provider === 'cpu') return run(device, decision.reason);
    try {
      return await run(device, decision.reason);
    } catch (error) {
      if (!isDeviceTrouble(error)) throw error;
      const reason = `The CPU runs: ${device.provider} failed on this job (${error.message})`;
      warn(reason);
      return run({ provider: 'cpu', fusedAttention: true, threads }, reason);
    }
  };

  /** The mixture of a request and its prompt without tags; warnings are told. */
  const mixtureOf = async (
    mix: MixSettings | undefined,
    prompt: string,
    model: LoadedModel,
    { signal, warn }: { readonly signal: AbortSignal; readonly warn: (message: string) => void },
  ): Promise<Mixture> => {
    const complete = await completeMix(mix, prompt);
    complete.warnings.forEach(warn);
    return buildMixture(complete.mix, model, experts, { signal, warn, prompt: complete.prompt });
  };

  return {
    async generate(params, context) {
      const settings = checkParams('generate', params);
      const warn = (message: string): void => {
        context.emit({ kind: 'warning', message });
      };
      return onDevice(settings.device, settings.threads, warn, async (device) => {
        const model = await store.open(settings, device);
        const told: string[] = [];
        const tell = (message: string): void => {
          told.push(message);
          warn(message);
        };
        const mixture = await mixtureOf(settings.mix, settings.prompt, model, { signal: context.signal, warn: tell });
        const result = await generateImage(settings, model, mixture, context, availableMemory());
        return { ...result, warnings: [...told, ...result.warnings] };
      });
    },

    async trainGate(params, context) {
      const settings = checkParams('trainGate', params);
      const warn = (message: string): void => {
        context.emit({ kind: 'warning', message });
      };
      return onDevice(settings.device, settings.threads, warn, async (device) => {
        const start = performance.now();
        const model = await store.open({ model: settings.model, vae: settings.vae }, device);
        const { mix } = await completeMix(settings.mix, '');
        const open = async (paths: readonly string[], prompts: readonly string[]): Promise<readonly GateExpert[]> => {
          const own: GateExpert[] = [];
          for (const [i, path] of paths.entries()) {
            const { expert, warnings, ownPrompt } = await experts.load(path, model.checkpoint, context.signal);
            warnings.forEach(warn);
            const prompt = prompts[i] ?? ownPrompt;
            own.push({ expert, weight: 1, textWeight: 1, prompts: prompt === undefined ? [] : [prompt] });
          }
          return own;
        };
        const paths = mix.experts.map(({ path }) => path);
        const further: FurtherStack[] = [];
        for (const stack of settings.further) further.push({ ...stack, experts: await open(stack.experts, []) });
        const own = await open(paths, settings.prompts);
        const outcome = await trainGate(settings, model, own, context, availableMemory(), further);
        return { ...outcome, elapsedMs: performance.now() - start };
      });
    },

    async trainLora(params, context) {
      const settings = checkParams('trainLora', params);
      const warn = (message: string): void => {
        context.emit({ kind: 'warning', message });
      };
      return onDevice(settings.device, settings.threads, warn, async (device) => {
        const start = performance.now();
        const model = await store.open({ model: settings.model, vae: settings.vae }, device);
        const outcome = await trainLora(settings, model, context, availableMemory());
        return { ...outcome, elapsedMs: performance.now() - start };
      });
    },

    async trainingMemory(params) {
      return trainingMemory(checkParams('trainingMemory', params), availableMemory());
    },

    async bake(params, context) {
      const settings = checkParams('bake', params);
      const warnings: string[] = [];
      const warn = (message: string): void => {
        warnings.push(message);
        context.emit({ kind: 'warning', message });
      };
      const result = await onDevice(settings.device, settings.threads, warn, async (device) => {
        const model = await store.open({ model: settings.model, vae: settings.vae }, device);
        const mixture = await mixtureOf(settings.mix, settings.prompts[0]!, model, { signal: context.signal, warn });
        const { model: path, vae, prompts, negativePrompt, seed, steps, cfgScale, width, height } = settings;
        const drawings = prompts.map((prompt) =>
          generateRequestSchema.parse({
            model: path,
            vae,
            prompt,
            negativePrompt,
            seed,
            steps,
            cfgScale,
            width,
            height,
            output: { folder: tmpdir(), metadata: false },
          }),
        );
        const { rank, output } = settings;
        const metadata = bakedMetadata(mixture, model, output);
        const report = await bake({ drawings, rank, output, metadata }, model, mixture, context, availableMemory());
        return { ...report, experts: mixture.entries.map(({ expert }) => expert.name) };
      });
      return { ...result, warnings };
    },

    async saveRecipe(params) {
      const { mix, prompt, output } = checkParams('saveRecipe', params);
      return { path: await writeRecipe(output, (await completeMix(mix, prompt)).mix) };
    },

    async inspect(params, { signal }) {
      const { path, ...options } = checkParams('inspect', params);
      return describeFile(path, { ...options, signal });
    },

    async network(params, { signal }) {
      const run = checkParams('network', params);
      const decision = await choose(run.device);
      const model = await store.open({ model: run.model, vae: run.vae }, deviceOf(decision));
      const warn = (): void => undefined;
      model.useMixture(await mixtureOf(run.mix, '', model, { signal, warn }));
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
      return probeDevices({ refresh, ...devices });
    },

    async sheet(params) {
      return drawSheet(checkParams('sheet', params));
    },

    async thumbnail(params) {
      return { drawn: await writeThumbnail(checkParams('thumbnail', params)) };
    },

    async readPicture(params) {
      return readPicture(checkParams('readPicture', params).path);
    },

    async exportPicture(params) {
      return exportPicture(checkParams('exportPicture', params));
    },

    tokenCount(params) {
      return Promise.resolve(tokenCount(checkParams('tokenCount', params).prompt));
    },
  };
}

function isDeviceTrouble(error: unknown): error is Error {
  return error instanceof RuntimeFailure || (error instanceof FailureError && error.failure.kind === 'not-a-number');
}
