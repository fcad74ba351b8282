// Gates found by finished pictures instead of gradients: lessons are drawn under gates that are chosen at random around a middle, a
// teacher (composition_evaluator.py --teacher; it knows the subjects of the lessons and none that is judged) says whether subject and style are
// there, and a response surface (Box & Wilson 1951: linear and square terms, by ridge regression) says where to go; three times. Each level
// of the UNet has a gain, a preference for the subject, and how that changes over the drawing; both experts have a share of the unguided
// branch. Smaller spaces leave some of that out, down to the plain sum, to tell what the form gives from what the search gives.
// Samples are kept one by one, so that a search that was interrupted goes on, and two processes can share it.
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Mixture, plainEntry } from '../../../src-main/engine/mixture.ts';
import { timestepWidth, type GateSpec } from '../../../src-main/mole/gate.ts';
import { anyExpert, groupsOf, zeroParameters, type TrainedGate } from '../../../src-main/mole/trained-gate.ts';
import { solveSymmetric } from '../../../src-main/tensor/linear-algebra.ts';
import { floatTensor } from '../../../src-main/tensor/tensor.ts';
import { folder, pairs, promptFor, type Composition } from './compositions.ts';
import { drawn } from './draw.ts';
import { Evaluator } from './evaluator.ts';
import { lessons } from './gates.ts';
import type { Bench, Training } from './methods.ts';
import { generator, mean, scoreOf } from './score.ts';

const out = join(folder, 'results/search');
/** What searches ended at; remove a file to search again. */
const found = join(folder, 'found');

const levels = 4;
const size = 3 * levels + 2;

/** Per level log gain, preference, change; then both shares: the middle and the spread of the first round, about the tuned sum. */
const start = {
  middle: [...each(0.4), ...each(0.5), ...each(0), 0.6, 0.6],
  spread: [...each(0.25), ...each(0.6), ...each(0.5), 0.25, 0.25],
};
function each(value: number): readonly number[] {
  return Array<number>(levels).fill(value);
}

/** What a search may change, and which lessons it draws. */
export interface SearchSpace {
  readonly id: string;
  readonly label: string;
  /** Numbers of a whole point that one number of this space stands for; those that none names stay at the start. */
  readonly axes: readonly (readonly number[])[];
  readonly styles: readonly string[];
}

const alike = (kind: number): readonly number[] => Array.from({ length: levels }, (_, level) => kind * levels + level);
const apart = (kind: number): readonly (readonly number[])[] => alike(kind).map((place) => [place]);
const [gain, preference, change] = [0, 1, 2];
const shares = [[size - 2], [size - 1]];
const everything = [...apart(gain), ...apart(preference), ...apart(change), ...shares];

/** The one that is bundled, and those that it is compared with. */
export const spaces = {
  full: {
    id: 'full',
    label: 'MoLE, block, timestep, found by finished pictures',
    axes: everything,
    styles: pairs.styles,
  },
  still: {
    id: 'still',
    label: 'MoLE, block, found by finished pictures',
    axes: [...apart(gain), ...apart(preference), ...shares],
    styles: pairs.styles,
  },
  network: {
    id: 'network',
    label: 'MoLE, network, timestep, found by finished pictures',
    axes: [alike(gain), alike(preference), alike(change), ...shares],
    styles: pairs.styles,
  },
  sum: {
    id: 'sum',
    label: 'sum, found by finished pictures',
    axes: [alike(gain), alike(preference), ...shares],
    styles: pairs.styles,
  },
  unmet: {
    id: 'unmet',
    label: `MoLE, block, timestep, found by finished pictures without ${pairs.unseenStyle}`,
    axes: everything,
    styles: pairs.styles.filter((style) => style !== pairs.unseenStyle),
  },
} satisfies Record<string, SearchSpace>;

const isShare = (axis: readonly number[]): boolean => axis[0]! >= size - 2;
/** The whole point of one in a space. */
const whole = ({ axes }: SearchSpace, point: readonly number[]): readonly number[] =>
  start.middle.map((usual, place) => {
    const axis = axes.findIndex((places) => places.includes(place));
    return axis < 0 ? usual : point[axis]!;
  });

/** Pictures of a round, and how far it may go from its middle, in spreads. */
export const rounds = [
  { pictures: 1000, reach: 2.5, narrower: 1 },
  { pictures: 1000, reach: 2, narrower: 0.6 },
  { pictures: 1000, reach: 2, narrower: 0.8 },
] as const;

const spec: GateSpec = { granularity: 'block', form: 'pooled', amplitude: 'free', timestep: true };

