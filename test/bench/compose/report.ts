// COMPOSITION.md: what the pictures say, method by method, with the plot and the contact sheet that belong to it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { composeSheet } from '../../../src-main/formats/contact-sheet.ts';
import { decodePicture, encodePicture } from '../../../src-main/formats/png.ts';
import { median } from '../report.ts';
import { folder, type Composition } from './compositions.ts';
import { drawing, pictureOf, secondsOf } from './draw.ts';
import type { Ablation, Row } from './rows.ts';
import { difference, onPairs, summary, type Difference, type Score } from './score.ts';

export interface Findings {
  readonly rows: readonly Row[];
  readonly chosenMole: string;
  /** What was chosen on the validation half: MoLE and the tuned sum, each without and with asymmetric guidance. */
  readonly named: readonly string[];
  readonly ablations: readonly Ablation[];
  readonly ceiling: string;
  readonly machine: string;
  readonly asked: readonly Composition[];
}

const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
const signed = ({ mean, low, high }: Difference): string => {
  const show = (x: number): string => `${x < 0 ? '−' : '+'}${Math.abs(x).toFixed(3)}`;
  return `${show(mean)} [${show(low)}, ${show(high)}]`;
};
const verdict = ({ low, high }: Difference): string => (low > 0 ? 'above' : high < 0 ? '**below**' : 'not clear');

const triplesOf = (scores: readonly Score[]): readonly Score[] =>
  scores.filter((s) => s.composition.styles.length === 2);

