// The paper's ablations (arXiv:2404.13628, Tables 7 and 9) as tables of our own, from the rows of the validation half.
import type { Ablation, Row } from './rows.ts';
import { difference, mean, onPairs, summary, type Score } from './score.ts';
import { pairs } from './compositions.ts';

/** Rows that differ in one thing, and what differs. */
const compared: readonly { readonly what: string; readonly rows: readonly (readonly [string, string])[] }[] = [
  {
    what: 'Granularity (free, timestep)',
    rows: [
      ['mole-matrix-time', 'm: a gate for every matrix'],
      ['mole-layer-time', 'l: for every attention and feed-forward'],
      ['mole-block-time', 'b: for every block'],
      ['mole-network-time', 'n: one for all'],
    ],
  },
  {
    what: 'Amplitude and balance loss (block, no timestep)',
    rows: [
      ['mole-block', 'free, no balance loss'],
      ['mole-block-balance', 'free, balance loss 0.5'],
      ['mole-block-convex', 'convex, no balance loss'],
    ],
  },
  {
    what: 'What a gate reads',
    rows: [
      ['mole-block', 'the experts'],
      ['mole-block-time', 'the experts and the timestep'],
      ['mole-steps', 'the timestep alone'],
      ['mole-paper', "the experts, in the paper's form (convex, balance loss)"],
    ],
  },
  {
    what: 'What a gate is taught with',
    rows: [
      ['mole-block-time', 'pictures of both concepts, four other subjects'],
      ['mole-many', 'the same, fourteen other subjects'],
      ['mole-way', 'the same pictures noised and drawn again under guidance'],
      ['mole-style', 'a gate for each style'],
      ['mole-drawn', 'CLIP on the way of drawing, four subjects (timestep alone)'],
      ['mole-many-drawn', 'the same, fourteen subjects'],
      ['mole-contrast', 'CLIP that tells captions apart on the way of drawing, four subjects (timestep alone)'],
      ['mole-distil', 'what each expert draws alone of its own words (distil), four subjects'],
      ['mole-alone-convex', 'drawings of each expert alone, convex with balance loss, four other subjects'],
      ['mole-own', "the same of the judged pair's own experts: a gate for each pair, as in the paper (15 pairs)"],
    ],
  },
  {
    what: 'Experts in the stack in random order, two of them asked for',
    rows: [
      ['mole-many', 'MoLE, 2'],
      ...[3, 4, 5, 6].map((n) => [`mole-among-${n}`, `MoLE, ${n}`] as const),
      ['sum', 'sum, 2'],
      ...[3, 4, 5, 6].map((n) => [`sum-of-${n}`, `sum, ${n}`] as const),
      ['normalised', 'normalised sum, 2'],
      ...[3, 4, 5, 6].map((n) => [`normalised-of-${n}`, `normalised sum, ${n}`] as const),
    ],
  },
  {
    what: 'What is searched by finished pictures',
    rows: [
      ['mole-searched', 'gates per level of the UNet, changing over the drawing, and both shares: 14 numbers'],
      ['searched-still', 'the same, not changing: 10'],
      ['searched-network', 'one gate for all, changing: 5'],
      ['searched-sum', 'the weights of a plain sum and both shares: 4'],
    ],
  },
  {
    what: 'Masking, subject asked for: subject found, no style found',
    rows: [
      ['masked-sum-style', 'subject LoRA alone'],
      ['masked-style', 'MoLE, style muted'],
      ['masked-none-style', 'MoLE, nobody muted'],
      ['masked-sum', 'sum, nobody muted'],
    ],
  },
  {
    what: 'Masking, subject and style asked for',
    rows: [
      ['style', 'style LoRA alone'],
      ['masked-subject', 'MoLE, subject muted'],
      ['mole-searched', 'MoLE of two'],
      ['masked-third', 'MoLE of three (another style), third muted'],
      ['masked-none-third', 'MoLE of three, nobody muted'],
      ['masked-sum-third', 'sum of three'],
    ],
  },
];

export function ablations(rows: readonly Row[]): readonly Ablation[] {
  const byId = new Map(rows.map((row) => [row.id, row]));
  const lines = compared.flatMap(({ what, rows: own }) =>
    own.flatMap(([id, label]) => {
      const scores = onPairs(byId.get(id)?.scores.validation ?? []);
      if (scores.length === 0) return [`| ${what} | ${label} | not measured | | | |`];
      const { harmonic, both, top1, styled, pictures } = summary(scores);
      const share = (x: number): string => `${(x * 100).toFixed(0)} %`;
      return [
        `| ${what} | ${label} | ${harmonic.toFixed(3)} | ${share(both)} | ${share(top1)} | ${share(styled)} | ${pictures} |`,
      ];
    }),
  );
  const table = [
    '| what | form | score | both found | subject | style | pictures |',
    '|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
  return [
    {
      title: 'Ablations, validation half, at strengths of 1',
      text: `${table}

The paper's order of granularities (its Table 9): b and l alike and best, then m and n. With 58 pictures of 29 pairs, differences below about
0.06 are noise. Experts that are not asked for: a style, a subject, a style, a subject; gates were taught with such a stack too.`,
    },
    { title: 'Transfer', text: transfer(byId) },
  ];
}

/** A gate on the style that its lessons left out, beside the same gate with it. */
function transfer(byId: ReadonlyMap<string, Row>): string {
  const unmet = `No subject of either half has taught any gate: every row of MoLE above is a gate on subjects that it has never met.`;
  const own = (id: string): readonly Score[] =>
    onPairs(byId.get(id)?.scores.validation ?? []).filter(({ composition }) =>
      composition.styles.includes(pairs.unseenStyle),
    );
  const [met, without, sum] = [own('mole-steps'), own('mole-four'), own('sum')];
  if (met.length === 0 || without.length === 0 || sum.length === 0) return unmet;
  const score = (scores: readonly Score[]): string => mean(scores.map(({ harmonic }) => harmonic)).toFixed(3);
  const { mean: gap, low, high } = difference(met, without, ({ harmonic }) => harmonic);
  return `${unmet} Its styles were in the lessons, beside other subjects. The same gate (block, timestep alone) taught without
\`${pairs.unseenStyle}\` reaches ${score(without)} on the ${new Set(met.map(({ composition }) => composition.name)).size} validation pairs in it, with it ${score(met)} (difference ${gap.toFixed(3)}
[${low.toFixed(3)}, ${high.toFixed(3)}]); the sum ${score(sum)}.`;
}
