// `npm run bench:compose`: draws every composition by every method, judges the pictures against true drawings and writes
// COMPOSITION.md. What is drawn and trained stays in results/; an interrupted run goes on. The form of MoLE and the weights of the
// tuned sum are chosen on the validation half, so that half is drawn first.
//   --only a,b   draw these methods and print their scores, without a report     --half validation|test   --seeds N
//   --match RE   compositions by name     --threads N     --report   judge and write what is drawn, draw nothing     --blind   draw without
//   judging
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '../../../src-main/engine/checkpoint.ts';
import { LoadedModel } from '../../../src-main/engine/loaded-model.ts';
import { root } from '../programs.ts';
import { ablations } from './ablations.ts';
import { ceilingText } from './ceiling.ts';
import { compositions, pairs, type Half } from './compositions.ts';
import { draw } from './draw.ts';
import { Evaluator } from './evaluator.ts';
import { judgeAll } from './judge.ts';
import { Bench, type Served } from './methods.ts';
import { writeReport } from './report.ts';
import type { Row } from './rows.ts';
import { mean, onPairs, summary, type Score } from './score.ts';
import { alsoJudged, methodsOf } from './variants.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    half: { type: 'string' },
    seeds: { type: 'string' },
    match: { type: 'string' },
    threads: { type: 'string', default: '2' },
    report: { type: 'boolean', default: false },
    blind: { type: 'boolean', default: false },
  },
});
const modelPath = join(root, 'models/atelier-mini');
const device = { provider: 'cpu', threads: Number(values.threads), fusedAttention: true } as const;
const bench = new Bench(new LoadedModel(await openCheckpoint(modelPath), device));
const evaluator = values.blind
  ? undefined
  : await Evaluator.open(join(root, 'test/bench/compose/evaluator.safetensors'));
const seedsOf = { validation: pairs.seeds.slice(0, 2), test: pairs.seeds } as const;
const wanted = compositions().filter(({ name }) => values.match === undefined || new RegExp(values.match).test(name));
const methods = methodsOf(bench, modelPath);

/** Draws what is missing of a method in one half and judges it. */
async function judged(method: Served, half: Half): Promise<readonly Score[]> {
  const few = method.seeds ?? seedsOf[half].length;
  const seeds = seedsOf[half].slice(0, Math.min(few, Number(values.seeds ?? few)));
  const asked = wanted
    .filter((one) => one.half === half && (method.serves?.(one) ?? true))
    .map((one) => method.asks?.(one) ?? one);
  if (!values.report) {
    const started = performance.now();
    const drawn = await draw(bench, method, asked, seeds, modelPath);
    if (drawn > 0) {
      console.log(
        `${method.id}, ${half}: ${drawn} drawn, ${((performance.now() - started) / 1000 / drawn).toFixed(2)} s each`,
      );
    }
  }
  return evaluator === undefined ? [] : judgeAll(evaluator, method.id, asked, seeds);
}

function print(id: string, half: Half, scores: readonly Score[]): void {
  for (const count of [1, 2]) {
    const own = scores.filter(({ composition }) => Math.max(1, composition.styles.length) === count);
    if (own.length === 0) continue;
    const { pictures, ...numbers } = summary(own);
    const shown = Object.entries(numbers).map(([name, value]) => `${name} ${value.toFixed(3)}`);
    console.log(
      `${id.padEnd(22)} ${half.padEnd(10)} ${count === 1 ? 'pairs  ' : 'triples'} ${shown.join('  ')}  of ${pictures}`,
    );
  }
}

/** The best method of the validation half, of those whose pictures are all there. */
function best(rows: readonly { readonly id: string; readonly validation: readonly Score[] }[]): string {
  const all = Math.max(...rows.map(({ validation }) => onPairs(validation).length));
  const complete = rows.filter(({ validation }) => onPairs(validation).length === all);
  const score = (validation: readonly Score[]): number => mean(onPairs(validation).map(({ harmonic }) => harmonic));
  return complete.sort((a, b) => score(b.validation) - score(a.validation))[0]?.id ?? '';
}

if (values.only !== undefined) {
  for (const method of methods.filter(({ id }) =>
    values.only!.split(',').some((part) => id === part || (part.endsWith('*') && id.startsWith(part.slice(0, -1)))),
  )) {
    for (const half of ['validation', 'test'] as const) {
      if (values.half !== undefined && values.half !== half) continue;
      print(method.id, half, await judged(method, half));
    }
  }
} else {
  const first: { method: Served; scores: { validation: readonly Score[] } }[] = [];
  for (const method of methods) {
    const validation = await judged(method, 'validation');
    if (validation.length > 0) first.push({ method, scores: { validation } });
  }
  const chosen = (kind: Served['kind']): string =>
    best(first.filter(({ method }) => method.kind === kind).map(({ method: { id }, scores }) => ({ id, ...scores })));
  const [plainMole, asymmetricMole] = [chosen('mole'), chosen('mole-asymmetric')];
  const [plainSum, asymmetricSum] = [chosen('tuned'), chosen('asymmetric')];
  // Each kind is compared with its like, and the better of the two is the one that counts.
  const chosenMole = best(
    first
      .filter(({ method: { id } }) => id === plainMole || id === asymmetricMole)
      .map(({ method: { id }, scores }) => ({ id, ...scores })),
  );
  const named = [plainMole, asymmetricMole, plainSum, asymmetricSum];
  const rows: Row[] = [];
  for (const { method, scores } of first) {
    const { id, label, kind } = method;
    // What was not chosen has no business on the test half, and "no LoRA" nothing to show there.
    const shown =
      ['training-free', 'searched', 'transfer'].includes(kind) ||
      [...named, ...alsoJudged, 'subject', 'style'].includes(id);
    const test = shown ? await judged(method, 'test') : [];
    const training = method.trained?.();
    rows.push({ id, label, kind, ...(training === undefined ? {} : { training }), scores: { ...scores, test } });
  }
  const machine = `Made by \`npm run bench:compose\` on ${new Date().toISOString().slice(0, 10)}: ${cpus()[0]?.model.trim() ?? ''}, ${cpus().length} cores.`;
  const path = await writeReport({
    rows,
    chosenMole,
    named,
    ablations: ablations(rows),
    ceiling: ceilingText(),
    machine,
    asked: compositions(),
  });
  console.log(`MoLE: ${chosenMole}; all that were named: ${named.join(', ')}. ${path}`);
}
await bench.model.release();
await evaluator?.release();