/** One table: a row per method, in the order of its score; differences are those of the chosen MoLE from the method. */
function table(
  rows: readonly Row[],
  half: 'validation' | 'test',
  pick: typeof onPairs,
  chosen: Row | undefined,
): string {
  const lines = rows
    .map((row) => ({ row, scores: pick(row.scores[half]) }))
    .filter(({ scores }) => scores.length > 0)
    .map(({ row, scores }) => ({ row, scores, sum: summary(scores) }))
    .sort((a, b) => b.sum.harmonic - a.sum.harmonic)
    .map(({ row, scores, sum }) => {
      const own = row.id === chosen?.id;
      const against = chosen === undefined ? [] : pick(chosen.scores[half]);
      const gap = own || against.length === 0 ? undefined : difference(against, scores, (s) => s.harmonic);
      const farther = own || against.length === 0 ? undefined : difference(scores, against, (s) => s.distance);
      const seconds = median(scores.map((s) => secondsOf(row.id, s.composition, s.seed)));
      const label = own ? `**${row.label}**` : row.label;
      const cells = [
        label,
        sum.harmonic.toFixed(3),
        gap === undefined ? '' : signed(gap),
        gap === undefined ? '' : verdict(gap),
        percent(sum.both),
        percent(sum.top1),
        percent(sum.top5),
        percent(sum.styled),
        sum.harmonicOfShares.toFixed(3),
        sum.distance.toFixed(3),
        farther === undefined ? '' : signed(farther),
        `${seconds.toFixed(2)} s`,
        row.training === undefined ? '' : `${(row.training.seconds / 60).toFixed(1)} min, ${row.training.parameters}`,
        String(sum.pictures),
      ];
      return `| ${cells.join(' | ')} |`;
    });
  return [
    '| method | score | MoLE − method, 95 % | MoLE is | both found | subject | in first 5 | style | harmonic of shares | distance | farther than MoLE, 95 % | per picture | training, parameters | pictures |',
    '|---|---|---|---|---|---|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

/** Scores of the test pairs as bars with intervals of the mean. */
function plot(rows: readonly Row[], chosen: string): string {
  const bars = rows
    .map((row) => ({ row, scores: onPairs(row.scores.test) }))
    .filter(({ scores }) => scores.length > 0)
    .map(({ row, scores }) => {
      const zero = scores.map((score) => ({ ...score, harmonic: 0 }));
      return { row, ...difference(scores, zero, (s) => s.harmonic) };
    })
    .sort((a, b) => b.mean - a.mean);
  const [left, width, line] = [470, 460, 26];
  const most = Math.max(...bars.map(({ high }) => high));
  const x = (value: number): number => left + (value / most) * width;
  const body = bars.map(({ row, mean, low, high }, i) => {
    const y = 34 + i * line;
    const colour =
      row.id === chosen
        ? '#b4452c'
        : row.label.startsWith('MoLE')
          ? '#d99a7c'
          : row.kind === 'alone'
            ? '#b9b4ab'
            : '#5f7f95';
    return `<text x="${left - 8}" y="${y + 12}" text-anchor="end">${escaped(row.label)}</text>
<rect x="${left}" y="${y}" width="${(x(mean) - left).toFixed(1)}" height="16" fill="${colour}"/>
<path d="M${x(low).toFixed(1)} ${y + 8}H${x(high).toFixed(1)}M${x(low).toFixed(1)} ${y + 4}v8M${x(high).toFixed(1)} ${y + 4}v8" stroke="#222" fill="none"/>
<text x="${(x(high) + 6).toFixed(1)}" y="${y + 12}">${mean.toFixed(2)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 ${44 + bars.length * line}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
<text x="${left}" y="20" font-size="13">Score on the test pairs (mean, 95 % interval over compositions)</text>
${body.join('\n')}
</svg>
`;
}

const escaped = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

/** Of each subject one composition, its styles in turn, and a few triples: what fits on a sheet. */
function fewOf(asked: readonly Composition[]): readonly Composition[] {
  const test = asked.filter(({ half }) => half === 'test');
  const alone = test.filter(({ styles }) => styles.length === 1);
  const subjects = [...new Set(alone.map(({ subject }) => subject))];
  const one = subjects.map((subject, i) => {
    const own = alone.filter((composition) => composition.subject === subject);
    return own[i % own.length]!;
  });
  return [...one, ...test.filter(({ styles }) => styles.length === 2).slice(0, 3)];
}

/** Rows are the truth and some methods, columns some test compositions, all of the first seed. */
async function sheet(rows: readonly Row[], asked: readonly Composition[], seed: number): Promise<string> {
  const shown = fewOf(asked);
  const pictures = [];
  for (const composition of shown) {
    pictures.push({ picture: await decodePicture(composition.truth[0]!), label: composition.name });
  }
  for (const row of rows) {
    for (const composition of shown) {
      const file = pictureOf(row.id, composition, seed);
      const blank = { width: 128, height: 128, rgb: new Uint8Array(3 * 128 * 128).fill(255) };
      pictures.push({ picture: existsSync(file) ? await decodePicture(file) : blank, label: row.label });
    }
  }
  const drawn = await composeSheet(pictures, { columns: shown.length });
  const path = join(folder, 'test-half.webp');
  writeFileSync(path, await encodePicture(drawn, { format: 'webp', quality: 80 }, undefined));
  return path;
}

export async function writeReport({
  rows,
  chosenMole,
  named,
  ablations,
  ceiling,
  machine,
  asked,
}: Findings): Promise<string> {
  const mole = rows.find(({ id }) => id === chosenMole);
  const namedRows = rows.filter(({ id }) => named.includes(id));
  const isTuned = ({ kind }: Row): boolean => kind === 'tuned' || kind === 'asymmetric';
  const isAblation = ({ kind }: Row): boolean => ['crowded', 'masked', 'transfer'].includes(kind);
  const judged = rows.filter(
    (row) => !isAblation(row) && (!isTuned(row) || named.includes(row.id) || row.scores.test.length > 0),
  );
  writeFileSync(join(folder, 'scores.svg'), plot(judged, chosenMole));
  const onSheet = [
    'subject',
    'style',
    'sum',
    'normalised',
    ...named.filter((id) => id !== chosenMole),
    'switch',
    'composite',
    'ssr',
    'np',
    chosenMole,
  ];
  await sheet(
    [...new Set(onSheet)].flatMap((id) => rows.find((row) => row.id === id) ?? []),
    asked,
    11,
  );
  const findings = join(folder, 'findings.md');
  const text = existsSync(findings) ? readFileSync(findings, 'utf8').trim() : '';
  const report = `# Composition: a subject and a style that no expert has seen together

${text}

## Test half, a subject in a style
Chosen on the validation half: **${mole?.label ?? 'none'}**, which the others are compared with; and the best of each kind: ${namedRows.map(({ label }) => label).join('; ')}.

![Scores](compose/scores.svg)

${table(judged, 'test', onPairs, mole)}

![The true drawings, then a row per method](compose/test-half.webp)

## Test half, a subject in two styles
${table(judged, 'test', triplesOf, mole)}

## Validation half: every try
${table(judged, 'validation', onPairs, mole)}

The five best sums of the grid: ${rows
    .filter(isTuned)
    .map((row) => ({ row, score: summary(onPairs(row.scores.validation)).harmonic }))
    .sort((a, b) => b.score - a.score)
    .slice(0, 5)
    .map(({ row, score }) => `${row.label}: ${score.toFixed(3)}`)
    .join(', ')}.

Triples:

${table(judged, 'validation', triplesOf, mole)}

${ablations.map(({ title, text: body }) => `## ${title}\n${body}`).join('\n\n')}

## How it is judged
- Score: per picture, the harmonic mean of the probability of the asked subject (of 85) and that of the asked styles (and none of
  the other bundled ones); the mean over pictures. It was fixed before any picture was judged. Differences are paired by prompt and seed; intervals are a bootstrap over
  compositions, and seeds within them.
- "Distance" is half the mean cosine distance from the nearest true drawing in the features of the judge.
- ${ceiling}
- All methods: the bundled experts at weight 1 unless the name says otherwise, ${drawing.sampler}, ${drawing.steps} steps, guidance ${drawing.cfgScale}, 128 x 128,
  the same seeds. "Per picture" is the median time of the denoising with one thread. The machine was busy with other work to a varying
  degree, so these times and those of the trainings say little; of a step, gates cost a few percent (RESULTS.md), Composite a pass per LoRA.

${machine}
`;
  const path = join(folder, '../COMPOSITION.md');
  writeFileSync(path, report.replace(/\n{3,}/g, '\n\n'));
  return path;
}