/** 0 at the picture's own size, one more for each halving, the most in the middle. */
function levelOf(group: string): number {
  const down = /^down_blocks\.(\d+)/.exec(group)?.[1];
  const up = /^up_blocks\.(\d+)/.exec(group)?.[1];
  if (group.startsWith('mid_block')) return levels - 1;
  if (down !== undefined) return Number(down);
  return up === undefined ? 0 : levels - 2 - Number(up);
}

/** What a search ended at, and how long its pictures took. */
interface Found extends Training {
  readonly point: readonly number[];
}
export function foundBy({ id }: SearchSpace): Found | undefined {
  const notes = join(found, `${id}.json`);
  return existsSync(notes) ? (JSON.parse(readFileSync(notes, 'utf8')) as Found) : undefined;
}

/**
 * The gate of a point of the search, for a subject and its styles. `experts` are any of these roles. A second style speaks as the first
 * does, and halfway through the drawing neither takes anything from the others.
 */
export async function gateAt(bench: Bench, point: readonly number[], experts: readonly string[]): Promise<TrainedGate> {
  const count = experts.length;
  const layers = (await bench.named(experts)).map((expert) => expert.layers.unet);
  const groups = groupsOf(bench.model.unetModules, layers, spec);
  // The slowest wave: its cosine stays near 1, and its sine grows evenly with the timestep.
  const half = timestepWidth / 2;
  const rise = Math.sin(999 * Math.exp((-Math.log(10_000) * (half - 1)) / half));
  const parameters = zeroParameters(groups, spec, count).map((zero) => {
    const level = levelOf(zero.name);
    const [gain, preference, change] = [point[level]!, point[levels + level]!, point[2 * levels + level]!];
    // preference + change (1 - 2 t / 999) is the logit of the subject less that of a style.
    const waves = new Float32Array(timestepWidth * count);
    const put = (wave: number, value: number): void => {
      for (let i = 0; i < count; i++) waves[count * wave + i] = i === 0 ? value / 2 : -value / 2;
    };
    put(half - 1, preference + change);
    put(timestepWidth - 1, (-2 * change) / rise);
    // More experts share the softmax: (e^p + N - 1) / (e^p + 1) gives each what it has beside one other.
    const logGain = gain + Math.log((Math.exp(preference) + count - 1) / (Math.exp(preference) + 1));
    return { ...zero, timestep: floatTensor([timestepWidth, count], waves), logGain };
  });
  const roles = experts.map((_, i) => (i === 0 ? 'a subject' : count === 2 ? 'a style' : `style ${i}`));
  return {
    spec,
    experts: roles.map((name) => ({ name, sha256: anyExpert })),
    networks: { unet: parameters },
    unguided: roles.map((_, i) => point[i === 0 ? size - 2 : size - 1]!),
  };
}

/** The experts of these names under the gate of a point; those at the places of `muted` are silent. */
export async function mixtureAt(
  bench: Bench,
  point: readonly number[],
  experts: readonly string[],
  muted: readonly number[] = [],
): Promise<Mixture> {
  const gate = await gateAt(bench, point, experts);
  const entries = (await bench.named(experts)).map((expert, i) => ({
    ...plainEntry(expert),
    muted: muted.includes(i),
  }));
  return new Mixture(entries, { mode: 'mole', gate });
}

interface Sample {
  readonly place: number;
  readonly subject: string;
  readonly style: string;
  readonly point: readonly number[];
  readonly score: number;
  readonly seconds: number;
}

/** The whole point that the search ends at. Of several processes each draws its own part of what is missing, and waits for the others. */
export async function search(
  bench: Bench,
  modelPath: string,
  space: SearchSpace,
  lane = 0,
  lanes = 1,
): Promise<readonly number[]> {
  const before = foundBy(space);
  if (before !== undefined) return before.point;
  const at = (values: readonly number[]): readonly number[] => space.axes.map(([place]) => values[place!]!);
  let [middle, spread] = [at(start.middle), at(start.spread)];
  let seconds = 0;
  for (const [round, { pictures, reach, narrower }] of rounds.entries()) {
    spread = spread.map((one) => one * narrower);
    const samples = await draw(bench, modelPath, space, round, pictures, middle, spread, lane, lanes);
    seconds += samples.reduce((sum, sample) => sum + sample.seconds, 0);
    const from = middle;
    middle = surfaceTop(samples, middle, spread, reach).map((value, i) => within(space.axes[i]!, value));
    console.log(
      `search ${space.id}, round ${round + 1}: mean ${mean(samples.map(({ score }) => score)).toFixed(3)}, from ${from.map((x) => x.toFixed(2)).join(' ')} to ${middle.map((x) => x.toFixed(2)).join(' ')}`,
    );
  }
  const end: Found = { seconds, parameters: middle.length, point: whole(space, middle) };
  mkdirSync(found, { recursive: true });
  writeFileSync(join(found, `${space.id}.json`), `${JSON.stringify(end)}\n`);
  return end.point;
}

