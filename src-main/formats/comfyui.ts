// The settings inside a ComfyUI graph. ComfyUI stores the graph itself with a picture, as `prompt` (what ran: node id ->
// class and inputs, a link being [node id, output]) and `workflow` (what the editor shows: nodes, links, widget values).
// We find the sampler that starts from an empty picture and follow its inputs back to text, model, LoRAs and size.
// https://docs.comfy.org (workflow JSON); node inputs as in ComfyUI's nodes.py.
import { parseSeed, type GenerationParameters } from './infotext.ts';

/** One LoRA loader on the way from the checkpoint to the sampler. */
export interface ComfyuiLora {
  /** File name as the graph holds it. */
  readonly name: string;
  /** Strength on the UNet. */
  readonly strengthModel: number;
  /** Strength on the text encoder. */
  readonly strengthClip: number;
}

/** What a graph says about its picture. */
export interface ComfyuiSettings {
  /** Sampler and schedule under A1111's names where there is one, otherwise under ComfyUI's. */
  readonly parameters: GenerationParameters;
  /** In the order they are applied. */
  readonly loras: readonly ComfyuiLora[];
  readonly warnings: readonly string[];
}

interface Node {
  readonly id: string;
  readonly type: string;
  readonly inputs: ReadonlyMap<string, unknown>;
}
type Graph = ReadonlyMap<string, Node>;

/** Nodes followed for one question: real graphs have hundreds, hostile ones go round in circles. */
const mostNodes = 20_000;

const samplerNames: Readonly<Record<string, string>> = {
  euler: 'Euler',
  euler_ancestral: 'Euler a',
  heun: 'Heun',
  dpm_2: 'DPM2',
  dpm_2_ancestral: 'DPM2 a',
  lms: 'LMS',
  dpmpp_2s_ancestral: 'DPM++ 2S a',
  dpmpp_sde: 'DPM++ SDE',
  dpmpp_2m: 'DPM++ 2M',
  dpmpp_2m_sde: 'DPM++ 2M SDE',
  dpmpp_3m_sde: 'DPM++ 3M SDE',
  ddim: 'DDIM',
  ddpm: 'DDPM',
  uni_pc: 'UniPC',
  lcm: 'LCM',
};

const scheduleNames: Readonly<Record<string, string>> = {
  normal: 'Normal',
  karras: 'Karras',
  exponential: 'Exponential',
  sgm_uniform: 'SGM Uniform',
  simple: 'Simple',
  beta: 'Beta',
};

/**
 * Reads the basic settings of a ComfyUI graph, given as the parsed JSON of `prompt` or `workflow`. Returns undefined
 * when the value is no such graph or holds no sampler. Never throws; links in circles end.
 */
export function readComfyui(json: unknown): ComfyuiSettings | undefined {
  const graph = readPromptGraph(json) ?? readWorkflowGraph(json);
  if (graph === undefined || graph.size > mostNodes) return undefined;
  const samplers = [...graph.values()].filter(isSampler);
  const start = samplers.find((node) => sizeOf(graph, node) !== undefined) ?? samplers[0];
  if (start === undefined) return undefined;
  const warnings: string[] = [];
  if (samplers.length > 1) {
    warnings.push(`The ComfyUI graph samples ${samplers.length} times; shown are the settings of node ${start.id}.`);
  }
  const { model, loras, clipSkip } = modelOf(graph, start);
  const prompts = promptsOf(graph, start);
  const sampler = text(setting(graph, start, ['sampler_name']))?.replace(/_gpu$/, '');
  const schedule = text(setting(graph, start, ['scheduler']));
  const parameters: GenerationParameters = {
    prompt: prompts.positive,
    negativePrompt: prompts.negative,
    steps: numeric(setting(graph, start, ['steps'])),
    sampler: renamed(samplerNames, sampler),
    scheduleType: renamed(scheduleNames, schedule),
    cfgScale: numeric(setting(graph, start, ['cfg', 'guidance'])),
    seed: seedOf(setting(graph, start, ['seed', 'noise_seed'])),
    size: sizeOf(graph, start),
    model,
    denoisingStrength: strengthOf(setting(graph, start, ['denoise'])),
    clipSkip,
    rng: 'CPU',
  };
  if (prompts.positive === '') warnings.push('No prompt text was found in the ComfyUI graph.');
  const known = Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
  return { parameters: known as unknown as GenerationParameters, loras, warnings };
}

function isSampler({ type, inputs }: Node): boolean {
  return /^(K?Sampler|SamplerCustom)/i.test(type) && (inputs.has('latent_image') || inputs.has('positive'));
}

/** The node a value links to, when it is a link. */
function linked(graph: Graph, value: unknown): Node | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [id] = value as unknown[];
  return typeof id === 'string' || typeof id === 'number' ? graph.get(String(id)) : undefined;
}

