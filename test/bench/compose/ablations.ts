// The paper's ablations (arXiv:2404.13628, Tables 7 and 9) as tables of our own, from the rows of the validation half.
import type { Ablation, Row } from './rows.ts';
import { difference, mean, onPairs, summary, type Score } from './score.ts';
import { pairs, type Half } from './compositions.ts';

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

The paper's order of granularities (its Table 9): b and l alike and best, then m and n. With 130 pictures of 65 pairs, differences below about
0.05 are noise. Experts that are not asked for: a style, a subject, a style, a subject; gates were taught with such stacks too. The order
of a stack is random, so that no place says who is asked for. Masking needs no training: the gate is the one that won, and the third expert is
the next style. ${onPairsOf('mole-own', ['sum', 'mole-block-time', 'mole-searched'], byId)}`,
    },
    { title: 'Transfer', text: transfer(byId) },
  ];
}

/** What other methods reach on the pairs of one that drew few. */
function onPairsOf(few: string, others: readonly string[], byId: ReadonlyMap<string, Row>): string {
  const drawn = new Set(byId.get(few)?.scores.validation.map(({ composition: { name }, seed }) => `${name} ${seed}`));
  if (drawn.size === 0) return '';
  const told = others.flatMap((id) => {
    const row = byId.get(id);
    const same = row?.scores.validation.filter(({ composition: { name }, seed }) => drawn.has(`${name} ${seed}`)) ?? [];
    return same.length === 0 ? [] : [`${row!.label} ${mean(same.map(({ harmonic }) => harmonic)).toFixed(3)}`];
  });
  return `On the 15 pairs that have gates of their own: ${told.join('; ')}.`;
}

/** Gates on the style that their lessons left out, beside the same gates with it and the sums. */
function transfer(byId: ReadonlyMap<string, Row>): string {
  const inStyle = (id: string, half: Half): readonly Score[] =>
    onPairs(byId.get(id)?.scores[half] ?? []).filter(({ composition }) =>
      composition.styles.includes(pairs.unseenStyle),
    );
  const score = (scores: readonly Score[]): string =>
    scores.length === 0 ? 'not measured' : mean(scores.map(({ harmonic }) => harmonic)).toFixed(3);
  const rows = (
    [
      ['mole-searched', 'MoLE, found by finished pictures'],
      ['searched-unmet', `the same, \`${pairs.unseenStyle}\` in no lesson`],
      ['mole-steps', 'MoLE, block, timestep alone, taught by gradients'],
      ['mole-four', `the same, \`${pairs.unseenStyle}\` in no lesson`],
      ['sum-0.8-0.6-0.5', 'sum at 0.8 and 0.6, 0.5 of it unguided'],
      ['sum', 'sum at 1'],
    ] as const
  ).map(([id, label]) => `| ${label} | ${score(inStyle(id, 'validation'))} | ${score(inStyle(id, 'test'))} |`);
  const gap = (half: Half): string => {
    const [met, without] = [inStyle('mole-searched', half), inStyle('searched-unmet', half)];
    if (met.length === 0 || without.length === 0) return 'not measured';
    const { mean: lost, low, high } = difference(met, without, ({ harmonic }) => harmonic);
    return `${lost.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
  };
  return `No subject of either half has taught any gate or was in any search: every row of MoLE above is a gate on subjects that it has never met.
Its styles were in the lessons, beside other subjects. The pairs in \`${pairs.unseenStyle}\`, under gates that did not know it:

| method | validation half | test half |
|---|---|---|
${rows.join('\n')}

What the found gate loses without the style in its lessons: ${gap('validation')} on the validation half, ${gap('test')} on the test half.`;
}
