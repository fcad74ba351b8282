// The differentiated UNet and text encoder of a training run, as one function: a batch and parameters in, loss and gradients out.
// Graphs are opened once per picture size; experts that are not trained are uploaded once.
import { weightedSum } from '../diffusion/weighted-sum.ts';
import { gradientOutput } from '../autodiff/gradient.ts';
import type { Graph } from '../graph/ir.ts';
import { gatesOutput, expertLayers, type ExpertGraph } from '../mole/expert-layers.ts';
import type { ExpertNetwork } from '../networks/modules.ts';
import type { HeldInputs, Session } from '../runtime/session.ts';
import { floatTensor, intTensor, type FloatTensor, type IntTensor, type Tensor } from '../tensor/tensor.ts';
import { tokenChunks } from '../text/prompt.ts';
import { clipTokenizer } from '../text/tokenizer.ts';
import type { LossAndGradient } from '../training/trainer.ts';
import type { LoadedModel } from './loaded-model.ts';
import type { TrainingBatch } from './training-batch.ts';
import { judgedStep, textStep, trainingNames, unetStep } from './training-graph.ts';

/** One network's part in the training. */
export interface TrainedNetwork {
  readonly graph: ExpertGraph;
  /** Fed to every run: factors of experts that stay as they are. One per stack, all of the same sizes. */
  readonly fixed: readonly Readonly<Record<string, FloatTensor>>[];
  /** Weights and masks [rows, N]. */
  readonly strengths: Readonly<Record<string, FloatTensor>>;
  /** Names of the graph inputs that are trained; none means that the network only runs. */
  readonly trainables: readonly string[];
}

/** A loss of the UNet's prediction that has a graph of its own, in place of the distance from the target. */
export interface Judge {
  /** The loss of a prediction [B, C, h, w], what it consists of, and its gradient with respect to the prediction. */
  judge(
    batch: TrainingBatch,
    prediction: FloatTensor,
  ): Promise<{
    readonly loss: number;
    readonly parts: Readonly<Record<string, number>>;
    readonly gradient: FloatTensor;
  }>;
}

type Feeds = Readonly<Record<string, FloatTensor>>;

/** Token ids [B, T] of captions. */
export type TokensOf = (captions: readonly string[]) => IntTensor;

export class TrainingSession {
  readonly #model: LoadedModel;
  readonly #unet: TrainedNetwork;
  /** Undefined where no expert speaks in the text encoder: its states are then computed once per caption. */
  readonly #text: TrainedNetwork | undefined;
  readonly #balance: number;
  readonly #recompute: boolean;
  readonly #judge: Judge | undefined;
  readonly #tokens: TokensOf;
  readonly #open = new Map<string, Session>();
  readonly #held = new Map<string, HeldInputs>();
  readonly #states = new Map<string, FloatTensor>();
  #gates: readonly number[] | undefined;

  constructor(
    model: LoadedModel,
    networks: { readonly unet: TrainedNetwork; readonly text: TrainedNetwork | undefined },
    {
      balance,
      recompute = false,
      judge,
      tokens = clipTokens(model),
    }: {
      readonly balance: number;
      readonly recompute?: boolean;
      readonly judge?: Judge | undefined;
      readonly tokens?: TokensOf;
    },
  ) {
    this.#model = model;
    this.#unet = networks.unet;
    this.#text = networks.text;
    this.#balance = balance;
    this.#recompute = recompute;
    this.#judge = judge;
    this.#tokens = tokens;
  }

  /** Mean gate of each expert over groups and batch in the last step. */
  get gates(): readonly number[] | undefined {
    return this.#gates;
  }

