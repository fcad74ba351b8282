// A checkpoint opened on a device: its networks as sessions, opened when first needed and kept while they fit.
// What is shaped by the picture's size (UNet, VAE) is reopened when the size changes; weights are never copied for it.
import type { Branch } from '../diffusion/guidance.ts';
import type { Graph } from '../graph/ir.ts';
import { blockRowOf } from '../mole/block-rows.ts';
import { expertLayers, gatesOutput, momentsOutput } from '../mole/expert-layers.ts';
import type { GateGroup } from '../mole/groups.ts';
import { downscale, vaeDecoder, vaeEncoder } from '../networks/autoencoder.ts';
import { clipText } from '../networks/clip-text.ts';
import type { AttentionForm, LayerFactory } from '../networks/layers.ts';
import { textEncoderModules, unetModules, type ExpertNetwork, type NetworkModule } from '../networks/modules.ts';
import { taesdDecoder } from '../networks/taesd.ts';
import { unet } from '../networks/unet.ts';
import { Session, type HeldInputs, type Provider, type SessionOptions } from '../runtime/session.ts';
import { floatTensor, type FloatTensor, type IntTensor } from '../tensor/tensor.ts';
import type { Checkpoint, Vae } from './checkpoint.ts';
import { kindOf, type Learned, type Mixture, type NetworkMixture, type Rows } from './mixture.ts';

export interface ModelDevice {
  readonly provider: Provider;
  /** Whether onnxruntime's fused attention gave right numbers on this provider. */
  readonly fusedAttention: boolean;
  readonly threads?: number | undefined;
}

/** Where in a drawing a network is run: it decides how loud each expert is. */
export interface MixturePoint {
  /** From 0. */
  readonly step: number;
  readonly steps: number;
  /** The only expert that speaks, by its place in the stack. */
  readonly alone?: number | undefined;
  /** Of guidance; the conditional one unless given. */
  readonly branch?: Branch | undefined;
}
const anywhere: MixturePoint = { step: 0, steps: 1 };

/** What the UNet says, and what its gates were: [B, G, N] over `gateGroups('unet')`, undefined without gates. */
export interface Prediction {
  readonly prediction: FloatTensor;
  readonly gates: FloatTensor | undefined;
}

const textRows: Rows = { names: ['BASE'], rowOf: () => 'BASE' };

export class LoadedModel {
  readonly checkpoint: Checkpoint;
  readonly device: ModelDevice;
  /** The UNet's layers in the order in which they run, and the rows they belong to. */
  readonly unetModules: readonly NetworkModule[];
  readonly textModules: readonly NetworkModule[];
  readonly unetRows: Rows;
  #mixture: Mixture | undefined;
  #textGates: FloatTensor | undefined;
  #unetGates: FloatTensor | undefined;
  /** Kinds of layers that carried a branch once keep it, so that experts come and go without a new session. */
  readonly #carried: Readonly<Record<ExpertNetwork, Set<string>>> = { unet: new Set(), text_encoder: new Set() };
  /** Whether gates can be set by hand: from the first time that one is, so that dragging opens one session, not many. */
  #overridable = false;
  /** Made when first asked for, until the mixture changes. */
  readonly #parts = new Map<string, NetworkMixture>();
  readonly #held = new Map<
    ExpertNetwork,
    { readonly session: Session; readonly part: NetworkMixture; readonly inputs: HeldInputs }
  >();
  /** One open session per role, under the key of what it was opened for. */
  readonly #open = new Map<string, { readonly key: string; readonly session: Session }>();

  constructor(checkpoint: Checkpoint, device: ModelDevice) {
    this.checkpoint = checkpoint;
    this.device = device;
    const { config } = checkpoint.unet;
    this.unetModules = unetModules(config);
    this.textModules = textEncoderModules(checkpoint.textEncoder.config);
    const rowOf = (module: string): string => blockRowOf(module, config);
    this.unetRows = { names: [...new Set(this.unetModules.map(({ name }) => rowOf(name)))], rowOf };
  }

