// A checkpoint opened on a device: its networks as sessions, opened when first needed and kept while they fit.
// What is shaped by the picture's size (UNet, VAE) is reopened when the size changes; weights are never copied for it.
import type { Graph } from '../graph/ir.ts';
import { downscale, vaeDecoder, vaeEncoder } from '../networks/autoencoder.ts';
import { clipText } from '../networks/clip-text.ts';
import type { AttentionForm } from '../networks/layers.ts';
import { taesdDecoder } from '../networks/taesd.ts';
import { unet } from '../networks/unet.ts';
import { Session, type Provider } from '../runtime/session.ts';
import { floatTensor, type FloatTensor, type IntTensor } from '../tensor/tensor.ts';
import type { Checkpoint, Vae } from './checkpoint.ts';

export interface ModelDevice {
  readonly provider: Provider;
  /** Whether onnxruntime's fused attention gave right numbers on this provider. */
  readonly fusedAttention: boolean;
  readonly threads?: number | undefined;
}

export class LoadedModel {
  readonly checkpoint: Checkpoint;
  readonly device: ModelDevice;
  /** One open session per role, under the key of what it was opened for. */
  readonly #open = new Map<string, { readonly key: string; readonly session: Session }>();

  constructor(checkpoint: Checkpoint, device: ModelDevice) {
    this.checkpoint = checkpoint;
    this.device = device;
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
  async encodeText(ids: IntTensor, skipLayers: number): Promise<FloatTensor> {
    const { config, weights } = this.checkpoint.textEncoder;
    const session = await this.#session('text encoder', `skip ${skipLayers}`, () =>
      clipText(config, { ref: (name) => weights.ref(name), skipLayers }),
    );
    return float((await session.run({ input_ids: ids }))['last_hidden_state']);
  }

  /** The UNet's prediction: sample [B, C, H, W], timestep [B], text [B, T, D] -> [B, C, H, W]. */
  async predict(sample: FloatTensor, timestep: FloatTensor, text: FloatTensor): Promise<FloatTensor> {
    const [height, width] = [sample.shape[2]!, sample.shape[3]!];
    const session = await this.openUNet(height, width, text.shape[1]!);
    const result = await session.run({ sample, timestep, encoder_hidden_states: text });
    return float(result['out_sample']);
  }

  /** Opens the UNet for latents of [height, width] and `textTokens` text states, if it is not open for them already. */
  openUNet(height: number, width: number, textTokens: number): Promise<Session> {
    const { config, weights } = this.checkpoint.unet;
    return this.#session('unet', `${height}x${width}x${textTokens}`, () =>
      unet(config, { ref: (name) => weights.ref(name), height, width, textTokens, attention: this.#attention() }),
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
    for (const role of roles.length > 0 ? roles : [...this.#open.keys()]) {
      const open = this.#open.get(role);
      this.#open.delete(role);
      await open?.session.release();
    }
  }

  #attention(): AttentionForm {
    return this.device.fusedAttention ? 'fused' : 'plain';
  }

  async #session(role: Role, key: string, graph: () => Graph): Promise<Session> {
    const open = this.#open.get(role);
    if (open?.key === key) return open.session;
    await this.release(role);
    const session = await Session.open(graph(), {
      provider: this.device.provider,
      ...(this.device.threads === undefined ? {} : { threads: this.device.threads }),
    });
    this.#open.set(role, { key, session });
    return session;
  }
}

export type Role = 'text encoder' | 'unet' | 'vae decoder' | 'vae encoder' | 'preview decoder';

function float(tensor: FloatTensor | IntTensor | undefined): FloatTensor {
  if (tensor?.dtype !== 'float32') throw new Error('The network did not return the float32 output it declares.');
  return tensor;
}
