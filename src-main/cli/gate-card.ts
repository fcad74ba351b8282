// The report card of a gate file in the terminal: whom it mixes, how, and how its training went.
import type { GateReport } from '../contract/files.ts';
import type { Fact } from './report-card.ts';

const shares: Readonly<Record<string, string>> = {
  matrix: 'one gate for each matrix',
  layer: 'one gate for each layer',
  block: 'one gate for each block',
  network: 'one gate for the whole network',
};
const sights: Readonly<Record<string, string>> = {
  pooled: 'looks at the mean over the picture, so any size fits',
  paper: "the paper's own, for the size it was trained at",
};
const sums: Readonly<Record<string, string>> = {
  convex: 'gates add up to 1',
  free: 'the sum of the gates is learnt too',
};

/** What an artist wants to know of a gate file, most important first. */
export function gateFacts({
  experts,
  gates,
  steps,
  loss,
  pictures,
  timestep,
  unguided,
  ...spec
}: GateReport): readonly Fact[] {
  // A hash of zeros stands for any expert in a role.
  const row = (name: string, sha256: string): string =>
    `${name.replace(/\s+/g, ' ')}  (${/^0+$/.test(sha256) ? 'any LoRA in this place of the stack' : `sha256 ${sha256}`})`;
  const explained = (value: string, words: Readonly<Record<string, string>>): string => {
    const meaning = words[value];
    return meaning === undefined ? value : `${value}: ${meaning}`;
  };
  const of = pictures === undefined ? undefined : `on ${pictures} ${pictures === 1 ? 'picture' : 'pictures'}`;
  const updates = steps === undefined ? undefined : `${steps} ${steps === 1 ? 'update' : 'updates'}`;
  return [
    ['experts', experts.map(({ name, sha256 }) => row(name, sha256)).join('\n')],
    ['granularity', explained(spec.granularity, shares)],
    ['form', `${explained(spec.form, sights)}${timestep ? '; knows the step of the drawing' : ''}`],
    ['amplitude', explained(spec.amplitude, sums)],
    ['unguided', unguided?.map((share) => String(Number(share.toFixed(2)))).join(' and ')],
    ['gates', `${gates.unet} in the UNet, ${gates.textEncoder} in the text encoder`],
    ['training', [updates, of].filter(Boolean).join(' ') || undefined],
    ['loss', loss === undefined ? undefined : `${loss.name === undefined ? '' : `${loss.name}, `}${loss.first.toPrecision(3)} -> ${loss.last.toPrecision(3)}`], // prettier-ignore
  ];
}