  /** The loss on a batch and its gradients, under `unet/<input>` and `text_encoder/<input>`. */
  async lossAndGradient(
    batch: TrainingBatch,
    parameters: Readonly<Record<ExpertNetwork, Feeds>>,
  ): Promise<LossAndGradient> {
    const stack = batch.images[0]?.stack ?? 0;
    const trainsText = this.#text !== undefined && this.#text.trainables.length > 0;
    const branches: { readonly ids: IntTensor; readonly factor: number; readonly given: Feeds }[] = [];
    for (const { captions, factor } of branchesOf(batch)) {
      branches.push({ factor, ...(await this.#given(batch, captions, parameters)) });
    }
    const verdict = await this.#verdict(batch, branches);
    let loss = verdict?.loss ?? 0;
    const parts: Record<string, number> = { ...verdict?.parts };
    const gradients: Record<string, Float32Array> = {};
    const gates: (readonly number[])[] = [];
    for (const { ids, factor, given } of branches) {
      const feeds =
        verdict === undefined
          ? { ...given, [trainingNames.target]: batch.target, [trainingNames.weight]: batch.weight }
          : { ...given, [trainingNames.predictionSeed]: weightedSum([factor, verdict.gradient]) };
      const { session, held } = await this.#unetSession(batch, feeds, trainsText);
      const result = await session.run(feeds, held);
      for (const name of this.#unet.trainables) add(gradients, `unet/${name}`, data(result[gradientOutput(name)]));
      if (verdict === undefined) parts['denoise'] = data(result[trainingNames.denoise])[0]!;
      const balance = result[trainingNames.balance];
      if (balance !== undefined) parts['balance'] = (parts['balance'] ?? 0) + data(balance)[0]!;
      // A judged UNet's own loss is the balance's share, if any.
      const own = result[trainingNames.loss];
      loss += own === undefined ? 0 : data(own)[0]!;
      if (result[gatesOutput] !== undefined) gates.push(meanPerExpert(result[gatesOutput] as FloatTensor));
      if (trainsText) {
        const seed = result[trainingNames.textGradient] as FloatTensor;
        const text = await this.#textGradient(ids, seed, parameters.text_encoder, stack);
        for (const name of this.#text.trainables) {
          add(gradients, `text_encoder/${name}`, data(text[gradientOutput(name)]));
        }
        const even = text[trainingNames.balance];
        if (even !== undefined) {
          const uneven = data(even)[0]!;
          parts['text balance'] = (parts['text balance'] ?? 0) + uneven;
          loss += this.#balance * uneven;
        }
      }
    }
    if (gates.length > 0)
      this.#gates = gates[0]!.map((_, i) => gates.reduce((sum, own) => sum + own[i]!, 0) / gates.length);
    return { loss, parts, gradients };
  }

  async release(): Promise<void> {
    for (const held of this.#held.values()) await held.release();
    for (const session of this.#open.values()) await session.release();
    this.#held.clear();
    this.#open.clear();
  }

  /** What the UNet predicts of x_t under `captions` [B, C, h, w], with the experts and gates of the batch's stack. */
  async predict(
    batch: Pick<TrainingBatch, 'bucket' | 'images' | 'sample' | 'timestep'>,
    captions: readonly string[],
    parameters: Readonly<Record<ExpertNetwork, Feeds>>,
  ): Promise<FloatTensor> {
    return this.#predict(batch, (await this.#given(batch, captions, parameters)).given);
  }

  /** Token ids of the captions, and what the UNet is fed beside its fixed inputs. */
  async #given(
    batch: Pick<TrainingBatch, 'images' | 'sample' | 'timestep'>,
    captions: readonly string[],
    parameters: Readonly<Record<ExpertNetwork, Feeds>>,
  ): Promise<{ readonly ids: IntTensor; readonly given: Feeds }> {
    const ids = this.#tokens(captions);
    const given = {
      sample: batch.sample,
      timestep: batch.timestep,
      encoder_hidden_states: await this.#encode(captions, ids, parameters.text_encoder, batch.images[0]?.stack ?? 0),
      ...this.#unet.strengths,
      ...parameters.unet,
    };
    return { ids, given };
  }

  /** The judge's verdict of the batch's prediction, guided where the batch says so; undefined without a judge. */
  async #verdict(
    batch: TrainingBatch,
    branches: readonly { readonly factor: number; readonly given: Feeds }[],
  ): Promise<Awaited<ReturnType<Judge['judge']>> | undefined> {
    if (this.#judge === undefined) return undefined;
    const terms: (readonly [number, FloatTensor])[] = [];
    for (const { factor, given } of branches) terms.push([factor, await this.#predict(batch, given)]);
    const [first, ...rest] = terms;
    return this.#judge.judge(batch, weightedSum(first!, ...rest));
  }

  /** What the UNet predicts, for a judge; its gradient runs it again, so that the two graphs need no common memory. */
  async #predict(batch: Pick<TrainingBatch, 'bucket' | 'images'>, feeds: Feeds): Promise<FloatTensor> {
    const stack = batch.images[0]?.stack ?? 0;
    const { session, held } = await this.#opened(`prediction ${batch.bucket}`, this.#unet.fixed, stack, () =>
      this.#unetGraph(feeds, false),
    );
    return (await session.run(feeds, held))['out_sample'] as FloatTensor;
  }

  #unetGraph(feeds: Feeds, softmax: boolean): Graph {
    const [, , height, width] = feeds['sample']!.shape as [number, number, number, number];
    const layers = expertLayers(softmax ? { ...this.#unet.graph, softmax } : this.#unet.graph);
    return this.#model.unetGraph(height, width, feeds['encoder_hidden_states']!.shape[1]!, layers);
  }

  async #unetSession(batch: TrainingBatch, feeds: Feeds, trainsText: boolean) {
    return this.#opened(`unet ${batch.bucket}`, this.#unet.fixed, batch.images[0]?.stack ?? 0, () => {
      const network = this.#unetGraph(feeds, true);
      const trainables = [...this.#unet.trainables, ...(trainsText ? ['encoder_hidden_states'] : [])];
      const step = this.#judge === undefined ? unetStep : judgedStep;
      return step(
        network,
        { ...feeds, ...this.#unet.fixed[0] },
        { trainables, balance: this.#balance, recompute: this.#recompute },
      );
    });
  }

  /** Text states [B, T, D] of the captions. */
  async #encode(captions: readonly string[], ids: IntTensor, parameters: Feeds, stack: number): Promise<FloatTensor> {
    const text = this.#text;
    if (text !== undefined) {
      const { session, held } = await this.#opened('text', text.fixed, stack, () =>
        this.#model.textGraph(expertLayers(text.graph)),
      );
      const result = await session.run({ input_ids: ids, ...text.strengths, ...parameters }, held);
      return result['last_hidden_state'] as FloatTensor;
    }
    const rows: FloatTensor[] = [];
    for (const caption of captions) {
      const known = this.#states.get(caption) ?? (await this.#model.encodeText(this.#tokens([caption]), 0));
      this.#states.set(caption, known);
      rows.push(known);
    }
    const [, tokens, width] = rows[0]!.shape as [number, number, number];
    const all = new Float32Array(rows.length * tokens * width);
    rows.forEach((row, i) => {
      all.set(row.data, i * tokens * width);
    });
    return floatTensor([rows.length, tokens, width], all);
  }

  async #textGradient(
    ids: IntTensor,
    seed: FloatTensor,
    parameters: Feeds,
    stack: number,
  ): Promise<Readonly<Record<string, Tensor>>> {
    const text = this.#text!;
    const feeds = { [trainingNames.textSeed]: seed, ...text.strengths, ...parameters };
    const { session, held } = await this.#opened('text gradient', text.fixed, stack, () =>
      textStep(
        this.#model.textGraph(expertLayers({ ...text.graph, softmax: true })),
        { input_ids: ids, ...feeds, ...text.fixed[0] },
        {
          trainables: text.trainables,
          balance: this.#balance,
          recompute: this.#recompute,
        },
      ),
    );
    return session.run({ input_ids: ids, ...feeds }, held);
  }

  /** A session per key, whose graph does not know the stacks, and what each stack feeds it. */
  async #opened(
    key: string,
    fixed: readonly Feeds[],
    stack: number,
    graph: () => Parameters<LoadedModel['openGraph']>[0],
  ): Promise<{ readonly session: Session; readonly held: HeldInputs }> {
    const session = this.#open.get(key) ?? (await this.#model.openGraph(graph()));
    this.#open.set(key, session);
    const own = `${key} ${stack}`;
    const held = this.#held.get(own) ?? (await session.hold(fixed[stack]!));
    this.#held.set(own, held);
    return { session, held };
  }
}

/** The predictions that make up the batch's guided one, and their shares: (1 - s) of the unconditional, s of the conditional. */
function branchesOf({ captions, guidance = 1 }: TrainingBatch) {
  const conditional = { captions, factor: guidance };
  const unconditional = { captions: captions.map(() => ''), factor: 1 - guidance };
  return guidance === 1 ? [conditional] : [conditional, unconditional];
}

/** Adds to what is there. */
function add(sums: Record<string, Float32Array>, name: string, values: Float32Array): void {
  const sum = sums[name];
  if (sum === undefined) sums[name] = values;
  else values.forEach((value, i) => (sum[i]! += value));
}

/** CLIP's own: the first chunk of each caption, [B, 77]. */
function clipTokens({ checkpoint }: LoadedModel): TokensOf {
  const { padToken } = checkpoint.textEncoder;
  return (captions) => {
    const chunks = captions.map((caption) => tokenChunks(caption, clipTokenizer(), { padToken })[0]!.tokens);
    return intTensor([chunks.length, chunks[0]!.length], chunks.flat());
  };
}

function data(tensor: Tensor | undefined): Float32Array {
  if (tensor?.dtype !== 'float32') throw new Error('The training graph did not return an output it declares.');
  return tensor.data;
}

/** [B, G, N] -> N means. */
function meanPerExpert({ shape, data: values }: FloatTensor): readonly number[] {
  const experts = shape[2]!;
  const sums = new Array<number>(experts).fill(0);
  values.forEach((value, i) => (sums[i % experts]! += value));
  return sums.map((sum) => sum / (values.length / experts));
}