const within = (axis: readonly number[], value: number): number =>
  isShare(axis) ? Math.min(1.2, Math.max(0, value)) : value;

async function draw(
  bench: Bench,
  modelPath: string,
  space: SearchSpace,
  round: number,
  pictures: number,
  middle: readonly number[],
  spread: readonly number[],
  lane: number,
  lanes: number,
): Promise<readonly Sample[]> {
  mkdirSync(join(out, space.id), { recursive: true });
  const file = join(out, space.id, `round-${round + 1}.jsonl`);
  const read = (): Sample[] =>
    existsSync(file)
      ? readFileSync(file, 'utf8')
          .trim()
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Sample)
      : [];
  const known = new Set(read().map(({ place }) => place));
  const teacher = await Evaluator.open(join(folder, 'teacher.safetensors'));
  const stacks = space.styles.map((style) => lessons([[style]], [...pairs.taught, ...pairs.lessons]));
  for (let place = lane; place < pictures; place += lanes) {
    if (known.has(place)) continue;
    const random = generator(1 + place + 10_000 * round);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
    const [subject, style] = pick(pick(stacks)).experts as [string, string];
    const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const point = middle.map((one, i) => within(space.axes[i]!, one + spread[i]! * normal()));
    const mixture = await mixtureAt(bench, whole(space, point), [subject, style]);
    const prompt = promptFor(subject, [style]);
    const composition: Composition = { name: '', half: 'validation', subject, styles: [style], prompt, truth: [] };
    const started = performance.now();
    const {
      harmonic,
      subject: found,
      style: styled,
    } = await drawn(bench, mixture, prompt, place, modelPath, async ({ pictures: [picture] }) =>
      scoreOf(teacher, await teacher.look(picture!.path), composition, place, []),
    );
    const seconds = (performance.now() - started) / 1000;
    appendFileSync(
      file,
      `${JSON.stringify({ place, subject, style, point, score: harmonic, seconds, found, styled })}\n`,
    );
  }
  await teacher.release();
  while (read().length < pictures) await setTimeout(1000);
  return read().sort((a, b) => a.place - b.place);
}

/** Where a surface of linear and square terms, fitted to the samples, is highest within `reach` spreads of the middle. */
function surfaceTop(
  samples: readonly Sample[],
  middle: readonly number[],
  spread: readonly number[],
  reach: number,
): readonly number[] {
  // What a lesson scores on average says nothing of the point.
  const all = mean(samples.map(({ score }) => score));
  const usual = new Map<string, number[]>();
  for (const { subject, style, score } of samples)
    usual.set(`${subject} ${style}`, [...(usual.get(`${subject} ${style}`) ?? []), score]);
  const rows = samples.map(({ subject, style, point, score }) => {
    const own = usual.get(`${subject} ${style}`)!;
    const base = (own.reduce((a, b) => a + b, 0) + 3 * all) / (own.length + 3);
    const z = point.map((one, i) => (one - middle[i]!) / spread[i]!);
    return { x: [1, ...z, ...z.map((one) => one * one - 1)], y: score - base };
  });
  const width = rows[0]!.x.length;
  const size = middle.length;
  const stiffness = (i: number): number => (i === 0 ? 0 : i <= size ? 5 : 40);
  const sum = (of: (row: (typeof rows)[number]) => number): number => rows.reduce((total, row) => total + of(row), 0);
  const products = Float32Array.from({ length: width * width }, (_, k) => {
    const [i, j] = [Math.floor(k / width), k % width];
    return sum(({ x }) => x[i]! * x[j]!) + (i === j ? stiffness(i) : 0);
  });
  const right = Float32Array.from({ length: width }, (_, i) => sum(({ x, y }) => x[i]! * y));
  const { data: found } = solveSymmetric(floatTensor([width, width], products), floatTensor([width, 1], right), 1e-9);
  const [linear, square] = [[...found.slice(1, size + 1)], [...found.slice(size + 1)]];
  // Small steps uphill, back to the sphere wherever they leave it.
  let z = Array<number>(size).fill(0);
  const steepest = Math.max(...linear.map(Math.abs));
  for (let step = 0; step < 500; step++) {
    z = z.map((one, i) => one + (0.05 * (linear[i]! + 2 * square[i]! * one)) / steepest);
    const far = Math.hypot(...z);
    if (far > reach) z = z.map((one) => (one * reach) / far);
  }
  return z.map((one, i) => middle[i]! + spread[i]! * one);
}
