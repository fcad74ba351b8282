// The graph of one training step: a network with expert branches, the loss, and the gradient with respect to what is trained,
// all in one, so that training runs wherever pictures are drawn.
import { gradientOutput, withGradient, type GradientOptions } from '../autodiff/gradient.ts';
import { withRecomputation } from '../autodiff/recompute.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph } from '../graph/ir.ts';
import { bindSizes } from '../graph/passes/bind.ts';
import { softmaxOutput } from '../mole/expert-layers.ts';
import { balanceLoss, denoiseLoss } from '../mole/losses.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Inputs and outputs beside the network's own. */
export const trainingNames = {
  /** [B, C, H, W]: what the UNet should predict. */
  target: 'target',
  /** [B, 1, 1, 1]. */
  weight: 'loss_weight',
  loss: 'loss',
  denoise: 'loss_denoise',
  balance: 'loss_balance',
  /** [B, T, D]: what flowed back to the text states. */
  textGradient: gradientOutput('encoder_hidden_states'),
  /** dL/d last_hidden_state, fed to the text encoder's own gradient. */
  textSeed: 'seed',
  /** dL/d out_sample, fed to the UNet's own gradient by a judge of its prediction. */
  predictionSeed: 'prediction_seed',
} as const;

/**
 * The UNet's training step. `feeds` are tensors in the shapes of the run: their sizes become the graph's. `balance` is alpha of
 * Eq. 16; 0 leaves the balance loss out. Outputs: the losses, the network's own outputs, and `<name>.grad` per trainable.
 */
export function unetStep(network: Graph, feeds: Readonly<Record<string, Tensor>>, options: StepOptions): Graph {
  const { balance } = options;
  const bound = bindSizes(network, sizesOf(network, feeds));
  const b = GraphBuilder.extend(bound);
  const output = (name: string) => bound.outputs.find((value) => value.name === name)!;
  const prediction = output('out_sample');
  const shape = prediction.shape.map(Number);
  const denoise = denoiseLoss(
    b,
    prediction,
    b.input(trainingNames.target, shape),
    b.input(trainingNames.weight, [shape[0]!, 1, 1, 1]),
  );
  b.output(trainingNames.denoise, denoise);
  let loss = denoise;
  if (balance > 0 && bound.outputs.some(({ name }) => name === softmaxOutput)) {
    const even = balanceLoss(b, output(softmaxOutput));
    b.output(trainingNames.balance, even);
    loss = b.Add(denoise, b.Mul(even, b.constant(balance)));
  }
  b.output(trainingNames.loss, loss);
  return differentiated(b.build(), [{ output: trainingNames.loss }], options);
}

/**
 * The text encoder's part of the step: its states, and the gradient of <states, seed> + alpha L_balance with respect to
 * `trainables`, where `seed` is what flowed back out of the UNet: the chain rule over two graphs.
 */
export function textStep(network: Graph, feeds: Readonly<Record<string, Tensor>>, options: StepOptions): Graph {
  return seededStep(network, feeds, { output: 'last_hidden_state', seed: trainingNames.textSeed }, options);
}

/** The UNet's part where another graph judges its prediction: the same, with `seed` what flowed back out of the judge. */
export function judgedStep(network: Graph, feeds: Readonly<Record<string, Tensor>>, options: StepOptions): Graph {
  return seededStep(network, feeds, { output: 'out_sample', seed: trainingNames.predictionSeed }, options);
}

interface StepOptions {
  readonly trainables: readonly string[];
  /** alpha of Eq. 16; 0 leaves the balance loss out. */
  readonly balance: number;
  /** Computes activations again in the backward pass instead of keeping them: less memory for about a third more time. */
  readonly recompute?: boolean;
}

function differentiated(graph: Graph, of: GradientOptions['of'], { trainables, recompute }: StepOptions): Graph {
  const gradient = withGradient(graph, { of, withRespectTo: trainables });
  return recompute === true ? withRecomputation(gradient) : gradient;
}

function seededStep(
  network: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  seeded: { readonly output: string; readonly seed: string },
  options: StepOptions,
): Graph {
  const bound = bindSizes(network, sizesOf(network, feeds));
  const softmax = bound.outputs.find(({ name }) => name === softmaxOutput);
  if (options.balance === 0 || softmax === undefined) return differentiated(bound, [seeded], options);
  const b = GraphBuilder.extend(bound);
  const even = balanceLoss(b, softmax);
  b.output(trainingNames.balance, even);
  b.output(trainingNames.loss, b.Mul(even, b.constant(options.balance)));
  return differentiated(b.build(), [seeded, { output: trainingNames.loss }], options);
}

/** The number behind every symbol of the graph's inputs, read off the tensors that will be fed. */
export function sizesOf(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Readonly<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for (const { name, shape } of graph.inputs) {
    const feed = feeds[name];
    shape.forEach((size, axis) => {
      if (feed !== undefined && typeof size === 'string' && !size.includes('*')) sizes[size] = feed.shape[axis]!;
    });
  }
  return sizes;
}
