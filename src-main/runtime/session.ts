// Opens a graph on onnxruntime-node and runs it. The only door to onnxruntime-node.
// What is known of its options (which work, which abort the process) is written beside each use.
// run() blocks the thread it is called on, so this module is loaded in the engine's own process alone.
import { createRequire } from 'node:module';
import type { InferenceSession } from 'onnxruntime-node';
import { serializeModel } from '../formats/onnx-model.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, Value } from '../graph/ir.ts';
import { showShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Execution providers by onnxruntime's names. */
export type Provider = 'cpu' | 'webgpu' | 'cuda' | 'dml' | 'coreml';

export interface SessionOptions {
  readonly provider: Provider;
  /** Threads of one operator; undefined lets onnxruntime take one per physical core. */
  readonly threads?: number;
  /** True makes opening fail when any operator would run on the CPU instead of `provider`. */
  readonly strict?: boolean;
}

/** Thrown when a graph cannot be opened or run; `cause` holds onnxruntime's own error. */
export class RuntimeFailure extends Error {
  override name = 'RuntimeFailure';
  /** True when the cause was a failed allocation. */
  readonly outOfMemory: boolean;

  constructor(message: string, cause: unknown) {
    super(message, { cause });
    const text = cause instanceof Error ? cause.message : String(cause);
    this.outOfMemory = /bad_?alloc|out of memory|failed to allocate|allocation failed|E_OUTOFMEMORY/i.test(text);
  }
}

// eslint-disable-next-line @typescript-eslint/consistent-type-imports -- a type of the module, which loads on first use
type Ort = typeof import('onnxruntime-node');
let ort: Ort | undefined;
/** Loaded on first use: the native library takes tens of milliseconds and is not needed to print help. */
const load = (): Ort => (ort ??= createRequire(import.meta.url)('onnxruntime-node') as Ort);

/** One run at a time in this process: concurrent runs serialise natively anyway, and release() during a run crashes. */
let tail: Promise<unknown> = Promise.resolve();
function exclusively<T>(work: () => Promise<T>): Promise<T> {
  const result = tail.then(work);
  tail = result.catch(() => undefined);
  return result;
}

/** Providers compiled into this build of onnxruntime: what could be tried, not what works. */
export function compiledProviders(): readonly Provider[] {
  const known: readonly string[] = ['cpu', 'webgpu', 'cuda', 'dml', 'coreml'];
  const names = load()
    .listSupportedBackends()
    .map((backend) => backend.name);
  return names.filter((name): name is Provider => known.includes(name));
}

/** Half-precision weights up to this many bytes are expanded once: small networks gain speed and lose little memory. */
const foldedBytes = 200e6;

const halfPrecisionBytes = (graph: Graph): number =>
  graph.initializers.reduce(
    (bytes, weight) =>
      weight.kind === 'external' && weight.value.dtype !== 'float32' ? bytes + weight.ref.length : bytes,
    0,
  );

/** Version of the native library, say `1.30.0`. */
export function runtimeVersion(): string {
  const { versions } = load().env;
  return versions.node ?? versions.common;
}

/** Inputs made ready once for many runs; on a GPU they lie in its memory. Made by Session.hold, released by its user. */
export interface HeldInputs {
  readonly names: readonly string[];
  /** Gives the memory back, after any run in progress. Safe to call twice. */
  release(): Promise<void>;
}

type NativeTensor = InstanceType<Ort['Tensor']>;
/** What stands behind each HeldInputs, known to this file alone. */
const nativeOf = new WeakMap<HeldInputs, ReadonlyMap<string, NativeTensor>>();

/** A graph opened on a provider. Runs and releases of all sessions are queued one behind the other. */
export class Session {
  readonly graph: Graph;
  readonly #session: InferenceSession;
  readonly #ort: Ort;
  readonly #options: SessionOptions;
  #released = false;

  private constructor(graph: Graph, session: InferenceSession, runtime: Ort, options: SessionOptions) {
    this.graph = graph;
    this.#session = session;
    this.#ort = runtime;
    this.#options = options;
  }

  /** Opens `graph`; weights are read from where they lie. Throws RuntimeFailure. */
  static async open(graph: Graph, options: SessionOptions): Promise<Session> {
    const runtime = load();
    const { bytes, externalRoot } = serializeModel(graph);
    const session: Record<string, string> = {};
    if (externalRoot !== undefined) session['model_external_initializers_file_folder_path'] = externalRoot;
    // Measured on the SD 1.5 UNet at 512x512 (test/bench/RESULTS.md): on the CPU, weights left as they are in the file
    // are as fast as packed ones at these sizes, open 15 to 30 times sooner and stay mapped: shared and evictable.
    const onCpu = options.provider === 'cpu';
    if (onCpu) session['disable_prepacking'] = '1';
    // Folding the Casts of a half-precision checkpoint would hold all its weights as float32: 3.4 GB and 13 s for the SD 1.5
    // UNet against 0.8 GB and 0.5 s with each Cast run when its layer is, which costs 5 % of a step.
    const optimization: Record<string, string> =
      onCpu && halfPrecisionBytes(graph) > foldedBytes ? { disable_specified_optimizers: 'ConstantFolding' } : {};
    if (options.strict === true) session['disable_cpu_ep_fallback'] = '1';
    try {
      const opened = await exclusively(() =>
        runtime.InferenceSession.create(bytes, {
          executionProviders: [options.provider],
          // 'all' adds blocked convolution layouts on the CPU: a second copy of the weights in memory for no time gained.
          graphOptimizationLevel: onCpu ? 'extended' : 'all',
          // A pattern plans all activations as one block and keeps it beside the arena: 0.4 GB more on that UNet.
          enableMemPattern: false,
          logSeverityLevel: 4, // errors are thrown; printing them as well would tell the user twice
          ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
          extra: { session, optimization },
        }),
      );
      return new Session(graph, opened, runtime, options);
    } catch (error) {
      throw new RuntimeFailure(
        `The ${graph.name} could not be opened on ${options.provider}: ${messageOf(error)}${placeOf(graph, error)}`,
        error,
      );
    }
  }

  /**
   * Runs the graph on named tensors and on inputs held before; returns every output, copied. Throws when a feed is missing
   * or of the wrong shape (naming it), and RuntimeFailure when onnxruntime fails.
   */
  async run(feeds: Readonly<Record<string, Tensor>>, held?: HeldInputs): Promise<Record<string, Tensor>> {
    if (this.#released) throw new Error(`The ${this.graph.name} was released.`);
    const ready = held === undefined ? undefined : nativeOf.get(held);
    if (held !== undefined && ready === undefined) throw new Error('The held inputs were released.');
    const native: Record<string, NativeTensor> = {};
    for (const input of this.graph.inputs) {
      native[input.name] = ready?.get(input.name) ?? this.#native(input, feeds[input.name]);
    }
    try {
      const results = await exclusively(() => this.#session.run(native));
      return Object.fromEntries(
        this.graph.outputs.map((output): [string, Tensor] => {
          const result = results[output.name]!;
          const shape = [...result.dims];
          return output.dtype === 'int64'
            ? [output.name, { dtype: 'int64', shape, data: result.data as BigInt64Array }]
            : [output.name, { dtype: 'float32', shape, data: result.data as Float32Array }];
        }),
      );
    } catch (error) {
      throw new RuntimeFailure(`The ${this.graph.name} failed: ${messageOf(error)}`, error);
    }
  }

  /**
   * Makes tensors ready for many runs, checked against the graph's inputs; names that are no inputs are left out. On the
   * webgpu provider they are uploaded once, through a graph of Identity nodes whose outputs stay on the device; elsewhere they
   * are wrapped where they lie. Throws as run() does.
   */
  async hold(feeds: Readonly<Record<string, Tensor>>): Promise<HeldInputs> {
    const inputs = this.graph.inputs.filter(({ name }) => feeds[name] !== undefined);
    const wrapped = new Map(inputs.map((input) => [input.name, this.#native(input, feeds[input.name])] as const));
    const { tensors, session } =
      this.#options.provider === 'webgpu'
        ? await this.#upload(inputs, wrapped)
        : { tensors: wrapped, session: undefined };
    const made: HeldInputs = {
      names: inputs.map(({ name }) => name),
      async release() {
        if (!nativeOf.delete(made)) return;
        await exclusively(async () => {
          for (const tensor of tensors.values()) tensor.dispose();
          await session?.release();
        });
      },
    };
    nativeOf.set(made, tensors);
    return made;
  }

  /** The session's memory holds the tensors: it must outlive them. */
  async #upload(
    inputs: readonly Value[],
    wrapped: ReadonlyMap<string, NativeTensor>,
  ): Promise<{ readonly tensors: ReadonlyMap<string, NativeTensor>; readonly session: InferenceSession | undefined }> {
    if (inputs.length === 0) return { tensors: wrapped, session: undefined };
    const builder = new GraphBuilder('upload');
    for (const { name, shape, dtype } of inputs) {
      builder.output(held(name), builder.input(name, shape, dtype === 'int64' ? 'int64' : 'float32'));
    }
    const { bytes } = serializeModel(builder.build());
    try {
      return await exclusively(async () => {
        const session = await this.#ort.InferenceSession.create(bytes, {
          executionProviders: [this.#options.provider],
          preferredOutputLocation: 'gpu-buffer',
          logSeverityLevel: 4,
        });
        const outputs = await session.run(Object.fromEntries(wrapped));
        const tensors = inputs.map(({ name }) => [name, outputs[held(name)] as NativeTensor] as const);
        return { tensors: new Map(tensors), session };
      });
    } catch (error) {
      throw new RuntimeFailure(
        `The experts could not be uploaded to ${this.#options.provider}: ${messageOf(error)}`,
        error,
      );
    }
  }

  /** A feed checked against its input. */
  #native(input: Value, feed: Tensor | undefined): NativeTensor {
    if (feed === undefined) {
      throw new Error(`The ${this.graph.name} needs an input named ${input.name} ${showShape(input.shape)}.`);
    }
    const fits =
      feed.dtype === input.dtype &&
      feed.shape.length === input.shape.length &&
      input.shape.every((size, axis) => typeof size === 'string' || size === feed.shape[axis]);
    if (!fits) {
      throw new Error(
        `Input ${input.name} of the ${this.graph.name} must be ${input.dtype} ${showShape(input.shape)}, ` +
          `got ${feed.dtype} ${showShape(feed.shape)}.`,
      );
    }
    return feed.dtype === 'float32'
      ? new this.#ort.Tensor('float32', feed.data, [...feed.shape])
      : new this.#ort.Tensor('int64', feed.data, [...feed.shape]);
  }

  /** Gives the native memory back, after any run in progress. Safe to call twice. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    await exclusively(() => this.#session.release());
  }
}

/** Output names must differ from input names. */
const held = (name: string): string => `${name}.held`;

/** onnxruntime's message without the names of its own source files and functions, which say nothing to a user. */
const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .replace(/^.* was false\. /s, '')
    .replace(/^.*\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : (\w+\.cc:\d+ \w+ )?/s, '')
    .trim();

/** The file of the weight that the message names: onnxruntime tells the tensor and its offset alone. */
function placeOf(graph: Graph, error: unknown): string {
  const name = /External initializer: (.+?) offset:/.exec(error instanceof Error ? error.message : '')?.[1];
  const found = graph.initializers.find(({ kind, value }) => kind === 'external' && value.name === name);
  return found?.kind === 'external' ? ` (${found.ref.file})` : '';
}
