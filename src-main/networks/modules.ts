// The layers of a network that a LoRA may target, in the order in which the network runs them. The list is written down
// by the network itself: it is built once with a layer factory that records instead of computing, so that names and
// sizes can never differ from the graph's.
import type { TensorRef, Value } from '../graph/ir.ts';
import { clipText } from './clip-text.ts';
import type { ClipTextConfig, UNetConfig } from './configs.ts';
import type { ConvOptions, LayerFactory, LinearOptions, NetworkContext } from './layers.ts';
import { clipTextParameters, unetParameters, type ParameterShapes } from './parameter-shapes.ts';
import { unet } from './unet.ts';

/** The networks that experts speak in. */
export type ExpertNetwork = 'unet' | 'text_encoder';

/** One linear or convolution layer. */
export interface NetworkModule {
  readonly network: ExpertNetwork;
  /** Hugging Face path within its network, say `mid_block.attentions.0.proj_in`. Its weight is `<name>.weight`. */
  readonly name: string;
  readonly kind: 'linear' | 'conv';
  /** Channels of a convolution. */
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Side of a convolution's kernel; 1 for linear layers. */
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

/** Linear and convolution layers of `unet(config)` in the order they run. */
export function unetModules(config: UNetConfig): readonly NetworkModule[] {
  const size = 2 ** config.blockOutChannels.length;
  return record('unet', unetParameters(config), (ref, layers) =>
    unet(config, { ref, layers, height: size, width: size, textTokens: 1, attention: 'plain' }),
  );
}

/** Linear layers of `clipText(config)` in the order they run. */
export function textEncoderModules(config: ClipTextConfig): readonly NetworkModule[] {
  return record('text_encoder', clipTextParameters(config), (ref, layers) => clipText(config, { ref, layers }));
}

type Build = (ref: (name: string) => TensorRef, layers: LayerFactory) => unknown;

function record(network: ExpertNetwork, shapes: ParameterShapes, build: Build): readonly NetworkModule[] {
  const modules: NetworkModule[] = [];
  // No weight is read: only shapes are asked for.
  const ref = (name: string): TensorRef => {
    const shape = shapes.get(name);
    if (shape === undefined) throw new Error(`${network} has no parameter ${name}.`);
    return { file: '/nowhere', dtype: 'float32', shape, offset: 0, length: 0 };
  };
  build(ref, {
    linear({ builder }: NetworkContext, x: Value, name: string, { inFeatures, outFeatures }: LinearOptions) {
      modules.push({ network, name, kind: 'linear', inFeatures, outFeatures, kernel: 1, stride: 1, padding: 0 });
      return builder.MatMul(
        x,
        builder.weight(`${name}.weight`, transposed(ref(`${name}.weight`)), [inFeatures, outFeatures]),
      );
    },
    conv({ builder }: NetworkContext, x: Value, name: string, options: ConvOptions) {
      const { inChannels, outChannels, kernel, stride = 1 } = options;
      const padding = typeof options.padding === 'number' ? options.padding : 0;
      modules.push({
        network,
        name,
        kind: 'conv',
        inFeatures: inChannels,
        outFeatures: outChannels,
        kernel,
        stride,
        padding,
      });
      const w = builder.weight(`${name}.weight`, ref(`${name}.weight`), [outChannels, inChannels, kernel, kernel]);
      return builder.Conv(x, w, undefined, { padding: options.padding, stride });
    },
  });
  return modules;
}

const transposed = (ref: TensorRef): TensorRef => ({ ...ref, shape: [...ref.shape].reverse() });