  /**
   * The experts that speak from now on, none of them with an empty mixture. The same experts under the same gate keep what was
   * uploaded, whatever their weights and masks; sessions stay open wherever the graph stays the same.
   */
  useMixture(mixture: Mixture): void {
    const before = this.#mixture;
    this.#mixture = mixture;
    const overridable = this.#overridable || mixture.isOverridden;
    if (before !== undefined && sameFactors(before, mixture) && overridable === this.#overridable) return;
    this.#overridable = overridable;
    this.#parts.clear();
    for (const { expert } of mixture.entries) {
      for (const network of ['unet', 'text_encoder'] as const) {
        for (const { module } of expert.layers[network].values()) this.#carried[network].add(kindOf(module));
      }
    }
  }

  /** The gates of a network in the order of Prediction.gates and textGates. */
  gateGroups(network: ExpertNetwork = 'unet'): readonly GateGroup[] {
    return (network === 'unet' ? this.#unetPart() : this.#textPart(0))?.groups ?? [];
  }

  /** The rows of a network's weights. */
  rows(network: ExpertNetwork): Rows {
    return network === 'unet' ? this.unetRows : textRows;
  }

  /** Names of the experts, in the order of N. */
  get expertNames(): readonly string[] {
    return (this.#mixture?.entries ?? []).map(({ expert }) => expert.name);
  }

  /** The gates [B, G, N] of the last prediction; undefined without gates. */
  get unetGates(): FloatTensor | undefined {
    return this.#unetGates;
  }

  /** The gates [B, G, N] of the last text that was encoded; undefined without gates. */
  get textGates(): FloatTensor | undefined {
    return this.#textGates;
  }

  /** Words of the mixture beside the vocabulary's. */
  get learned(): Learned | undefined {
    return this.#mixture?.learned;
  }

  /** Pixels per latent on each side: 8 for Stable Diffusion. */
  get pixelsPerLatent(): number {
    const { vae } = this.checkpoint;
    return vae.kind === 'kl' ? downscale(vae.config) : 8;
  }

  /** Latents are multiplied by this before the UNet sees them. */
  get scalingFactor(): number {
    const { vae } = this.checkpoint;
    return vae.kind === 'kl' ? vae.config.scalingFactor : 1;
  }

  /** Token ids [B, T] -> hidden states [B, T, D]. `skipLayers` are left out at the end. */
  async encodeText(ids: IntTensor, skipLayers: number, at: MixturePoint = anywhere): Promise<FloatTensor> {
    const { config, weights } = this.checkpoint.textEncoder;
    const part = this.#textPart(skipLayers);
    const { learned } = this;
    const extraEmbeddings = learned !== undefined;
    const key = `skip ${skipLayers} ${extraEmbeddings ? 'words' : ''} ${part?.key ?? ''}`;
    const session = await this.#session('text encoder', key, () =>
      clipText(config, { ref: (name) => weights.ref(name), skipLayers, extraEmbeddings, ...layersOf(part) }),
    );
    const feeds = {
      input_ids: ids,
      ...(learned === undefined ? {} : { extra_embeddings: learned.table }),
      ...this.#mixture?.weights('text_encoder', textRows, at.step, at.steps, at.alone),
    };
    const result = await session.run(feeds, await this.#hold('text_encoder', session, part));
    this.#textGates = result[gatesOutput] === undefined ? undefined : float(result[gatesOutput]);
    return float(result['last_hidden_state']);
  }

  /** The UNet's prediction: sample [B, C, H, W], timestep [B], text [B, T, D] -> [B, C, H, W], and its gates. */
  async predict(
    sample: FloatTensor,
    timestep: FloatTensor,
    text: FloatTensor,
    at: MixturePoint = anywhere,
  ): Promise<Prediction> {
    const [height, width] = [sample.shape[2]!, sample.shape[3]!];
    const session = await this.openUNet(height, width, text.shape[1]!);
    const feeds = {
      sample,
      timestep,
      encoder_hidden_states: text,
      ...this.#mixture?.weights('unet', this.unetRows, at.step, at.steps, at.alone, at.branch),
    };
    const result = await session.run(feeds, await this.#hold('unet', session, this.#unetPart()));
    const gates = result[gatesOutput];
    this.#unetGates = gates === undefined ? undefined : float(gates);
    return { prediction: float(result['out_sample']), gates: this.#unetGates };
  }

  /**
   * What each expert hears on its own prompt: for every layer with a branch, one E[u u^T] [R, R] per expert, measured at one
   * timestep with that expert alone at its strength. `texts` holds the text states [1, T, D] of each expert's prompt.
   * The session is closed again.
   */
  async measureMoments(
    sample: FloatTensor,
    timestep: number,
    texts: readonly FloatTensor[],
  ): Promise<ReadonlyMap<string, readonly FloatTensor[]>> {
    const { config, weights } = this.checkpoint.unet;
    const part = this.#unetPart();
    const moments = new Map<string, FloatTensor[]>();
    if (part === undefined) return moments;
    const [height, width] = [sample.shape[2]!, sample.shape[3]!];
    const session = await this.#session('unet moments', `${height}x${width}x${texts[0]!.shape[1]!} ${part.key}`, () =>
      unet(config, {
        ref: (name) => weights.ref(name),
        height,
        width,
        textTokens: texts[0]!.shape[1]!,
        attention: this.#attention(),
        layers: expertLayers({ ...part.graph, moments: true }),
      }),
    );
    for (const [alone, encoder_hidden_states] of texts.entries()) {
      const feeds = {
        sample,
        timestep: floatTensor([1], Float32Array.of(timestep)),
        encoder_hidden_states,
        ...part.fixed,
        ...this.#mixture!.weights('unet', this.unetRows, 0, 1, alone),
      };
      const result = await session.run(feeds);
      for (const module of part.graph.modules.keys()) {
        const list = moments.get(module) ?? [];
        moments.set(module, [...list, float(result[momentsOutput(module)])]);
      }
    }
    await this.release('unet moments');
    return moments;
  }

  /** The UNet's graph for latents of [height, width], with the caller's layers: what training is built on. */
  unetGraph(height: number, width: number, textTokens: number, layers: LayerFactory): Graph {
    const { config, weights } = this.checkpoint.unet;
    const attention = this.#attention();
    return unet(config, { ref: (name) => weights.ref(name), height, width, textTokens, attention, layers });
  }

  /** The text encoder's graph, every layer of it, with the caller's layers. */
  textGraph(layers: LayerFactory): Graph {
    const { config, weights } = this.checkpoint.textEncoder;
    return clipText(config, { ref: (name) => weights.ref(name), layers });
  }

  /** Opens a graph of the caller's on this model's device; the caller releases it. */
  openGraph(graph: Graph): Promise<Session> {
    return Session.open(graph, this.#sessionOptions());
  }

  /** Opens the UNet for latents of [height, width] and `textTokens` text states, if it is not open for them already. */
  openUNet(height: number, width: number, textTokens: number): Promise<Session> {
    const { config, weights } = this.checkpoint.unet;
    const part = this.#unetPart();
    return this.#session('unet', `${height}x${width}x${textTokens} ${part?.key ?? ''}`, () =>
      unet(config, {
        ref: (name) => weights.ref(name),
        height,
        width,
        textTokens,
        attention: this.#attention(),
        ...layersOf(part),
      }),
    );
  }

  /** Latents as the UNet sees them [B, C, H, W] -> image [B, 3, 8H, 8W] in about [-1, 1]. */
  async decode(latent: FloatTensor): Promise<FloatTensor> {
    const { vae } = this.checkpoint;
    const [height, width] = [latent.shape[2]!, latent.shape[3]!];
    const session = await this.#session('vae decoder', `${height}x${width}`, () =>
      vae.kind === 'kl'
        ? vaeDecoder(vae.config, { ref: (name) => vae.weights.ref(name), height, width, attention: this.#attention() })
        : taesdDecoder({ ref: (name) => vae.weights.ref(name), height, width }),
    );
    const scaled = floatTensor(
      latent.shape,
      latent.data.map((value) => value / this.scalingFactor),
    );
    return float((await session.run({ latent: scaled }))['image']);
  }

  /** The same through a TAESD decoder, for previews: latents as the UNet sees them [B, 4, H, W] -> [B, 3, 8H, 8W]. */
  async preview(latent: FloatTensor, taesd: Extract<Vae, { kind: 'taesd' }>): Promise<FloatTensor> {
    const [height, width] = [latent.shape[2]!, latent.shape[3]!];
    const session = await this.#session('preview decoder', `${height}x${width} ${taesd.file}`, () =>
      taesdDecoder({ ref: (name) => taesd.weights.ref(name), height, width }),
    );
    return float((await session.run({ latent }))['image']);
  }

  /**
   * Image [B, 3, 8H, 8W] in [-1, 1] -> latents as the UNet sees them: the mean of the latent Gaussian, scaled.
   * Throws when the autoencoder has no encoder (TAESD's decoder alone).
   */
  async encode(image: FloatTensor): Promise<FloatTensor> {
    const { mean } = await this.encodeMoments(image);
    return floatTensor(
      mean.shape,
      mean.data.map((value) => value * this.scalingFactor),
    );
  }

  /** Image [B, 3, 8H, 8W] in [-1, 1] -> mean and log variance of the latent Gaussian, unscaled. */
  async encodeMoments(image: FloatTensor): Promise<{ readonly mean: FloatTensor; readonly logvar: FloatTensor }> {
    const { vae } = this.checkpoint;
    if (vae.kind !== 'kl' || !vae.hasEncoder) {
      throw new Error(
        `${vae.file} decodes only: starting from a picture needs an autoencoder with its encoder. Choose a full VAE file.`,
      );
    }
    const scale = downscale(vae.config);
    const [height, width] = [image.shape[2]! / scale, image.shape[3]! / scale];
    const session = await this.#session('vae encoder', `${height}x${width}`, () =>
      vaeEncoder(vae.config, { ref: (name) => vae.weights.ref(name), height, width, attention: this.#attention() }),
    );
    const result = await session.run({ sample: image });
    return { mean: float(result['mean']), logvar: float(result['logvar']) };
  }

  /** Closes the sessions of the named roles, all without names; their memory goes back to the system. */
  async release(...roles: readonly Role[]): Promise<void> {
    if (roles.length === 0) {
      for (const { inputs } of this.#held.values()) await inputs.release();
      this.#held.clear();
    }
    for (const role of roles.length > 0 ? roles : [...this.#open.keys()]) {
      const open = this.#open.get(role);
      this.#open.delete(role);
      await open?.session.release();
    }
  }

  #unetPart(): NetworkMixture | undefined {
    return this.#part('unet', this.unetModules, '');
  }

  /** The layers that a Clip skip leaves out have no branch. */
  #textPart(skipLayers: number): NetworkMixture | undefined {
    const { config } = this.checkpoint.textEncoder;
    const depth = config.numHiddenLayers - skipLayers;
    const running = this.textModules.filter(({ name }) => layerNumber(name) < depth);
    return this.#part('text_encoder', running, `depth ${depth}`);
  }

  /** What the mixture asks of one network; undefined while no expert has ever been there. `modules` are the layers that run. */
  #part(network: ExpertNetwork, modules: readonly NetworkModule[], tag: string): NetworkMixture | undefined {
    if (this.#mixture === undefined || this.#carried[network].size === 0) return undefined;
    const key = `${network} ${tag}`;
    const made = this.#parts.get(key);
    if (made !== undefined) return made;
    const part = this.#mixture.network(network, modules, this.rows(network), this.#carried[network], this.#overridable);
    this.#parts.set(key, part);
    return part;
  }

  /** The fixed inputs of a network, uploaded once per session and mixture. */
  async #hold(
    network: ExpertNetwork,
    session: Session,
    part: NetworkMixture | undefined,
  ): Promise<HeldInputs | undefined> {
    const held = this.#held.get(network);
    if (held !== undefined && held.session === session && held.part === part) return held.inputs;
    this.#held.delete(network);
    await held?.inputs.release();
    if (part === undefined) return undefined;
    const inputs = await session.hold(part.fixed);
    this.#held.set(network, { session, part, inputs });
    return inputs;
  }

  #sessionOptions(): SessionOptions {
    const { provider, threads } = this.device;
    return { provider, ...(threads === undefined ? {} : { threads }) };
  }

  #attention(): AttentionForm {
    return this.device.fusedAttention ? 'fused' : 'plain';
  }

  async #session(role: Role, key: string, graph: () => Graph): Promise<Session> {
    const open = this.#open.get(role);
    if (open?.key === key) return open.session;
    await this.release(role);
    const session = await this.openGraph(graph());
    this.#open.set(role, { key, session });
    return session;
  }
}

export type Role = 'text encoder' | 'unet' | 'unet moments' | 'vae decoder' | 'vae encoder' | 'preview decoder';

/** True when both feed a graph the same factors and gate parameters. */
const sameFactors = (a: Mixture, b: Mixture): boolean =>
  a.gate === b.gate &&
  a.entries.length === b.entries.length &&
  a.entries.every(({ expert }, i) => expert === b.entries[i]!.expert);

/** The layer factory of a part, as an option of the networks. */
function layersOf(part: NetworkMixture | undefined): { readonly layers?: LayerFactory } {
  return part === undefined ? {} : { layers: expertLayers(part.graph) };
}

/** 7 of `text_model.encoder.layers.7.mlp.fc1`. */
const layerNumber = (name: string): number => Number(/\.layers\.(\d+)\./.exec(name)?.[1] ?? 0);

function float(tensor: FloatTensor | IntTensor | undefined): FloatTensor {
  if (tensor?.dtype !== 'float32') throw new Error('The network did not return the float32 output it declares.');
  return tensor;
}