/** The nodes reached backwards from `from` over the inputs that `follows` accepts, nearest first, each once. */
function upstream(graph: Graph, from: Node, follows: (input: string, node: Node) => boolean): readonly Node[] {
  const found = new Set([from]);
  for (const node of found) {
    for (const [name, value] of node.inputs) {
      const next = follows(name, node) ? linked(graph, value) : undefined;
      if (next !== undefined) found.add(next);
    }
  }
  return [...found];
}

const feeds: readonly string[] = ['noise', 'sigmas', 'sampler', 'guider'];
/** Where nodes that only hold a value (ComfyUI's primitives and their relatives) keep it. */
const valueInputs: readonly string[] = ['value', 'int', 'float', 'number', 'string'];

/** A setting of the sampler or of the nodes that feed it, written there or linked to a node that holds a value. */
function setting(graph: Graph, sampler: Node, names: readonly string[]): unknown {
  for (const node of upstream(graph, sampler, (input) => feeds.includes(input))) {
    for (const name of names) {
      const value = node.inputs.get(name);
      if (isPlain(value)) return value;
      const holder = linked(graph, value);
      if (holder === undefined) continue;
      const inputs = [...names, ...valueInputs];
      const holders = upstream(graph, holder, (input) => inputs.includes(input));
      const held = holders.flatMap((found) => inputs.map((input) => found.inputs.get(input))).find(isPlain);
      if (held !== undefined) return held;
    }
  }
  return undefined;
}

function isPlain(value: unknown): value is string | number {
  return typeof value === 'string' || typeof value === 'number';
}

function promptsOf(graph: Graph, sampler: Node): { readonly positive: string; readonly negative: string } {
  const guider = linked(graph, sampler.inputs.get('guider'));
  const from = guider ?? sampler;
  const positive = linked(graph, from.inputs.get('positive') ?? from.inputs.get('conditioning'));
  const negative = linked(graph, from.inputs.get('negative'));
  return { positive: textOf(graph, positive, 'positive'), negative: textOf(graph, negative, 'negative') };
}

const textInputs: readonly string[] = ['text', 'text_g', 'text_l', 't5xxl', 'clip_l', 'string', 'value', 'prompt'];

/** All text that reaches one side of the sampler, through nodes that combine or change conditioning. */
function textOf(graph: Graph, node: Node | undefined, side: 'positive' | 'negative'): string {
  if (node === undefined) return '';
  const follows = (input: string): boolean =>
    input === side || input.startsWith('conditioning') || textInputs.includes(input) || input.startsWith('text');
  const texts = upstream(graph, node, follows)
    // ConditioningZeroOut makes an empty prompt of whatever text it is given.
    .filter(({ type }) => type !== 'ConditioningZeroOut')
    .flatMap(({ inputs }) => textInputs.map((name) => inputs.get(name)))
    .filter((value) => typeof value === 'string' && value.trim() !== '');
  const isEmptied = node.type === 'ConditioningZeroOut';
  return isEmptied ? '' : [...new Set(texts)].join('\n');
}

function modelOf(graph: Graph, sampler: Node) {
  const chain = upstream(graph, sampler, (input) => input === 'model' || input === 'guider');
  const loras = chain.flatMap(lorasOf).reverse();
  const clips = upstream(
    graph,
    sampler,
    (input) => ['guider', 'positive', 'conditioning', 'clip'].includes(input) || input.startsWith('conditioning_'),
  );
  const file = chain
    .flatMap(({ inputs }) => [inputs.get('ckpt_name'), inputs.get('unet_name'), inputs.get('model_name')])
    .find((value) => typeof value === 'string');
  const layer = clips
    .map(({ inputs }) => numeric(inputs.get('stop_at_clip_layer')))
    .find((value) => value !== undefined);
  return {
    model: file?.replace(/^.*[\\/]/, '').replace(/\.(safetensors|ckpt|pt|bin|gguf)$/, ''),
    loras,
    // -1 is the last layer, which A1111 calls 1.
    clipSkip: layer !== undefined && layer < 0 ? -layer : undefined,
  };
}

/** ComfyUI's LoraLoader and LoraLoaderModelOnly, and rgthree's Power Lora Loader with its `lora_1`, `lora_2`… records. */
function lorasOf({ inputs }: Node): readonly ComfyuiLora[] {
  const name = text(inputs.get('lora_name'));
  const single = name === undefined ? [] : [loraFrom(name, inputs.get('strength_model'), inputs.get('strength_clip'))];
  const listed = [...inputs].flatMap(([input, value]) => {
    if (!/^lora_\d+$/i.test(input) || !isRecord(value)) return [];
    const file = text(value['lora']);
    return file === undefined || value['on'] === false ? [] : [loraFrom(file, value['strength'], value['strengthTwo'])];
  });
  // A chain is walked from the sampler back, so a list within it is turned round as well.
  return [...single, ...listed.reverse()];
}

function loraFrom(name: string, model: unknown, clip: unknown): ComfyuiLora {
  const strengthModel = numeric(model) ?? 1;
  return { name, strengthModel, strengthClip: numeric(clip) ?? strengthModel };
}

/** Pixels of the empty picture that the sampler starts from, when it starts from one. */
function sizeOf(graph: Graph, sampler: Node): { readonly width: number; readonly height: number } | undefined {
  const from = upstream(
    graph,
    sampler,
    (input, node) => input === 'latent_image' || (input === 'samples' && !isSampler(node)),
  );
  for (const { type, inputs } of from) {
    const [width, height] = [numeric(inputs.get('width')), numeric(inputs.get('height'))];
    const startsHere = from.every((node) => node === sampler || !isSampler(node));
    if (/empty/i.test(type) && startsHere && width !== undefined && height !== undefined) return { width, height };
  }
  return undefined;
}

function readPromptGraph(json: unknown): Graph | undefined {
  if (!isRecord(json)) return undefined;
  const nodes = Object.entries(json).flatMap(([id, node]): [string, Node][] => {
    if (!isRecord(node) || typeof node['class_type'] !== 'string' || !isRecord(node['inputs'])) return [];
    return [[id, { id, type: node['class_type'], inputs: new Map(Object.entries(node['inputs'])) }]];
  });
  return nodes.length === 0 ? undefined : new Map(nodes);
}

/** The widgets of common nodes in the order in which the editor saves their values; null: the editor's own control. */
const widgets: Readonly<Record<string, readonly (string | null)[]>> = {
  KSampler: ['seed', null, 'steps', 'cfg', 'sampler_name', 'scheduler', 'denoise'],
  KSamplerAdvanced: ['add_noise', 'noise_seed', null, 'steps', 'cfg', 'sampler_name', 'scheduler'],
  CLIPTextEncode: ['text'],
  CLIPSetLastLayer: ['stop_at_clip_layer'],
  CheckpointLoaderSimple: ['ckpt_name'],
  UNETLoader: ['unet_name'],
  LoraLoader: ['lora_name', 'strength_model', 'strength_clip'],
  LoraLoaderModelOnly: ['lora_name', 'strength_model'],
  EmptyLatentImage: ['width', 'height', 'batch_size'],
  RandomNoise: ['noise_seed'],
  KSamplerSelect: ['sampler_name'],
  BasicScheduler: ['scheduler', 'steps', 'denoise'],
  CFGGuider: ['cfg'],
};

/** The editor's form: `links` are [id, from node, from output, to node, to input, type]. Muted nodes (mode 2, 4) are out. */
function readWorkflowGraph(json: unknown): Graph | undefined {
  if (!isRecord(json) || !Array.isArray(json['nodes']) || !Array.isArray(json['links'])) return undefined;
  const sources = new Map(
    json['links'].flatMap((link: unknown): [unknown, unknown[]][] =>
      Array.isArray(link) ? [[link[0], [String(link[1]), link[2]]]] : [],
    ),
  );
  const nodes = json['nodes'].flatMap((node: unknown): [string, Node][] => {
    if (!isRecord(node) || typeof node['type'] !== 'string' || node['mode'] === 2 || node['mode'] === 4) return [];
    const inputs = new Map<string, unknown>();
    const values = Array.isArray(node['widgets_values']) ? (node['widgets_values'] as unknown[]) : [];
    const names = Object.hasOwn(widgets, node['type']) ? widgets[node['type']]! : [];
    names.forEach((name, index) => name !== null && inputs.set(name, values[index]));
    for (const input of Array.isArray(node['inputs']) ? (node['inputs'] as unknown[]) : []) {
      if (isRecord(input) && typeof input['name'] === 'string' && sources.has(input['link'])) {
        inputs.set(input['name'], sources.get(input['link']));
      }
    }
    const id = String(node['id']);
    return [[id, { id, type: node['type'], inputs }]];
  });
  return nodes.length === 0 ? undefined : new Map(nodes);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function numeric(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function seedOf(value: unknown): number | bigint | undefined {
  return typeof value === 'string' || typeof value === 'number' ? parseSeed(String(value)) : undefined;
}

/** 1 is a picture from nothing, which A1111 does not write down. */
function strengthOf(value: unknown): number | undefined {
  const strength = numeric(value);
  return strength === 1 ? undefined : strength;
}

function renamed(names: Readonly<Record<string, string>>, name: string | undefined): string | undefined {
  return name !== undefined && Object.hasOwn(names, name) ? names[name] : name;
}
